"""Temperature scaling: probabilities that keep their word, fitted on held-out cases.

    judge a fold -> logits and labels of some voxels of each held-out case, kept beside its scores
    all folds judged so far -> one temperature for the configuration -> calibration.json

Nothing is predicted for it: the logits are those the fold is judged with. The temperature is one
number, fitted to single networks; a mean over folds is a little less sure than each of them. The
mean of several configurations has one of its own, fitted to its probabilities when it is selected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.probabilities import class_loss, fit_temperature, region_loss
from ..crossvalidate.splits import ALL
from ..domain.bundle import Calibration, Member
from ..domain.case import FloatArray
from ..domain.labels import LabelScheme
from ..domain.plan import Plan
from ..evaluate.calibration import foreground_box
from ..io.json_files import read_json, write_json
from ..io.project import Project
from ..io.weights import read_weights, write_weights
from .selected import SELECTION_FOLDER

CALIBRATION_SCHEMA = "selfseg.calibration/1"
CALIBRATION_FILE = "calibration.json"
SAMPLES_FILE = "calibration_samples.safetensors"

VOXELS_PER_CASE = 4000
"""As many as the fit can tell apart: for 61 classes half a megabyte per case."""


@dataclass(frozen=True)
class FittedCalibration:
    """`calibration.json` of a configuration.

    Args:
        temperature: what logits are divided by.
        loss_before: mean negative log-likelihood of the sampled voxels at temperature 1.
        loss_after: the same at `temperature`.
        folds: whose held-out cases were looked at.
        cases: how many.
        voxels: how many of all of them.
        members: plan and configuration of each, of the mean of several.
    """

    temperature: float
    loss_before: float
    loss_after: float
    folds: tuple[str, ...]
    cases: int
    voxels: int
    members: tuple[tuple[str, str], ...] = ()


class LogitSampler:
    """Collects the logits of some voxels of held-out cases while they are predicted.

    Voxels are drawn around the structures (`foreground_box`): elsewhere every network is sure.

    Args:
        labels: the structures.
    """

    def __init__(self, labels: LabelScheme) -> None:
        self.labels = labels
        self.logits: list[NDArray[np.float16]] = []
        self.truth: list[NDArray[np.int16]] = []

    def add(self, identifier: str, logits: FloatArray, reference: NDArray[Any]) -> None:
        """Takes some voxels of a case.

        Args:
            identifier: the case's name, which decides what is drawn.
            logits: (K, Z, Y, X) at the plan's spacing.
            reference: (Z, Y, X) label values there.
        """
        places = sampled_places(identifier, reference, self.labels)
        if places is not None:
            z, y, x = places
            self.take(logits[:, z, y, x].T, reference[z, y, x])

    def take(self, logits: NDArray[Any], truth: NDArray[Any]) -> None:
        """Takes voxels of a case that were drawn already: (N, K) logits, (N,) label values."""
        self.logits.append(logits.astype(np.float16))
        self.truth.append(truth.astype(np.int16))

    def write(self, folder: Path) -> None:
        """Keeps the samples beside the fold's scores."""
        if self.logits:
            samples = {"logits": np.concatenate(self.logits), "truth": np.concatenate(self.truth)}
            write_weights(folder / SAMPLES_FILE, samples, {"cases": str(len(self.logits))})


def sampled_places(
    identifier: str, reference: NDArray[Any], labels: LabelScheme
) -> tuple[NDArray[np.intp], ...] | None:
    """Indices (Z, Y, X) of the voxels of a case that are looked at; None without a structure.

    Args:
        identifier: the case's name, which decides what is drawn.
        reference: (Z, Y, X) label values.
        labels: the structures.
    """
    box = foreground_box(reference, labels)
    if box is None:
        return None
    inside = reference[box].ravel()
    wanted = np.arange(inside.size)
    if labels.ignore is not None:
        wanted = np.flatnonzero(inside != labels.ignore)
    seed = int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    count = min(VOXELS_PER_CASE, len(wanted))
    chosen = wanted[generator.choice(len(wanted), count, replace=False)]
    found = np.unravel_index(chosen, reference[box].shape)
    return tuple(axis + part.start for axis, part in zip(found, box, strict=True))


def fit_configuration(project: Project, plan: Plan, configuration: str) -> FittedCalibration | None:
    """Fits the temperature of a configuration to all folds judged so far, and stores it.

    Fold "all" has learned from the cases it is judged on, and does not count.

    Returns:
        what was fitted; None where there are no samples.
    """
    samples, folds = [], []
    for fold in project.trained_folds(plan.name, configuration):
        path = project.run_folder(plan.name, configuration, fold) / SAMPLES_FILE
        if fold != ALL and path.is_file():
            samples.append(path)
            folds.append(fold)
    fitted = _fitted(samples, folds, plan.description.labels)
    if fitted is not None:
        write_json(_file(project, plan.name, configuration), fitted, schema=CALIBRATION_SCHEMA)
    return fitted


def fit_mean(
    folder: Path, members: Sequence[Member], labels: LabelScheme
) -> FittedCalibration | None:
    """Fits the temperature of the mean of several configurations, and stores it.

    Args:
        folder: of the selection, with the samples.
        members: whose mean it is.
        labels: their structures.

    Returns:
        what was fitted; None where there are no samples, and then nothing is stored.
    """
    path = folder / CALIBRATION_FILE
    path.unlink(missing_ok=True)
    samples = [folder / SAMPLES_FILE] if (folder / SAMPLES_FILE).is_file() else []
    fitted = _fitted(samples, members[0].folds, labels)
    if fitted is not None:
        fitted = replace(fitted, members=_names(members))
        write_json(path, fitted, schema=CALIBRATION_SCHEMA)
    return fitted


def calibration_of(project: Project, members: Sequence[Member]) -> Calibration:
    """The calibration of a project's model; none without a fit.

    The mean of several has one where it was selected.
    """
    path = project.folder / SELECTION_FOLDER / CALIBRATION_FILE
    if len(members) == 1:
        path = _file(project, members[0].plan, members[0].configuration)
    if not path.is_file():
        return Calibration()
    fitted = read_json(path, FittedCalibration, schema=CALIBRATION_SCHEMA)
    if fitted.members and fitted.members != _names(members):
        return Calibration()
    text = f"{fitted.voxels} voxels of {fitted.cases} held-out cases, fold "
    return Calibration(fitted.temperature, text + ", ".join(fitted.folds))


def _fitted(
    samples: Sequence[Path], folds: Sequence[str], labels: LabelScheme
) -> FittedCalibration | None:
    logits, truth, cases = [], [], 0
    for path in samples:
        found, text = read_weights(path)
        if found["logits"].shape[1:] == (labels.head_count,):
            logits.append(found["logits"])
            truth.append(found["truth"])
            cases += int(text["cases"])
    if not logits:
        return None
    joined = np.concatenate(logits).astype(np.float32)
    target = _targets(np.concatenate(truth), labels)
    temperature = round(fit_temperature(joined, target), 4)
    loss = region_loss if target.ndim == 2 else class_loss
    return FittedCalibration(
        temperature=temperature,
        loss_before=loss(joined, target, 1.0),
        loss_after=loss(joined, target, temperature),
        folds=tuple(folds),
        cases=cases,
        voxels=len(joined),
    )


def _names(members: Sequence[Member]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((member.plan, member.configuration) for member in members))


def _file(project: Project, plan: str, configuration: str) -> Path:
    return project.run_folder(plan, configuration, ALL).parent / CALIBRATION_FILE


def _targets(values: NDArray[np.int16], labels: LabelScheme) -> NDArray[Any]:
    """Label values (N,) as classes (N,), or as regions (N, R)."""
    if labels.has_regions:
        return np.stack([np.isin(values, label.values) for label in labels.foreground], axis=1)
    classes = np.zeros(len(values), np.intp)
    for head, label in enumerate(labels.foreground, start=1):
        classes[values == label.values[0]] = head
    return classes

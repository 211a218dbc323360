"""Learning from held-out cases what a new segmentation is probably worth, and telling it.

    judged folds -> of each held-out case: label map, logits (kept, or predicted again)
                 -> features beside its scores -> fit -> quality.json of the configuration
    a new case   -> the same features, taken while it is predicted -> `judge`

A held-out case is predicted by one network and a new one by the mean of all folds, which is a
little better and a little less sure: what is predicted is the Dice of a single network, and
tends to be too low rather than too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..crossvalidate.splits import ALL
from ..domain.bundle import Member
from ..domain.case import FloatArray
from ..domain.events import Progress, StageFinished, StageStarted
from ..domain.geometry import Shape3, Vector3
from ..domain.labels import LabelScheme
from ..domain.plan import Plan
from ..evaluate.scores import CaseScores, read_case_scores
from ..infer.backend import Head
from ..infer.confidence import EntropyMeter
from ..infer.engine import Backend, Slab
from ..infer.restore import restore
from ..io.case_store import StoredCase
from ..io.images import read_label_map
from ..io.json_files import read_json, write_json
from ..io.logit_store import read_logits
from ..io.project import Project
from ..quality.features import (
    PromisedOverlap,
    StructureFeatures,
    overlap_of_maps,
    shape_features,
)
from ..quality.predictor import Observation, QualityModel, fit_quality
from .calibrate import calibration_of
from .first_stage import weights_digest
from .fold import FoldRun
from .logits import logits_folder, without_logits
from .models import load_backend
from .segment import predict_case

QUALITY_SCHEMA = "selfseg.quality/1"
QUALITY_FILE = "quality.json"
FEATURES_SCHEMA = "selfseg.quality-features/1"
FEATURES_FILE = "quality_features.json"


class QualityMeter(EntropyMeter):
    """An `EntropyMeter` that also takes what predicts the quality."""

    def __init__(
        self,
        labels: LabelScheme,
        shape: Shape3,
        head: Head | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(labels, shape, head, temperature)
        self.promised = PromisedOverlap(labels)

    def add(self, probabilities: FloatArray) -> None:
        """Counts voxels (..., K)."""
        super().add(probabilities)
        self.promised.add(probabilities)

    def features(
        self,
        labels: NDArray[Any],
        spacing: Vector3,
        *,
        mirror_dice: Mapping[str, float | None] | None = None,
    ) -> Mapping[str, StructureFeatures]:
        """What was seen of each structure.

        Args:
            labels: (Z, Y, X) of the native grid, as decided, before postprocessing: that is what
                held-out cases are scored on.
            spacing: mm (Z, Y, X) of that grid.
            mirror_dice: by structure, see `StructureFeatures`; only for a predictor that was
                learned with it.
        """
        entropies = self.result().structures
        promised, mirrored = self.promised.dice(), mirror_dice or {}
        return {
            name: replace(
                found,
                entropy=entropies[name].entropy,
                expected_dice=promised[name],
                mirror_dice=mirrored.get(name),
            )
            for name, found in shape_features(labels, self.labels, spacing).items()
        }


@dataclass(frozen=True)
class FoldFeatures:
    """`quality_features.json` of a training: what was seen of its held-out cases.

    `weights` and `temperature` say of which predictions; `cases` are by name and structure.
    """

    weights: str
    temperature: float
    mirrored: bool
    cases: Mapping[str, Mapping[str, StructureFeatures]]


def learn_quality(
    runs: Sequence[FoldRun], *, checkpoint: str, mirror: bool = True, mirrored: bool = False
) -> QualityModel | None:
    """Learns the predictor of one configuration from its judged folds, and stores it.

    Args:
        runs: folds of one configuration; "all" and those that are not judged are left out.
        checkpoint: the weights that were judged, "final" or "best".
        mirror: as the folds were judged.
        mirrored: also takes how far the plain prediction agrees with the mirrored one: one more
            pass over every case, then and at prediction.

    Returns:
        the predictor; None where no fold is judged.
    """
    judged = [run for run in runs if run.fold != ALL and run.is_judged]
    if not judged:
        return None
    (first, *_) = judged
    everyone = tuple(run.fold for run in judged)
    calibration = calibration_of(
        first.project, [Member(first.plan.name, first.configuration, everyone)]
    )
    observations: list[Observation] = []
    for run in judged:
        seen = measure_fold(
            run,
            checkpoint=checkpoint,
            temperature=calibration.temperature,
            mirror=mirror,
            mirrored=mirrored,
        )
        scores = read_case_scores(run.folder / "validation.json")
        observations += observations_of(seen, scores, run.fold, run.plan.description.labels)
    model = fit_quality(observations)
    write_json(
        quality_file(first.project, first.plan.name, first.configuration),
        model,
        schema=QUALITY_SCHEMA,
    )
    return model


def measure_fold(
    run: FoldRun,
    *,
    checkpoint: str,
    temperature: float,
    mirror: bool = True,
    mirrored: bool = False,
) -> FoldFeatures:
    """The features of a judged fold's held-out cases; those of an earlier call where they fit."""
    path, weights = run.folder / FEATURES_FILE, weights_digest(run, checkpoint)
    if path.is_file():
        known = read_json(path, FoldFeatures, schema=FEATURES_SCHEMA)
        if (known.weights, known.temperature, known.mirrored) == (weights, temperature, mirrored):
            return known
    names, start = run.split.validation, run.clock()
    stage = f"look at the held-out cases of {run.configuration} fold {run.fold}"
    run.reporter(StageStarted(stage, total=len(names), unit="case"))
    cases = run.stored(names)
    missing = {case.identifier for case in without_logits(run, cases, weights)}
    measure = _Measure(run, checkpoint, temperature, mirror, mirrored)
    found = {}
    for done, case in enumerate(cases):
        found[case.identifier] = measure.case(case, kept=case.identifier not in missing)
        run.reporter(Progress(stage, done + 1, len(cases)))
    features = FoldFeatures(weights, temperature, mirrored, found)
    write_json(path, features, schema=FEATURES_SCHEMA)
    run.reporter(StageFinished(stage, seconds=run.clock() - start))
    return features


def observations_of(
    features: FoldFeatures, scores: Sequence[CaseScores], fold: str, scheme: LabelScheme
) -> list[Observation]:
    """Features and scores of a fold's held-out cases, put together."""
    found = []
    for case in scores:
        seen = features.cases.get(case.identifier, {})
        for label in scheme.foreground:
            metrics = case.metrics.get(label.key, {})
            if label.name in seen and metrics:
                found.append(
                    Observation(
                        case.identifier,
                        fold,
                        label.name,
                        seen[label.name],
                        metrics.get("Dice"),
                        metrics.get("HD95"),
                        bool(metrics.get("n_ref")),
                    )
                )
    return found


def quality_of(project: Project, members: Sequence[Member]) -> QualityModel | None:
    """The predictor for a project's model.

    None for several members: their mean is less sure than the networks that were learned from.
    """
    if len(members) != 1:
        return None
    return read_quality(project, members[0].plan, members[0].configuration)


def read_quality(project: Project, plan: str, configuration: str) -> QualityModel | None:
    """What was learned for a configuration; None where nothing was.

    Raises:
        FileFormatError: the file is damaged.
    """
    path = quality_file(project, plan, configuration)
    return read_json(path, QualityModel, schema=QUALITY_SCHEMA) if path.is_file() else None


def quality_file(project: Project, plan: str, configuration: str) -> Path:
    """Where the predictor of a configuration lies."""
    return project.run_folder(plan, configuration, ALL).parent / QUALITY_FILE


@dataclass
class _Measure:
    run: FoldRun
    checkpoint: str
    temperature: float
    mirror: bool
    mirrored: bool
    _backend: Backend | None = None

    def case(self, case: StoredCase, *, kept: bool) -> Mapping[str, StructureFeatures]:
        """The features of one held-out case; its label map lies where judging has put it."""
        plan, folder = self.run.plan, self.run.folder
        path = (
            folder / "validation" / f"{case.identifier}{self.run.dataset.description.file_ending}"
        )
        labels, grid = read_label_map(path)
        maps: NDArray[Any]
        if kept:
            maps = read_logits(logits_folder(self.run), case.identifier)
        else:
            maps = np.moveaxis(self.predicted(case, plan, mirror=self.mirror), 0, -1)
        scheme = plan.description.labels
        meter = QualityMeter(scheme, _shape(maps), temperature=self.temperature)
        meter.take(Slab(0, maps))
        agreement = None
        if self.mirrored:
            plain = restore(self.predicted(case, plan, mirror=False), case.record, scheme)
            agreement = overlap_of_maps(labels, plain, scheme)
        return meter.features(labels, grid.spacing, mirror_dice=agreement)

    def predicted(self, case: StoredCase, plan: Plan, *, mirror: bool) -> FloatArray:
        """Logits (K, Z, Y, X) of the network that has not seen the case."""
        run = self.run
        if self._backend is None:
            self._backend = load_backend(
                run.project, plan, run.configuration, (run.fold,), self.checkpoint, run.device
            )
        return predict_case(
            case.load(),
            self._backend,
            plan,
            run.configuration,
            mirror=mirror,
            should_stop=run.should_stop,
        )


def _shape(maps: NDArray[Any]) -> Shape3:
    return (maps.shape[0], maps.shape[1], maps.shape[2])

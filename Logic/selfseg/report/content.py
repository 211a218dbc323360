"""What a report tells, as data: nothing here draws or writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.calibration import Reliability, no_reliability
from ..domain.dataset import DatasetDescription
from ..domain.errors import ImageError
from ..domain.events import EpochFinished, IterationFinished, ValidationFinished
from ..domain.fingerprint import Fingerprint
from ..domain.geometry import IDENTITY, Matrix3, Vector3
from ..domain.plan import Plan
from ..domain.quality import QualityModel
from ..domain.selection import Selection
from ..train.log import read_events

LARGEST_LOG_BYTES = 8 * 2**20
"""Of a training, whose single iterations are drawn too: they matter where epochs are few."""

MOST_POINTS = 300
"""Of the curve of iterations: each is the mean of some neighbours where there are more."""


@dataclass(frozen=True)
class TrainingRun:
    """One trained fold of one configuration with its log, oldest first.

    Args:
        configuration: what was trained.
        fold: of it.
        epochs: one per epoch.
        validations: whole cases looked at while training.
        iterations: (epochs since the start, loss); none where the epochs tell enough.
    """

    configuration: str
    fold: str
    epochs: tuple[EpochFinished, ...] = ()
    validations: tuple[ValidationFinished, ...] = ()
    iterations: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class ScoredConfiguration:
    """A configuration on its held-out cases.

    Args:
        name: "3d_fullres".
        folds: that were judged.
        scores: in the form of `Scores.as_mapping`.
        is_shown: its cases are those that the report shows.
    """

    name: str
    folds: tuple[str, ...]
    scores: Mapping[str, Any]
    is_shown: bool = False


@dataclass(frozen=True)
class CalibrationContent:
    """How far probabilities can be trusted, on voxels around the structures of held-out cases.

    Args:
        raw: by structure, of the network's own probabilities.
        tempered: by structure, of logits divided by `temperature`.
        temperature: above 1 where the network is too sure of itself.
        cases: looked at.
        voxels: looked at.
    """

    raw: Mapping[str, Reliability]
    tempered: Mapping[str, Reliability]
    temperature: float
    cases: int
    voxels: int


@dataclass(frozen=True)
class Usage:
    """One way to use the model: a headline, the command to copy ("" for none), what it does."""

    title: str
    command: str
    text: str = ""


@dataclass(frozen=True)
class OverlayCase:
    """One case to show: image, prediction and maybe reference on one grid.

    Args:
        identifier: the case's name.
        image: (Z, Y, X), or (Z, Y, X, 3) for colour (0-255).
        predicted: (Z, Y, X) label values.
        reference: (Z, Y, X) label values, or None.
        spacing: mm (Z, Y, X).
        direction: as `Geometry.direction`, so that the head is shown on top.
        score: mean Dice of this case, or None.
        title: its role, for example "Best case".

    Raises:
        ImageError: the arrays do not fit each other.
    """

    identifier: str
    image: NDArray[Any]
    predicted: NDArray[Any]
    spacing: Vector3
    reference: NDArray[Any] | None = None
    direction: Matrix3 = IDENTITY
    score: float | None = None
    title: str = ""

    def __post_init__(self) -> None:
        shapes = {self.image.shape[:3], self.predicted.shape}
        if self.reference is not None:
            shapes.add(self.reference.shape)
        right = self.image.ndim == 3 or (self.image.ndim == 4 and self.image.shape[3] == 3)
        if len(shapes) != 1 or not right:
            raise ImageError(
                f"case {self.identifier}: image, prediction and reference do not fit together",
                expected="an image (Z, Y, X) or (Z, Y, X, 3) and label maps (Z, Y, X)",
                found=f"{self.image.shape}, {sorted(shapes)}",
                cure="this is a fault of the calling code: read them on one grid",
            )

    @property
    def is_colour(self) -> bool:
        """True for an RGB image."""
        return self.image.ndim == 4


@dataclass(frozen=True)
class ReportContent:
    """All that a report says; every part but the first three may be missing.

    Args:
        title: headline of the page.
        created: when, as it shall be read ("2026-01-31 14:05").
        description: the data set.
        fingerprint: what was measured.
        plan: what was decided.
        runs: what was trained.
        scores: `metric_per_case`, `mean` and `foreground_mean` as `selfseg evaluate` writes.
        scored_on: which cases the scores come from, for example "6 held-out test cases".
        overlays: cases to show.
        configurations: every judged configuration, to compare.
        calibration: of the shown configuration.
        quality: what predicts the quality of new segmentations.
        selection: what cross-validation chose.
        usage: how to use the model, the first the most important.
        provenance: (name, value) pairs: version, machine, seed, wall clock, ...
    """

    title: str
    created: str
    description: DatasetDescription
    fingerprint: Fingerprint | None = None
    plan: Plan | None = None
    runs: tuple[TrainingRun, ...] = ()
    scores: Mapping[str, Any] | None = None
    scored_on: str = ""
    overlays: tuple[OverlayCase, ...] = ()
    configurations: tuple[ScoredConfiguration, ...] = ()
    calibration: CalibrationContent | None = None
    quality: QualityModel | None = None
    selection: Selection | None = None
    usage: tuple[Usage, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()


def pooled(structures: Mapping[str, Reliability]) -> Reliability:
    """All structures' counts together."""
    bins = len(next(iter(structures.values())).counts) if structures else 1
    return sum(structures.values(), start=no_reliability(bins))


def read_run(configuration: str, fold: str, path: Path) -> TrainingRun:
    """A training from its log.jsonl; of an epoch that is told twice, the last line counts.

    A run that went on after a stop writes some epochs twice; a run that was killed may leave
    half a last line, which is left out. What else the log tells is passed over.

    Raises:
        FileFormatError: the file cannot be read, or a line but the last is damaged.
    """
    small = path.is_file() and path.stat().st_size <= LARGEST_LOG_BYTES
    kinds = (EpochFinished, ValidationFinished, *((IterationFinished,) if small else ()))
    epochs: dict[int, EpochFinished] = {}
    validations: dict[int, ValidationFinished] = {}
    iterations: dict[int, IterationFinished] = {}
    for event in read_events(path, kinds):
        if isinstance(event, EpochFinished):
            epochs[event.epoch] = event
        elif isinstance(event, ValidationFinished):
            validations[event.epoch] = event
        elif isinstance(event, IterationFinished):
            iterations[event.iteration] = event
    return TrainingRun(
        configuration,
        fold,
        tuple(epochs[number] for number in sorted(epochs)),
        tuple(validations[number] for number in sorted(validations)),
        _curve([iterations[number] for number in sorted(iterations)]),
    )


def read_log(path: Path) -> tuple[EpochFinished, ...]:
    """The epochs of a training's log.jsonl; see `read_run`."""
    return read_run("", "", path).epochs


def _curve(iterations: Sequence[IterationFinished]) -> tuple[tuple[float, float], ...]:
    known = [entry for entry in iterations if entry.epoch_iterations and math.isfinite(entry.loss)]
    if not known:
        return ()
    together = -(-len(known) // MOST_POINTS)
    parts = [known[first : first + together] for first in range(0, len(known), together)]
    return tuple(
        (
            sum(entry.iteration / entry.epoch_iterations for entry in part) / len(part),
            sum(entry.loss for entry in part) / len(part),
        )
        for part in parts
    )


def mean_case_dice(case: Mapping[str, Any]) -> float | None:
    """Mean Dice over the structures of one entry of `metric_per_case`; None without any."""
    values = [number(metric.get("Dice")) for metric in case.get("metrics", {}).values()]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def choose_cases(
    metric_per_case: Sequence[Mapping[str, Any]],
) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Which cases to show: (title, entry) of the best, the median and the worst by mean Dice.

    Fewer where there are fewer cases. Ties go to the first, so that a report can be repeated.
    """
    scored = [
        (score, case) for case in metric_per_case if (score := mean_case_dice(case)) is not None
    ]
    ranked = sorted(scored, key=lambda pair: -pair[0])
    count = len(ranked)
    if count == 0:
        return ()
    places = {0: "Best case", count // 2: "Median case", count - 1: "Worst case"}
    if count < 3:
        places = {0: "Best case", count - 1: "Worst case"} if count == 2 else {0: "The only case"}
    return tuple((title, ranked[place][1]) for place, title in sorted(places.items()))


def number(value: Any) -> float | None:
    """A finite float, or None for everything else (None, NaN, text)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return None
    return float(value) if math.isfinite(value) else None

"""What a report tells, as data: nothing here draws or writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.dataset import DatasetDescription
from ..domain.errors import ImageError
from ..domain.events import EpochFinished
from ..domain.fingerprint import Fingerprint
from ..domain.geometry import IDENTITY, Matrix3, Vector3
from ..domain.plan import Plan
from ..train.log import read_events


@dataclass(frozen=True)
class TrainingRun:
    """One trained fold of one configuration with its log, oldest epoch first."""

    configuration: str
    fold: str
    epochs: tuple[EpochFinished, ...] = ()


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
        usage_command: the exact command that uses the model on new images.
        usage_notes: sentences that go with it.
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
    usage_command: str = ""
    usage_notes: tuple[str, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()


def read_log(path: Path) -> tuple[EpochFinished, ...]:
    """The epochs in a training's log.jsonl, one per number: the last line about it wins.

    A run that went on after a stop writes some epochs twice; a run that was killed may leave
    half a last line, which is left out. What else the log tells is passed over.

    Raises:
        FileFormatError: the file cannot be read, or a line but the last is damaged.
    """
    epochs: dict[int, EpochFinished] = {}
    for event in read_events(path, (EpochFinished,)):
        if isinstance(event, EpochFinished):
            epochs[event.epoch] = event
    return tuple(epochs[number] for number in sorted(epochs))


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

"""Whole cases while a training runs: segmented with the network as it is, and scored.

The scores are those of the native grid, so that they can be set beside the ones a fold is
judged with. The network in training itself is not touched: prediction takes a copy of its
weights into an arithmetic of its own (`TorchBackend`), no mode is switched and no random number
drawn, and a training with validation ends with the same weights as one without.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.metrics import count_pairs
from ..arrays.surface import surface_distances
from ..crossvalidate.hold_out import choose_hold_out
from ..crossvalidate.splits import ALL
from ..domain.errors import Cancelled
from ..domain.events import Event, Progress, Reporter, ValidationFinished
from ..domain.geometry import Vector3
from ..domain.labels import LabelScheme
from ..infer.engine import Backend
from ..io.images import read_label_map
from ..train.watch import composite_score
from .fold import FoldRun
from .folds import structures_of
from .segment import CaseProgress, segment_case

if TYPE_CHECKING:
    from ..network.unet import UNet

TOLERANCE_MM = 2.0
"""Of the surface Dice."""


class _TimeIsOver(Exception):
    """A validation has used the time it was given."""


@dataclass(frozen=True)
class StructureScore:
    """One structure in one case; None where the metric is undefined."""

    dice: float | None
    hd95_mm: float | None
    surface_dice_2mm: float | None
    composite: float | None


class FullCaseValidator:
    """Segments and scores whole cases with a network in training.

    Args:
        run: the fold.
        cases: names of preprocessed cases with references.
        every: epochs from one validation to the next.
        mirror: averages over mirrored images: better, and 4 (2D) or 8 (3D) times slower.
    """

    def __init__(
        self, run: FoldRun, cases: Sequence[str], every: int, *, mirror: bool = False
    ) -> None:
        self.run = run
        self.cases = tuple(cases)
        self.every = every
        self.mirror = mirror
        self.expected_seconds = 0.0
        """What the next one will take, from the last one; 0 before the first."""

    def due(self, epoch: int) -> bool:
        """Whether whole cases are looked at after this epoch, counted from 0."""
        return (epoch + 1) % self.every == 0

    def __call__(
        self, network: UNet, epoch: int, seconds_left: float = math.inf
    ) -> ValidationFinished | None:
        """Validates after an epoch.

        Args:
            network: as it is in training, in any mode, on any device.
            epoch: counted from 0.
            seconds_left: how long this may take.

        Returns:
            The scores; None where the time was not enough or the user asked to stop.

        Raises:
            ModelError, ImageError: a case cannot be segmented, or its reference not be read.
        """
        run = self.run
        began = run.clock()
        if self.expected_seconds > seconds_left:
            return None

        def should_stop() -> bool:
            if run.clock() - began > seconds_left:
                raise _TimeIsOver
            return run.should_stop()

        try:
            scores = self._scores(_backend_of(network, run), epoch, should_stop)
        except _TimeIsOver:
            self.expected_seconds = max(self.expected_seconds, run.clock() - began)
            return None
        except Cancelled:  # the loop sees the request too, and saves before it stops
            return None
        self.expected_seconds = run.clock() - began
        return summarise(run, epoch, scores, self.expected_seconds)

    def _scores(
        self, backend: Backend, epoch: int, should_stop: Callable[[], bool]
    ) -> list[dict[str, StructureScore]]:
        run, started = self.run, time.monotonic()
        scheme = run.plan.description.labels
        stage = f"validate after epoch {epoch + 1}"
        scores = []
        for done, case in enumerate(run.stored(self.cases)):
            labels = segment_case(
                case.load(),
                backend,
                run.plan,
                run.configuration,
                mirror=self.mirror,
                reporter=CaseProgress(
                    stage, done, len(self.cases), started, _progress_only(run.reporter)
                ),
                should_stop=should_stop,
            )
            if should_stop():
                raise Cancelled("validation was stopped")
            path = run.dataset.case(case.identifier).label
            if path is not None:
                reference, grid = read_label_map(path)
                scores.append(score_structures(reference, labels, grid.spacing, scheme))
        return scores


def make_validator(
    run: FoldRun, every: int, *, held_out: Sequence[str] = (), mirror: bool = False
) -> FullCaseValidator | None:
    """The validator of a fold's training.

    Args:
        run: the fold.
        every: epochs from one validation to the next; 0 makes none.
        held_out: training cases set aside (`held_out_cases`); the fold's validation cases
            otherwise.
        mirror: see `FullCaseValidator`.

    Returns:
        None where none is wanted, or there is no case with a reference that is not trained on.
    """
    names = tuple(held_out)
    if not names and run.fold != ALL:
        names = run.split.validation
    with_reference = [name for name in names if run.dataset.case(name).label is not None]
    if every < 1 or not with_reference:
        return None
    return FullCaseValidator(run, with_reference, every, mirror=mirror)


def held_out_cases(run: FoldRun) -> tuple[str, ...]:
    """About a tenth of the fold's training cases to set aside, every structure among them.

    The same cases every time. They must be left out of the training.
    """
    scheme = run.plan.description.labels
    cases = run.stored(run.split.train)
    return choose_hold_out({case.identifier: structures_of(case, scheme) for case in cases})


def score_structures(
    reference: NDArray[Any], prediction: NDArray[Any], spacing: Vector3, scheme: LabelScheme
) -> dict[str, StructureScore]:
    """Dice, HD95 (mm) and surface Dice at 2 mm of every structure of one case.

    See `ValidationFinished` for structures that one map or both lack.

    Args:
        reference: (Z, Y, X) label values; voxels with the ignore value count nowhere.
        prediction: (Z, Y, X) label values.
        spacing: mm (Z, Y, X).
        scheme: the structures.
    """
    counts = count_pairs(reference, prediction)
    counted = None if scheme.ignore is None else reference != scheme.ignore
    scores = {}
    for structure in scheme.foreground:
        overlap = counts.overlap(structure.values, scheme.ignore)
        dice = overlap.dice
        if dice is None:
            scores[structure.name] = StructureScore(None, None, None, None)
            continue
        both = overlap.true_positives
        if both + overlap.false_negatives == 0 or both + overlap.false_positives == 0:
            missed = composite_score(0.0, _diagonal(reference.shape, spacing))
            scores[structure.name] = StructureScore(0.0, None, 0.0, missed)
            continue
        masks = [np.isin(labels, structure.values) for labels in (reference, prediction)]
        if counted is not None:
            masks = [mask & counted for mask in masks]
        distances = surface_distances(masks[0], masks[1], spacing)
        scores[structure.name] = StructureScore(
            dice,
            distances.hd95,
            distances.surface_dice(TOLERANCE_MM),
            composite_score(dice, distances.hd95),
        )
    return scores


def summarise(
    run: FoldRun, epoch: int, scores: Sequence[dict[str, StructureScore]], seconds: float
) -> ValidationFinished:
    """Means over cases per structure, then over structures."""
    names = [structure.name for structure in run.plan.description.labels.foreground]

    def means(metric: str) -> dict[str, float | None]:
        return {name: _mean(getattr(case[name], metric) for case in scores) for name in names}

    dice, hd95, surface = (means(m) for m in ("dice", "hd95_mm", "surface_dice_2mm"))
    return ValidationFinished(
        configuration=run.configuration,
        fold=run.fold,
        epoch=epoch,
        dice=dice,
        hd95_mm=hd95,
        surface_dice_2mm=surface,
        mean_dice=_mean(dice.values()),
        mean_hd95_mm=_mean(hd95.values()),
        mean_surface_dice_2mm=_mean(surface.values()),
        composite=_mean(means("composite").values()),
        cases=len(scores),
        seconds=seconds,
    )


def _backend_of(network: UNet, run: FoldRun) -> Backend:
    """A copy of the network, ready to predict as a trained one would."""
    from ..infer.torch_backend import TorchBackend
    from ..train.checkpoint import weight_arrays

    return TorchBackend(
        network.plan,
        network.input_channels,
        network.output_channels,
        [weight_arrays(network)],
        device=run.device,
        autocast=run.plan.autocast,
    )


def _progress_only(reporter: Reporter) -> Reporter:
    def report(event: Event) -> None:
        if isinstance(event, Progress):
            reporter(event)

    return report


def _diagonal(shape: tuple[int, ...], spacing: Vector3) -> float:
    """Of the image in mm; a photograph's single slice has no thickness."""
    edges = [n * mm for n, mm in zip(shape, spacing, strict=True) if n > 1]
    return math.hypot(*edges)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None

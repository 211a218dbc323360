"""How far the folds of a model agree on a case: some tiles of it, predicted by each alone.

Prediction itself takes the mean over folds tile by tile, and what each fold would have said is
gone. In large images a few tiles that hold all structures, predicted again, tell it at a small part
of the cost (`fold_dice`). In small ones even one tile would be much, and there the prediction
itself is made fold by fold (`RecordingBackend`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..arrays.axis_weights import nearest_index
from ..domain.case import FloatArray, PreprocessedCase, PreprocessRecord
from ..domain.labels import LabelScheme
from ..domain.plan import ConfigurationPlan
from ..domain.stopping import Stop, never
from .backend import Backend
from .tiling import Tiling

SHARE = 1 / 8
"""Of the passes through a network that the prediction took."""

MOST_TILES = 8

_LOOK = 4
"""Every fourth voxel of an axis tells which structures a tile holds."""


@runtime_checkable
class SeveralFolds(Protocol):
    """A backend that can let each of its networks predict alone."""

    @property
    def folds(self) -> Sequence[Backend]:
        """One backend per network; they share the weights."""
        ...


def is_small(
    case: PreprocessedCase,
    configuration: ConfigurationPlan,
    previous_values: Sequence[int],
    *,
    step: float,
    mirrorings: int,
) -> bool:
    """Whether a single tile more would be a larger part of the prediction than `SHARE`."""
    return Tiling(case, configuration, previous_values, step).count * mirrorings * SHARE < 1


class FoldDecisions:
    """Counts how far the decisions of folds overlap.

    Args:
        count: of the folds.
        labels: which head means what.
    """

    def __init__(self, count: int, labels: LabelScheme) -> None:
        self.labels = labels
        self.pairs = list(itertools.combinations(range(count), 2))
        self.both = np.zeros((len(self.pairs), len(labels.foreground)))
        self.sizes = np.zeros((count, len(labels.foreground)))

    def add(self, logits: Sequence[FloatArray]) -> None:
        """Counts a tile; one array (K, *patch) per fold."""
        found = [_decided(fold, self.labels) for fold in logits]
        for index, decided in enumerate(found):
            self.sizes[index] += _sizes(decided, self.labels)
        for index, (one, other) in enumerate(self.pairs):
            self.both[index] += _common_sizes(found[one], found[other], self.labels)

    def dice(self) -> dict[str, float | None]:
        """Mean over the pairs by structure; None for one that no fold has found."""
        result: dict[str, float | None] = {}
        for index, label in enumerate(self.labels.foreground):
            dice = [
                2 * self.both[pair, index] / total
                for pair, (one, other) in enumerate(self.pairs)
                if (total := self.sizes[one, index] + self.sizes[other, index])
            ]
            result[label.name] = float(np.mean(dice)) if dice else None
        return result


class RecordingBackend:
    """The mean of some folds' logits, as the backend itself would say, with an eye on each.

    Args:
        folds: one backend per network.
        labels: which head means what.
    """

    def __init__(self, folds: Sequence[Backend], labels: LabelScheme) -> None:
        self.each = tuple(folds)
        self.decisions = FoldDecisions(len(self.each), labels)

    def predict(
        self,
        batch: FloatArray,
        mirror_axes: tuple[int, ...] = (),
        should_stop: Stop = never,
    ) -> FloatArray:
        """See `Backend.predict`."""
        found = [fold.predict(batch, mirror_axes, should_stop) for fold in self.each]
        for tile in zip(*found, strict=True):
            self.decisions.add(tile)
        total = found[0]
        for other in found[1:]:
            total += other
        total /= np.float32(len(found))
        return total


def fold_dice(
    case: PreprocessedCase,
    backend: Backend,
    configuration: ConfigurationPlan,
    labels: LabelScheme,
    predicted: NDArray[Any],
    *,
    previous_values: Sequence[int] = (),
    step: float = 0.5,
    mirrorings: int = 1,
    should_stop: Stop = never,
) -> dict[str, float | None]:
    """Mean Dice between the predictions of two folds, over all pairs of folds.

    Args:
        case: as the engine took it.
        backend: of several networks.
        configuration: its patch.
        labels: which head means what.
        predicted: (Z, Y, X) label values of the whole model on the native grid: the tiles are
            those with most of its structures.
        previous_values: see `predict_slabs`.
        step: see `predict_slabs`.
        mirrorings: passes that each tile has taken; none is mirrored here.
        should_stop: asked between passes through a network.

    Returns:
        by structure; None for one that no fold has found in the tiles. Nothing at all where
        the backend has one network.

    Raises:
        Cancelled: `should_stop` said so.
    """
    folds = folds_of(backend)
    if len(folds) < 2:
        return {}
    tiles = Tiling(case, configuration, previous_values, step)
    passes = round(tiles.count * mirrorings * SHARE)
    decisions = FoldDecisions(len(folds), labels)
    for start in _telling_tiles(
        tiles, on_network_grid(predicted, case.record), max(1, min(MOST_TILES, passes))
    ):
        tile = tiles.cut([(start, [])])
        decisions.add([fold.predict(tile, (), should_stop)[0] for fold in folds])
    return decisions.dice()


def folds_of(backend: Backend) -> Sequence[Backend]:
    """The folds of a backend, each by itself; none where it cannot take them apart."""
    return backend.folds if isinstance(backend, SeveralFolds) else ()


def on_network_grid(labels: NDArray[Any], record: PreprocessRecord) -> NDArray[Any]:
    """A native label map (Z, Y, X) on the grid that the network saw, nearest voxel by voxel."""
    place = tuple(map(slice, record.crop_start, record.crop_stop))
    cropped = record.on_plan_axes(labels)[place]
    picked = [
        nearest_index(before, after)
        for before, after in zip(cropped.shape, record.shape_after_resampling, strict=True)
    ]
    return cropped[np.ix_(*picked)]


def _telling_tiles(
    tiles: Tiling, predicted: NDArray[Any], most: int
) -> Iterator[tuple[int, int, int]]:
    """First voxels of the tiles that hold structures no earlier one has held."""
    z, y, x = tiles.inner
    whole = np.zeros(tiles.image.shape[1:], predicted.dtype)
    whole[z, y, x] = predicted
    starts = list(itertools.product(tiles.z.starts, tiles.y.starts, tiles.x.starts))
    widths = (tiles.z.width, tiles.y.width, tiles.x.width)
    counts: list[Mapping[int, int]] = []
    for start in starts:
        place = tuple(slice(a, a + n, min(_LOOK, n)) for a, n in zip(start, widths, strict=True))
        values, found = np.unique(whole[place], return_counts=True)
        counts.append({int(v): int(n) for v, n in zip(values, found, strict=True) if v})
    seen: set[int] = set()
    for _ in range(most):
        gain = [_gain(count, seen) for count in counts]
        best = int(np.argmax(gain))
        if not gain[best]:
            return
        yield starts[best]
        seen |= counts[best].keys()


def _gain(count: Mapping[int, int], seen: set[int]) -> float:
    """Every new structure counts, large ones a little more."""
    return sum(1 + math.log(voxels) for value, voxels in count.items() if value not in seen)


def _decided(logits: FloatArray, labels: LabelScheme) -> NDArray[Any]:
    """(voxels,) winning heads, or (K, voxels) masks of regions."""
    flat = logits.reshape(len(logits), -1)
    return flat > 0 if labels.has_regions else flat.argmax(axis=0)


def _sizes(decided: NDArray[Any], labels: LabelScheme) -> NDArray[Any]:
    if labels.has_regions:
        result: NDArray[Any] = decided.sum(axis=1)
        return result
    return np.bincount(decided, minlength=labels.head_count)[1:]


def _common_sizes(one: NDArray[Any], other: NDArray[Any], labels: LabelScheme) -> NDArray[Any]:
    if labels.has_regions:
        result: NDArray[Any] = (one & other).sum(axis=1)
        return result
    return np.bincount(one[one == other], minlength=labels.head_count)[1:]

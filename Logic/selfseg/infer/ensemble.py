"""Several configurations that vote: their probabilities, averaged on the native grid.

    member 1: maps at its spacing, kept in half precision -+
    member 2: maps at its spacing, kept in half precision -+-> a slice at a time: interpolated,
    ...                                                    |   logits, probabilities, their mean
                                                           +-> winning label

Nothing of the size heads x native volume is ever made, and nothing goes to disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.axis_weights import linear_taps, nearest_taps
from ..arrays.resample import separate_axis
from ..domain.case import FloatArray, IntArray, PreprocessRecord
from ..domain.errors import ModelError
from ..domain.geometry import Shape3, Vector3
from ..domain.labels import LabelScheme
from ..domain.stopping import Stop, check_stop, never
from .backend import Head, Maps
from .confidence import EntropyMeter, probabilities_of
from .engine import Slab
from .restore import BLOCK_BYTES, along_columns, along_rows, empty_label_map, head_values

THREADS = min(8, os.cpu_count() or 1)

LARGEST = float(np.finfo(np.float16).max)


class KeptMaps:
    """The maps of one member, until those of the others are there; takes slabs.

    Args:
        shape: (Z, Y, X) of the member's grid.
        map_count: M.
    """

    def __init__(self, shape: Shape3, map_count: int) -> None:
        self.maps: Maps = np.empty((*shape, map_count), np.float16)
        self.seen = 0

    def take(self, slab: Slab) -> None:
        """Keeps a slab; they come in ascending order.

        Raises:
            ModelError: the maps do not fit the grid.
        """
        target = self.maps[slab.first : slab.first + len(slab.maps)]
        if slab.first != self.seen or target.shape != slab.maps.shape:
            raise ModelError(
                "the prediction does not fit the case",
                expected=f"{self.maps.shape[1:]} from slice {self.seen} on",
                found=f"{slab.maps.shape[1:]} from slice {slab.first} on",
                cure="predict with the plan that the case was preprocessed with",
            )
        np.clip(slab.maps, -LARGEST, LARGEST, out=target, casting="same_kind")
        self.seen += len(slab.maps)

    def finish(self) -> None:
        """Makes sure that every slice came.

        Raises:
            ModelError: some did not.
        """
        if self.seen != len(self.maps):
            raise ModelError(
                "the prediction does not fit the case",
                expected=f"{len(self.maps)} slices",
                found=str(self.seen),
                cure="predict with the plan that the case was preprocessed with",
            )


@dataclass(frozen=True)
class Vote:
    """What one member says of a case.

    Args:
        maps: (Z, Y, X, M) at the member's spacing, in its plan's axis order.
        record: what its preprocessing did.
        head: what turns maps into logits; None where they are the logits.
    """

    maps: Maps
    record: PreprocessRecord
    head: Head | None


def decide(
    votes: Sequence[Vote],
    labels: LabelScheme,
    meter: EntropyMeter | None = None,
    should_stop: Stop = never,
) -> IntArray:
    """Decides every native voxel's label from the mean probabilities.

    Labels: the largest wins, the first of equals. Regions: each is where it is above one half,
    later ones over earlier.

    Args:
        votes: on one image; their grids may differ.
        labels: which head means which label value.
        meter: is given the mean probabilities of some voxels; made for the cropped grid.
        should_stop: asked between slices.

    Returns:
        (Z, Y, X) of the native grid, in the smallest unsigned type that holds the labels.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: the members have not seen the same part of the image.
    """
    record = _common_crop(votes)
    native, target = empty_label_map(record, labels)
    values = head_values(labels).astype(native.dtype)
    spacing = record.spacing_before
    grids = [_Grid(vote, record, target.shape, spacing) for vote in votes]
    step = meter.strides if meter is not None else None

    def one(z: int) -> list[FloatArray]:
        looked_at = []
        for first, probabilities in _mean_rows(grids, z, labels, 1.0):
            rows = target[z, first : first + len(probabilities)]
            if labels.has_regions:
                rows[...] = 0
                for head, value in enumerate(values):
                    rows[probabilities[..., head] > 0.5] = value
            else:
                rows[...] = values[probabilities.argmax(axis=-1)]
            if step is not None and z % step[0] == 0:
                some = probabilities[-first % step[1] :: step[1], :: step[2]]
                looked_at.append(np.ascontiguousarray(some))
        return looked_at

    for looked_at in _in_threads(one, target.shape[0], should_stop):
        if meter is not None:
            for probabilities in looked_at:
                meter.add(probabilities)
    return native


def mean_probabilities(
    votes: Sequence[Vote], labels: LabelScheme, temperature: float, should_stop: Stop = never
) -> Iterator[FloatArray]:
    """The mean probabilities (Y, X, K) on the grid of the first vote, slice by slice.

    Raises:
        Cancelled: `should_stop`, asked between slices, said so.
    """
    record = _common_crop(votes)
    shape, spacing = record.shape_after_resampling, record.spacing_after
    grids = [_Grid(vote, record, shape, spacing) for vote in votes]

    def one(z: int) -> FloatArray:
        rows = [part for _, part in _mean_rows(grids, z, labels, temperature)]
        return np.concatenate(rows)

    yield from _in_threads(one, shape[0], should_stop)


class _Grid:
    """One member's logits, interpolated to another grid over the same volume.

    Args:
        vote: the member's maps.
        axes: a record whose axis order is that of the other grid.
        shape: (Z', Y', X') of the other grid.
        spacing: mm, of the other grid.
    """

    def __init__(
        self, vote: Vote, axes: PreprocessRecord, shape: tuple[int, ...], spacing: Vector3
    ) -> None:
        record = vote.record
        order = [record.transpose.index(native) for native in axes.transpose]
        turned = [
            record.flipped[own] != flip for own, flip in zip(order, axes.flipped, strict=True)
        ]
        view = vote.maps.transpose(*order, 3)
        self.maps = view[tuple(slice(None, None, -1 if turn else 1) for turn in turned)]
        own_spacing = (
            record.spacing_after[order[0]],
            record.spacing_after[order[1]],
            record.spacing_after[order[2]],
        )
        self.coarse = separate_axis(own_spacing, spacing)
        self.shape = shape
        self.head = vote.head
        self.taps = (nearest_taps if self.coarse == 0 else linear_taps)(
            self.maps.shape[0], shape[0]
        )

    def plane(self, z: int) -> FloatArray:
        """(Y', X, M) float32 at slice z: two of three axes are interpolated."""
        taps = self.taps
        low, high = int(taps.low[z]), int(taps.high[z])
        blended = np.array(self.maps[low], dtype=np.float32, order="C")
        if low != high and taps.high_weight[z]:
            blended *= np.float32(taps.low_weight[z])
            blended += self.maps[high] * np.float32(taps.high_weight[z])
        return along_rows(blended, self.shape[1], nearest=self.coarse == 1)

    def logits(self, rows: FloatArray) -> FloatArray:
        """(rows, X', K) of some rows of a plane."""
        block = along_columns(rows, self.shape[2], nearest=self.coarse == 2)
        return block if self.head is None else self.head.logits(block)


def _mean_rows(
    grids: Sequence[_Grid], z: int, labels: LabelScheme, temperature: float
) -> Iterator[tuple[int, FloatArray]]:
    """First row, and mean probabilities (rows, X', K), of some rows of a slice at a time."""
    planes = [grid.plane(z) for grid in grids]
    _, count, columns = grids[0].shape
    at_once = max(1, BLOCK_BYTES // (4 * labels.head_count * columns))
    for first in range(0, count, at_once):
        total: FloatArray | None = None
        for grid, plane in zip(grids, planes, strict=True):
            logits = grid.logits(plane[first : first + at_once])
            found = probabilities_of(logits, labels, temperature)
            total = found if total is None else np.add(total, found, out=total)
        assert total is not None  # noqa: S101 - somebody votes
        total /= np.float32(len(grids))
        yield first, total


def _in_threads(one: Callable[[int], Any], count: int, should_stop: Stop) -> Iterator[Any]:
    """The results for 0, 1, ... in order, few of them waiting."""
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, count, 2 * THREADS):
            for found in pool.map(one, range(first, min(count, first + 2 * THREADS))):
                check_stop(should_stop)
                yield found


def _common_crop(votes: Sequence[Vote]) -> PreprocessRecord:
    """The first record; all members have seen the same box of native voxels."""
    boxes = {_native_box(vote.record) for vote in votes}
    if len(boxes) > 1:
        raise ModelError(
            "the members of the model have not seen the same part of the image",
            expected="one box of native voxels",
            found="; ".join(map(str, sorted(boxes))),
            cure="this is a fault of the calling code: preprocess one image for all of them",
        )
    return votes[0].record


def _native_box(record: PreprocessRecord) -> tuple[tuple[int, int], ...]:
    found = {}
    for axis, native in enumerate(record.transpose):
        start, stop = record.crop_start[axis], record.crop_stop[axis]
        size = record.transposed_shape[axis]
        found[native] = (size - stop, size - start) if record.flipped[axis] else (start, stop)
    return tuple(found[native] for native in range(3))


def kept_bytes(shape: Shape3, map_count: int) -> int:
    """Memory that the maps of one member take while they wait."""
    return 2 * map_count * int(np.prod(shape))

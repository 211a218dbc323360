"""From maps at the plan's spacing back to a label map on the native grid.

    slabs of maps (n, Y, X, M) -> linear interpolation to the cropped grid
                               -> logits, winning label
                               -> into the crop's place -> axes as they were

A slice at a time, and of that some rows at a time, so that nothing of the size heads x native
volume is ever made: for a whole-body CT that would be tens of gigabytes. Slabs are decided as
they come, so that the maps of the whole image need not be there either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays.axis_weights import bands, linear_taps, nearest_index, nearest_taps
from ..arrays.blas import products_in_one_thread
from ..arrays.resample import separate_axis
from ..domain.case import FloatArray, IntArray, PreprocessRecord
from ..domain.errors import ModelError
from ..domain.geometry import Shape3
from ..domain.labels import LabelScheme
from ..domain.stopping import Stop, check_stop, never
from .backend import Head, Maps
from .engine import Slab

BLOCK_BYTES = 2**21
"""Logits that are decided at once: what a core's own cache holds."""

THREADS = min(8, os.cpu_count() or 1)


class Restoration:
    """Decides the label of every voxel of a grid from slabs of maps.

    Linear interpolation; where the grid is anisotropic the coarse axis takes its nearest slice
    (RECIPE). Labels: the largest logit wins, the first of equals. Regions: each is where its
    probability is above one half, written in `regions_class_order`, later ones over earlier.

    Args:
        shape: (Z, Y, X) of the maps, slabs together.
        target: (Z', Y', X') to be filled; a view will do.
        coarse: the axis that takes its nearest slice in place of interpolation, or None.
        labels: which head means which label value.
        head: what turns maps into logits; None where they are the logits.
        should_stop: asked between slices of the grid.
    """

    def __init__(
        self,
        shape: Shape3,
        target: NDArray[Any],
        coarse: int | None,
        labels: LabelScheme,
        head: Head | None = None,
        should_stop: Stop = never,
    ) -> None:
        self.shape = shape
        self.target = target
        self.coarse = coarse
        self.head = head
        self.should_stop = should_stop
        self.regions = labels.has_regions
        self.values = head_values(labels).astype(target.dtype)
        self.taps = (nearest_taps if coarse == 0 else linear_taps)(shape[0], target.shape[0])
        self.done = 0  # slices of the target
        self.seen = 0  # slices of the maps
        self.last: Maps | None = None  # the slice before the present slab

    def take(self, slab: Slab) -> None:
        """Decides all slices that this slab completes; slabs come in ascending order.

        Raises:
            Cancelled: `should_stop` said so.
            ModelError: the maps do not fit the grid or the labels.
        """
        found = slab.maps.shape[-1] if self.head is None else len(self.head.bias)
        if slab.first != self.seen or slab.maps.shape[1:3] != self.shape[1:]:
            raise _unfit((self.seen, *self.shape[1:]), (slab.first, *slab.maps.shape[1:3]))
        if found != len(self.values):
            raise _unfit((len(self.values), *self.shape), (found, *self.shape))
        self.seen += len(slab.maps)
        ready = int(np.searchsorted(self.taps.high, self.seen))  # ascending
        todo = range(self.done, ready)
        with products_in_one_thread(), ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda z: self._decide_slice(z, slab), todo):
                check_stop(self.should_stop)  # the slices that have not begun are left out
        self.done = ready
        self.last = np.array(slab.maps[-1])

    def finish(self) -> None:
        """Makes sure that every slice came.

        Raises:
            ModelError: some did not.
        """
        if self.seen != self.shape[0]:
            raise _unfit(self.shape, (self.seen, *self.shape[1:]))

    def _decide_slice(self, z: int, slab: Slab) -> None:
        plane = self._blended(z, slab)  # (Y, X, M)
        _, rows, columns = self.target.shape
        plane = along_rows(plane, rows, nearest=self.coarse == 1)  # (Y', X, M)
        heads = len(self.values)
        at_once = max(1, BLOCK_BYTES // (4 * heads * columns))
        for first in range(0, rows, at_once):
            block = plane[first : first + at_once]
            block = along_columns(block, columns, nearest=self.coarse == 2)  # (rows, X', M)
            logits = block if self.head is None else self.head.logits(block)
            self._decide(logits, self.target[z, first : first + at_once])

    def _blended(self, z: int, slab: Slab) -> FloatArray:
        """(Y, X, M) float32 of the maps at slice z of the target."""
        taps = self.taps
        low, high = int(taps.low[z]), int(taps.high[z])
        first = self._slice(low, slab)
        if low == high or taps.high_weight[z] == 0:
            return np.ascontiguousarray(first, dtype=np.float32)
        second = self._slice(high, slab)
        result: FloatArray = np.multiply(first, np.float32(taps.low_weight[z]), dtype=np.float32)
        result += np.multiply(second, np.float32(taps.high_weight[z]), dtype=np.float32)
        return np.ascontiguousarray(result)

    def _slice(self, z: int, slab: Slab) -> Maps:
        if z >= slab.first:
            maps: Maps = slab.maps[z - slab.first]
            return maps
        assert self.last is not None  # noqa: S101 - neighbours are one slice apart
        return self.last

    def _decide(self, logits: FloatArray, target: NDArray[Any]) -> None:
        """Fills (rows, X') from logits (rows, X', K)."""
        if not self.regions:
            target[...] = self.values[logits.argmax(axis=-1)]
            return
        target[...] = 0
        for head, value in enumerate(self.values):
            # A probability above one half is a logit above zero.
            target[logits[..., head] > 0] = value


def empty_label_map(record: PreprocessRecord, labels: LabelScheme) -> tuple[IntArray, NDArray[Any]]:
    """Zeros on the native grid (Z, Y, X), and a view on what preprocessing has kept of it.

    The view is in the plan's axis order: filling it undoes crop, transposition and turned axes
    without a copy. The type is the smallest unsigned one that holds the labels.
    """
    native = np.zeros(record.native.shape, dtype=_label_type(labels))
    place = tuple(map(slice, record.crop_start, record.crop_stop))
    return native, record.on_plan_axes(native)[place]


def native_restoration(
    record: PreprocessRecord,
    labels: LabelScheme,
    head: Head | None = None,
    should_stop: Stop = never,
) -> tuple[IntArray, Restoration]:
    """An empty label map (Z, Y, X) of the native grid, and what fills it.

    See `empty_label_map`, and `Restoration` for `should_stop`.
    """
    native, view = empty_label_map(record, labels)
    coarse = separate_axis(record.spacing_after, record.spacing_before)
    shape = record.shape_after_resampling
    return native, Restoration(shape, view, coarse, labels, head, should_stop)


def next_stage_restoration(
    record: PreprocessRecord, shape: Shape3, labels: LabelScheme, head: Head | None = None
) -> tuple[IntArray, Restoration]:
    """An empty label map on the grid of a cascade's second stage, and what fills it.

    For its training. Which axis is kept apart follows from the first stage's spacing alone, as
    in nnunetv2 2.8.1.
    """
    result = np.zeros(shape, dtype=_label_type(labels))
    coarse = separate_axis(record.spacing_after, record.spacing_after)
    return result, Restoration(record.shape_after_resampling, result, coarse, labels, head)


class SlabTaker(Protocol):
    """Does something with the slabs of a prediction as they come."""

    def take(self, slab: Slab) -> None:
        """Uses a slab; its maps may change afterwards."""
        ...

    def finish(self) -> None:
        """No slab follows."""
        ...


def fill(slabs: Iterable[Slab], *takers: SlabTaker) -> None:
    """Gives every slab to every restoration, and to whoever else takes slabs.

    Raises:
        ModelError: slabs do not fit, or some are missing.
    """
    for slab in slabs:
        for taker in takers:
            taker.take(slab)
    for taker in takers:
        taker.finish()


def restore(logits: FloatArray, record: PreprocessRecord, labels: LabelScheme) -> IntArray:
    """Decides every native voxel's label and undoes what preprocessing did.

    Args:
        logits: (K, Z, Y, X) in plan axis order, of the shape that the record ends with.
        record: what preprocessing did.
        labels: which head means which label value.

    Returns:
        (Z, Y, X) of the native grid, in the smallest unsigned type that holds the labels.

    Raises:
        ModelError: the logits do not fit the record or the labels.
    """
    native, restoration = native_restoration(record, labels)
    fill([Slab(0, np.moveaxis(logits, 0, -1))], restoration)
    return native


def labels_for_next_stage(
    logits: FloatArray, record: PreprocessRecord, shape: Shape3, labels: LabelScheme
) -> IntArray:
    """What a cascade's first stage predicts, on the grid of the second: for its training.

    Args:
        logits: (K, Z, Y, X) of the first stage, of the shape that its record ends with.
        record: what the first stage's preprocessing did.
        shape: (Z, Y, X) of the second stage's preprocessed image, which spans the same volume.
        labels: which head means which label value.

    Returns:
        (Z, Y, X) of `shape`, in the smallest unsigned type that holds the labels.

    Raises:
        ModelError: the logits do not fit the record or the labels.
    """
    result, restoration = next_stage_restoration(record, shape, labels)
    fill([Slab(0, np.moveaxis(logits, 0, -1))], restoration)
    return result


def restoration_bytes(record: PreprocessRecord, labels: LabelScheme, map_count: int) -> int:
    """Memory that restoring a case to its native grid takes."""
    _, rows, columns = record.shape_before_resampling
    _, before, across = record.shape_after_resampling
    plane = 4 * map_count * (2 * before * across + max(before, rows) * across)
    blocks = 3 * BLOCK_BYTES + 4 * map_count * columns
    native = int(np.prod(record.native.shape)) * _label_type(labels).itemsize
    return native + THREADS * (plane + blocks)


def _unfit(expected: tuple[int, ...], found: tuple[int, ...]) -> ModelError:
    return ModelError(
        "the prediction does not fit the case",
        expected=f"{expected} (heads or first slice, then Z, Y, X)",
        found=str(found),
        cure="predict with the plan that the case was preprocessed with",
    )


def _label_type(labels: LabelScheme) -> np.dtype[Any]:
    return np.min_scalar_type(int(head_values(labels).max()))


def head_values(labels: LabelScheme) -> NDArray[np.int64]:
    """The label value that each head writes."""
    if labels.has_regions:
        return np.array(labels.regions_class_order, dtype=np.int64)
    return np.array([0, *(label.values[0] for label in labels.foreground)], dtype=np.int64)


def along_rows(plane: FloatArray, size: int, *, nearest: bool) -> FloatArray:
    """(Y, X, M) -> (size, X, M)."""
    rows, *rest = plane.shape
    if rows == size:
        return plane
    if nearest:
        return plane[nearest_index(rows, size)]
    flat = plane.reshape(rows, -1)
    result = np.empty((size, flat.shape[1]), dtype=np.float32)
    for band in bands(rows, size, 1):
        np.matmul(band.weights, flat[band.columns], out=result[band.rows])
    return result.reshape(size, *rest)


def along_columns(block: FloatArray, size: int, *, nearest: bool) -> FloatArray:
    """(Y, X, M) -> (Y, size, M)."""
    rows, columns, maps = block.shape
    if columns == size:
        return block
    if nearest:
        return block[:, nearest_index(columns, size)]
    result = np.empty((rows, size, maps), dtype=np.float32)
    for band in bands(columns, size, 1):
        np.matmul(band.weights, block[:, band.columns], out=result[:, band.rows])
    return result

"""From logits at the plan's spacing back to a label map on the native grid.

    logits (K, Z, Y, X) -> linear interpolation to the cropped grid -> winning label
                        -> into the crop's place -> axes as they were

A slice at a time with a running winner, so that nothing of the size heads x native volume is
ever made: for a whole-body CT that would be tens of gigabytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.axis_weights import Taps, bands, linear_taps, nearest_index, nearest_taps
from ..arrays.resample import separate_axis
from ..domain.case import FloatArray, IntArray, PreprocessRecord
from ..domain.errors import ModelError
from ..domain.geometry import Shape3
from ..domain.labels import LabelScheme


def restore(logits: FloatArray, record: PreprocessRecord, labels: LabelScheme) -> IntArray:
    """Decides every native voxel's label and undoes what preprocessing did.

    Linear interpolation; where the grid is anisotropic the coarse axis takes its nearest slice
    (RECIPE). Labels: the largest logit wins, the first of equals. Regions: each is where its
    probability is above one half, written in `regions_class_order`, later ones over earlier.

    Args:
        logits: (K, Z, Y, X) in plan axis order, of the shape that the record ends with.
        record: what preprocessing did.
        labels: which head means which label value.

    Returns:
        (Z, Y, X) of the native grid, in the smallest unsigned type that holds the labels.

    Raises:
        ModelError: the logits do not fit the record or the labels.
    """
    _check_shape(logits, record.shape_after_resampling, labels)
    native = np.zeros(record.native.shape, dtype=_label_type(labels))
    # A view on the same memory: filling it undoes crop and transpose without a copy.
    place = tuple(map(slice, record.crop_start, record.crop_stop))
    cropped = native.transpose(record.transpose)[place]
    _decide(logits, cropped, separate_axis(record.spacing_after, record.spacing_before), labels)
    return native


def labels_for_next_stage(
    logits: FloatArray, record: PreprocessRecord, shape: Shape3, labels: LabelScheme
) -> IntArray:
    """What a cascade's first stage predicts, on the grid of the second: for its training.

    Linear interpolation, then the decision, as in `restore`. Which axis is kept apart follows
    from the first stage's spacing alone, as in nnunetv2 2.8.1.

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
    _check_shape(logits, record.shape_after_resampling, labels)
    result = np.zeros(shape, dtype=_label_type(labels))
    _decide(logits, result, separate_axis(record.spacing_after, record.spacing_after), labels)
    return result


def _check_shape(logits: FloatArray, shape: Shape3, labels: LabelScheme) -> None:
    wanted = (labels.head_count, *shape)
    if logits.shape != wanted:
        raise ModelError(
            "the prediction does not fit the case",
            expected=f"{wanted} (heads, Z, Y, X)",
            found=str(logits.shape),
            cure="predict with the plan that the case was preprocessed with",
        )


def _label_type(labels: LabelScheme) -> np.dtype[Any]:
    return np.min_scalar_type(int(_head_values(labels).max()))


def _decide(
    logits: FloatArray, target: NDArray[Any], coarse: int | None, labels: LabelScheme
) -> None:
    """Fills `target` (Z', Y', X') with label values from logits (K, Z, Y, X).

    `coarse` is the axis that takes its nearest slice in place of interpolation.
    """
    shape = target.shape
    taps = (nearest_taps if coarse == 0 else linear_taps)(logits.shape[1], shape[0])
    slices = _Slices(logits, shape, coarse)
    decide = _decide_regions if labels.has_regions else _decide_labels
    values = _head_values(labels)
    for z in range(shape[0]):
        decide(target[z], slices, taps, z, values)


def _head_values(labels: LabelScheme) -> NDArray[np.int64]:
    if labels.has_regions:
        return np.array(labels.regions_class_order, dtype=np.int64)
    return np.array([0, *(label.values[0] for label in labels.foreground)], dtype=np.int64)


class _Slices:
    """The slices of the logits, interpolated to the native in-plane grid as they are needed.

    Slices are asked for in ascending order; the last two are kept.
    """

    def __init__(self, logits: FloatArray, shape: tuple[int, ...], coarse: int | None) -> None:
        self.logits = logits
        self.shape = shape
        self.coarse = coarse
        self.kept: dict[int, FloatArray] = {}

    def __call__(self, z: int) -> FloatArray:
        """(K, Y', X') of slice z."""
        if z not in self.kept:
            for old in [key for key in self.kept if key < z - 1]:
                del self.kept[old]
            plane = self.logits[:, z].astype(np.float32, copy=False)
            plane = _along_rows(plane, self.shape[1], nearest=self.coarse == 1)
            self.kept[z] = _along_columns(plane, self.shape[2], nearest=self.coarse == 2)
        return self.kept[z]

    def blended(self, head: int, taps: Taps, z: int) -> FloatArray:
        """(Y', X') of one head at native slice z."""
        low, high = int(taps.low[z]), int(taps.high[z])
        first: FloatArray = self(low)[head]
        if low == high or taps.high_weight[z] == 0:
            return first
        second: FloatArray = self(high)[head]
        return first * np.float32(taps.low_weight[z]) + second * np.float32(taps.high_weight[z])


def _decide_labels(
    target: NDArray[Any], slices: _Slices, taps: Taps, z: int, values: NDArray[np.int64]
) -> None:
    best = slices.blended(0, taps, z).copy()
    winner = np.full(target.shape, values[0], dtype=target.dtype)
    for head in range(1, len(values)):
        logit = slices.blended(head, taps, z)
        np.copyto(winner, target.dtype.type(values[head]), where=logit > best)
        np.maximum(best, logit, out=best)
    target[...] = winner


def _decide_regions(
    target: NDArray[Any], slices: _Slices, taps: Taps, z: int, values: NDArray[np.int64]
) -> None:
    for head, value in enumerate(values):
        # A probability above one half is a logit above zero.
        target[slices.blended(head, taps, z) > 0] = value


def _along_rows(plane: FloatArray, size: int, *, nearest: bool) -> FloatArray:
    """(K, Y, X) -> (K, size, X)."""
    if plane.shape[1] == size:
        return plane
    if nearest:
        return plane[:, nearest_index(plane.shape[1], size)]
    result = np.empty((plane.shape[0], size, plane.shape[2]), dtype=np.float32)
    for band in bands(plane.shape[1], size, 1):
        np.matmul(band.weights, plane[:, band.columns], out=result[:, band.rows])
    return result


def _along_columns(plane: FloatArray, size: int, *, nearest: bool) -> FloatArray:
    """(K, Y, X) -> (K, Y, size)."""
    if plane.shape[2] == size:
        return plane
    if nearest:
        return plane[:, :, nearest_index(plane.shape[2], size)]
    result = np.empty((*plane.shape[:2], size), dtype=np.float32)
    for band in bands(plane.shape[2], size, 1):
        np.matmul(plane[..., band.columns], band.weights.T, out=result[..., band.rows])
    return result

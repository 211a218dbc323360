"""Images and probabilities on another grid that spans the same volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..domain.geometry import Shape3, Vector3
from ..domain.stopping import Stop, check_stop, never
from .axis_weights import BAND_ROWS, Band, bands, linear_weights, nearest_index
from .resample_labels import resample_labels_along

Number = TypeVar("Number", bound=np.generic)

__all__ = [
    "linear_weights",
    "resample_image",
    "resample_labels",
    "resample_linear",
    "separate_axis",
    "shape_at_spacing",
]

ANISOTROPY_THRESHOLD = 3.0
"""Beyond this ratio of spacings the coarse axis is not interpolated (RECIPE)."""


def shape_at_spacing(shape: Shape3, spacing: Sequence[float], target: Sequence[float]) -> Shape3:
    """The size (Z, Y, X) of a grid of `shape` and `spacing` (mm) once resampled to `target`.

    Rounded half to even, as the method defines it, and at least one voxel.
    """
    z, y, x = (
        max(1, round(before / after * size))
        for before, after, size in zip(spacing, target, shape, strict=True)
    )
    return (z, y, x)


def separate_axis(spacing_before: Vector3, spacing_after: Vector3) -> int | None:
    """The axis to be resampled by nearest neighbour while the others are interpolated.

    The present spacing decides where its max/min is above 3, else the target's; None where
    neither is, or where two axes tie as the coarsest.
    """
    for spacing in (spacing_before, spacing_after):
        if max(spacing) / min(spacing) > ANISOTROPY_THRESHOLD:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resample_image(
    channels: NDArray[np.float32],
    shape: Shape3,
    spacing_before: Vector3,
    spacing_after: Vector3,
    should_stop: Stop = never,
) -> NDArray[np.float32]:
    """Cubic spline interpolation, clipped to the input's range.

    The range is that of a channel, or of a slice where the coarse axis is kept apart. Differs
    from float64 arithmetic by a few units in the seventh digit of the largest intensity.

    Args:
        channels: (C, Z, Y, X).
        shape: (Z, Y, X) wanted; the input itself is returned where it has it already.
        spacing_before: mm, decides with `spacing_after` which axis is kept apart.
        spacing_after: mm.
        should_stop: asked after every few rows or slices.

    Raises:
        Cancelled: `should_stop` said so.
    """
    separate = separate_axis(spacing_before, spacing_after)
    return _resample(channels, shape, separate, 3, should_stop)


def resample_linear(
    channels: NDArray[np.float32], shape: Shape3, spacing_before: Vector3, spacing_after: Vector3
) -> NDArray[np.float32]:
    """Linear interpolation of logits or probabilities (C, Z, Y, X); as `resample_image`."""
    return _resample(channels, shape, separate_axis(spacing_before, spacing_after), 1, never)


def resample_labels(
    labels: NDArray[Number], shape: Shape3, spacing_before: Vector3, spacing_after: Vector3
) -> NDArray[Number]:
    """The label with the largest interpolated share of each voxel; see `resample_labels_along`.

    Args:
        labels: (Z, Y, X) whole numbers or a mask.
        shape: (Z, Y, X) wanted; the input itself is returned where it has it already.
        spacing_before: mm, decides with `spacing_after` which axis is kept apart.
        spacing_after: mm.
    """
    if labels.shape == tuple(shape):
        return labels
    return resample_labels_along(labels, shape, separate_axis(spacing_before, spacing_after))


def _resample(
    channels: NDArray[np.float32],
    shape: Shape3,
    separate: int | None,
    order: int,
    should_stop: Stop,
) -> NDArray[np.float32]:
    if channels.shape[1:] == tuple(shape):
        return channels
    result = np.empty((channels.shape[0], *shape), dtype=np.float32)
    for channel, target in zip(channels, result, strict=True):
        if separate is None:
            _resample_volume(channel, target, order, should_stop)
        else:
            _resample_slices(channel, target, separate, order, should_stop)
    return result


def _resample_slices(
    volume: NDArray[np.float32],
    result: NDArray[np.float32],
    axis: int,
    order: int,
    should_stop: Stop,
) -> None:
    """Interpolates within the slices across `axis`; each new slice copies its nearest one."""
    slices, results = np.moveaxis(volume, axis, 0), np.moveaxis(result, axis, 0)
    source = nearest_index(len(slices), len(results))
    for index in np.unique(source):
        wanted = np.flatnonzero(source == index)
        if slices.shape[1:] == results.shape[1:]:
            results[wanted] = slices[index]
            continue
        interpolated = np.empty((1, *results.shape[1:]), dtype=np.float32)
        part = np.ascontiguousarray(slices[index])[None]
        _resample_volume(part, interpolated, order, should_stop)
        results[wanted] = interpolated


def _resample_volume(
    volume: NDArray[np.float32], result: NDArray[np.float32], order: int, should_stop: Stop
) -> None:
    """Fills `result` (Z', Y', X') from `volume` (Z, Y, X), a slab of rows at a time."""
    (depth, rows, columns), (new_depth, new_rows, new_columns) = volume.shape, result.shape
    for slab in _slabs(rows, new_rows, order):
        check_stop(should_stop)
        part = volume[:, slab.columns]
        if rows != new_rows:
            part = np.matmul(slab.weights, part)
        height = slab.rows.stop - slab.rows.start
        if columns != new_columns:
            wide = np.empty((depth, height, new_columns), dtype=np.float32)
            for band in bands(columns, new_columns, order):
                np.matmul(part[..., band.columns], band.weights.T, out=wide[..., band.rows])
            part = wide
        if depth == new_depth:
            result[:, slab.rows] = part
            continue
        flat = part.reshape(depth, height * new_columns)
        for band in bands(depth, new_depth, order):
            block = band.weights @ flat[band.columns]
            result[band.rows, slab.rows] = block.reshape(-1, height, new_columns)
    if order > 1:
        np.clip(result, volume.min(), volume.max(), out=result)


def _slabs(rows: int, new_rows: int, order: int) -> tuple[Band, ...]:
    if rows != new_rows:
        return bands(rows, new_rows, order)
    unused = np.empty((0, 0), dtype=np.float32)
    cuts = [slice(i, min(i + BAND_ROWS, rows)) for i in range(0, rows, BAND_ROWS)]
    return tuple(Band(cut, cut, unused) for cut in cuts)

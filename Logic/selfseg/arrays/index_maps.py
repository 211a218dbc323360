"""From the voxels of one grid to places in another: one affine map of indices (Z, Y, X).

Where it only shifts, turns and mirrors by whole voxels, voxels are copied and not resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..domain.geometry import Geometry, Shape3

Array = NDArray[Any]
Matrix = NDArray[np.float64]

WHOLE_VOXELS = 0.02
"""Largest distance from a voxel's centre, in voxels, that is rounding and not resampled: headers
in float32 and text are off by less."""

WholeVoxels = tuple[tuple[int, ...], Array, Array]
"""For each axis of the other grid the image's axis, +1 or -1, and the first place."""


@dataclass(frozen=True)
class IndexMap:
    """`matrix` (3 x 3) and `offset` (3) from indices (Z, Y, X) of one grid to those of another."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def places(self, indices: Array) -> NDArray[np.float64]:
        """(N, 3) indices of the one grid to (N, 3) places in the other."""
        result: NDArray[np.float64] = indices @ self.matrix.T + self.offset
        return result


def index_to_world(grid: Geometry) -> Matrix:
    """(4, 4): from the index (x, y, z, 1) of a voxel to LPS millimetres."""
    return np.array(grid.affine)


def index_map(
    image: Geometry,
    other: Geometry,
    image_to_world: ArrayLike | None = None,
    other_to_world: ArrayLike | None = None,
) -> IndexMap:
    """The map from voxels of `image` to places in `other`.

    Args:
        image: a grid.
        other: another one.
        image_to_world: its parent transform, (4, 4), LPS mm to LPS mm.
        other_to_world: likewise.

    Raises:
        numpy.linalg.LinAlgError: a transform cannot be inverted.
    """
    first = _to_world(image, image_to_world)
    second = _to_world(other, other_to_world)
    combined: NDArray[np.float64] = np.linalg.solve(second, first).astype(np.float64)
    turn = combined[:3, :3][::-1, ::-1]
    return IndexMap(np.ascontiguousarray(turn), combined[:3, 3][::-1].copy())


def whole_voxel_map(way: IndexMap, shape: Shape3) -> WholeVoxels | None:
    """How to copy instead of resampling: axes, signs and offsets; None where that is not exact.

    Args:
        way: the map.
        shape: of the image, (Z, Y, X): whole voxels must be met at all its corners.

    Returns:
        For each axis of the other grid the image's axis, +1 or -1, and the first place.
    """
    rounded = np.rint(way.matrix)
    if not (np.abs(rounded).sum(axis=0) == 1).all() or not (np.abs(rounded).sum(axis=1) == 1).all():
        return None
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    offset = np.rint(way.offset)
    drift = np.abs(way.places(corners) - (corners @ rounded.T + offset)).max()
    if drift > WHOLE_VOXELS:
        return None
    axes = tuple(int(axis) for axis in np.abs(rounded).argmax(axis=1))
    signs = rounded.sum(axis=1).astype(np.int64)
    return axes, signs, offset.astype(np.int64)


def overlap_share(way: IndexMap, image: Shape3, other: Shape3) -> float:
    """The share of the image's box that the other box covers at most; 0 if they are apart."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * np.array(other) - 0.5
    inverse = np.linalg.inv(way.matrix)
    back = (corners - way.offset) @ inverse.T
    low = np.maximum(back.min(axis=0), -0.5)
    high = np.minimum(back.max(axis=0), np.array(image) - 0.5)
    return float(np.prod(np.maximum(high - low, 0) / np.array(image)))


def stays(copied: WholeVoxels) -> bool:
    """Whether every voxel keeps its index."""
    axes, signs, offset = copied
    return axes == (0, 1, 2) and bool((signs == 1).all()) and not offset.any()


def copied_voxels(labels: Array, copied: WholeVoxels, shape: Shape3) -> Array:
    """Labels (Z, Y, X) where `whole_voxel_map` says, on a grid of this shape; 0 elsewhere."""
    axes, signs, offset = copied
    result = np.zeros(shape, dtype=labels.dtype)
    source: list[slice] = [slice(0)] * 3
    target: list[slice] = [slice(0)] * 3
    for k, axis in enumerate(axes):
        size, wanted = labels.shape[k], shape[axis]
        if signs[k] > 0:
            low, high = max(0, -int(offset[k])), min(wanted, size - int(offset[k]))
            start = low + int(offset[k])
        else:
            low, high = max(0, int(offset[k]) - size + 1), min(wanted, int(offset[k]) + 1)
            start = int(offset[k]) - low
        if high <= low:
            return result
        target[axis] = slice(low, high)
        count, step = high - low, int(signs[k])
        stop = start + step * count
        source[k] = slice(start, stop if stop >= 0 else None, step)
    turned = np.argsort(axes)
    result[tuple(target)] = labels[tuple(source)].transpose(turned)
    return result


def _to_world(grid: Geometry, transform: ArrayLike | None) -> Matrix:
    matrix = index_to_world(grid)
    return matrix if transform is None else np.asarray(transform) @ matrix

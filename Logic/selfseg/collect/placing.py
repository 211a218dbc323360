"""Label maps and channels put onto the grid of a case's first image.

Everything is done in voxel indices (Z, Y, X): one affine map leads from a voxel of the image to
its place in the other file. Where it only shifts, turns and mirrors by whole voxels, voxels are
copied; otherwise label maps are voted for by their eight neighbours, as `arrays.resample_labels`
does on straight grids, and channels are interpolated linearly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..domain.geometry import Geometry, Shape3
from .collection import Affine

Array = NDArray[Any]

WHOLE_VOXELS = 0.02
"""Largest distance from a voxel's centre, in voxels, that is rounding and not resampled: headers
in float32 and text are off by less."""

_SLAB_VOXELS = 2**21
"""Output voxels worked on at a time: 16 MiB per coordinate."""


@dataclass(frozen=True)
class IndexMap:
    """`matrix` (3 x 3) and `offset` (3) from indices (Z, Y, X) of one grid to those of another."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def places(self, indices: Array) -> NDArray[np.float64]:
        """(N, 3) indices of the one grid to (N, 3) places in the other."""
        result: NDArray[np.float64] = indices @ self.matrix.T + self.offset
        return result


def index_map(
    image: Geometry,
    other: Geometry,
    image_to_world: Affine | None = None,
    other_to_world: Affine | None = None,
) -> IndexMap:
    """The map from voxels of `image` to places in `other`, parent transforms included.

    Raises:
        numpy.linalg.LinAlgError: a transform cannot be inverted.
    """
    first = _world(image, image_to_world)
    second = _world(other, other_to_world)
    combined: NDArray[np.float64] = np.linalg.solve(second, first).astype(np.float64)
    turn = combined[:3, :3][::-1, ::-1]
    return IndexMap(np.ascontiguousarray(turn), combined[:3, 3][::-1].copy())


def whole_voxel_map(way: IndexMap, shape: Shape3) -> tuple[tuple[int, ...], Array, Array] | None:
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


def place_labels(labels: Array, way: IndexMap, shape: Shape3) -> Array:
    """A label map on the image's grid; 0 where it does not reach.

    The label with the largest linearly interpolated share of the eight neighbours wins; on a tie
    the nearest one's.

    Args:
        labels: (Z, Y, X) whole numbers from 0.
        way: from the image's voxels to places in `labels`.
        shape: of the image.
    """
    copied = whole_voxel_map(way, shape)
    if copied is not None:
        return _copied(labels, copied, shape)
    result = np.zeros(shape, dtype=labels.dtype)
    box = _reached(labels, way, shape)
    if box is None:
        return result
    for slab in _slabs(box):
        result[slab] = _voted(labels, way, slab)
    return result


def place_channel(channel: Array, way: IndexMap, shape: Shape3) -> NDArray[np.float32]:
    """A channel (Z, Y, X) on the image's grid, linearly; its outermost voxels go on outside."""
    copied = whole_voxel_map(way, shape)
    if copied is not None and tuple(channel.shape) == tuple(shape) and _stays(copied):
        return np.asarray(channel, dtype=np.float32)
    result: NDArray[np.float32] = ndimage.affine_transform(
        np.asarray(channel, dtype=np.float32),
        way.matrix,
        way.offset,
        output_shape=tuple(shape),
        order=1,
        mode="nearest",
    )
    return result


def _world(grid: Geometry, to_world: Affine | None) -> NDArray[np.float64]:
    """4 x 4 from indices (x, y, z) to LPS millimetres of the world."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(grid.direction) * np.array(grid.spacing[::-1])
    matrix[:3, 3] = grid.origin
    return matrix if to_world is None else np.array(to_world) @ matrix


def _stays(copied: tuple[tuple[int, ...], Array, Array]) -> bool:
    axes, signs, offset = copied
    return axes == (0, 1, 2) and bool((signs == 1).all()) and not offset.any()


def _copied(labels: Array, copied: tuple[tuple[int, ...], Array, Array], shape: Shape3) -> Array:
    """Image axis axes[k], with sign and first place, is axis k of the labels."""
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


def _reached(labels: Array, way: IndexMap, shape: Shape3) -> tuple[slice, ...] | None:
    """The box of the image that labels other than 0 can reach."""
    limits = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        hit = np.flatnonzero(labels.any(axis=others))
        if len(hit) == 0:
            return None
        limits.append((hit[0] - 1.0, hit[-1] + 1.0))
    corners = np.array([[limits[i][bit] for i, bit in enumerate(at)] for at in np.ndindex(2, 2, 2)])
    back = (corners - way.offset) @ np.linalg.inv(way.matrix).T
    low = np.maximum(np.floor(back.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(back.max(axis=0)) + 1, np.array(shape)).astype(int)
    if (high <= low).any():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _slabs(box: tuple[slice, ...]) -> Iterator[tuple[slice, ...]]:
    area = (box[1].stop - box[1].start) * (box[2].stop - box[2].start)
    thick = max(1, _SLAB_VOXELS // max(1, area))
    for start in range(box[0].start, box[0].stop, thick):
        yield slice(start, min(start + thick, box[0].stop)), box[1], box[2]


def _voted(labels: Array, way: IndexMap, slab: tuple[slice, ...]) -> Array:
    size = tuple(part.stop - part.start for part in slab)
    begin = np.array([part.start for part in slab], dtype=np.float64)
    indices = np.indices(size, dtype=np.float64).reshape(3, -1)
    places = way.matrix @ (indices + begin[:, None]) + way.offset[:, None]
    base = np.floor(places)
    corners = [_at(labels, base + np.array(step)[:, None]) for step in np.ndindex(2, 2, 2)]
    smallest = np.minimum.reduce(corners)
    result = smallest.copy()
    split = np.flatnonzero(smallest != np.maximum.reduce(corners))
    if len(split):
        share = (places - base)[:, split]
        weights = [
            np.prod([part if bit else 1 - part for part, bit in zip(share, step, strict=True)], 0)
            for step in np.ndindex(2, 2, 2)
        ]
        nearest = _at(labels, np.rint(places[:, split]))
        result[split] = _winners([corner[split] for corner in corners], weights, nearest)
    voted: Array = result.reshape(size)
    return voted


def _winners(voters: list[Array], weights: list[Array], nearest: Array) -> Array:
    """For each voxel the label with the largest sum of weights; ties go to `nearest`."""
    winner = nearest.copy()
    best = np.zeros(nearest.shape)
    for voter, weight in zip(voters, weights, strict=True):
        best += np.where(voter == nearest, weight, 0.0)
    best += 1e-9
    for candidate in voters:
        total = np.zeros(nearest.shape)
        for voter, weight in zip(voters, weights, strict=True):
            total += np.where(voter == candidate, weight, 0.0)
        better = total > best
        winner = np.where(better, candidate, winner)
        best = np.where(better, total, best)
    return winner


def _at(labels: Array, places: Array) -> Array:
    """Labels at whole places (3, N), 0 outside."""
    inside = np.ones(places.shape[1], dtype=bool)
    flat = np.zeros(places.shape[1], dtype=np.int64)
    for axis, size in enumerate(labels.shape):
        inside &= (places[axis] >= 0) & (places[axis] < size)
        flat = flat * size + np.clip(places[axis], 0, size - 1).astype(np.int64)
    found = labels.reshape(-1)[flat]
    found[~inside] = 0
    return found

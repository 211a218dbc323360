"""Label maps and channels put onto another grid, and segments that may share a label map.

Where the grids differ by whole voxels, voxels are copied. Otherwise `place_labels` lets the eight
neighbours vote, as `resample_labels` does on straight grids, `placed` takes the nearest voxel's
label, and `place_channel` interpolates linearly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..domain.geometry import Geometry, Shape3
from .index_maps import Array, IndexMap, copied_voxels, index_map, stays, whole_voxel_map

_SLAB_VOXELS = 2**21
"""Output voxels worked on at a time: 16 MiB per coordinate."""


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
        return copied_voxels(labels, copied, shape)
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
    if copied is not None and tuple(channel.shape) == tuple(shape) and stays(copied):
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


def placed(
    labels: Array, grid: Geometry, target: Geometry, moved: ArrayLike | None = None
) -> Array:
    """Labels (Z, Y, X) on another grid; what lies outside their own is 0.

    Each voxel takes the value of the nearest one. Grids that differ by whole voxels lose
    nothing.

    Args:
        labels: on `grid`.
        grid: theirs.
        target: where they go.
        moved: (4, 4), from the labels' world to the target's, LPS mm; the same world otherwise.
    """
    way = index_map(target, grid, other_to_world=moved)
    if (copied := whole_voxel_map(way, target.shape)) is not None:
        return copied_voxels(labels, copied, target.shape)
    made: Array = ndimage.affine_transform(
        labels,
        way.matrix,
        way.offset,
        output_shape=target.shape,
        order=0,
        mode="constant",
        cval=0,
        prefilter=False,
    )
    return made


def overlap_free(
    layers: Sequence[Array], segments: Sequence[tuple[int, int]], values: Sequence[int]
) -> tuple[list[Array], list[int]]:
    """Puts segments into as few label maps as they need without covering each other.

    Args:
        layers: label maps (Z, Y, X) of one shape.
        segments: the layer and label value of each.
        values: what each is written as.

    Returns:
        the label maps, at least one; and for each segment which of them it is in.
    """
    shape = layers[0].shape
    kind = np.uint8 if max(values, default=0) < 256 else np.uint16
    boxes = [ndimage.find_objects(layer.astype(np.int32, copy=False)) for layer in layers]
    made: list[Array] = [np.zeros(shape, kind)]
    where = []
    for (layer, own), value in zip(segments, values, strict=True):
        box = boxes[layer][own - 1] if own <= len(boxes[layer]) else None
        if box is None:  # empty: it covers nothing
            where.append(0)
            continue
        mask = layers[layer][box] == own
        found = next((i for i, one in enumerate(made) if not one[box][mask].any()), None)
        if found is None:
            found = len(made)
            made.append(np.zeros(shape, kind))
        made[found][box][mask] = value
        where.append(found)
    return made, where


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

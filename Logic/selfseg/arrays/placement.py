"""Label maps brought from one grid onto another, and segments that may share a label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..domain.geometry import Geometry, Shape3

Matrix = NDArray[np.float64]

WHOLE = 1e-3
"""How far a shift may be from whole voxels, in voxels, to count as one."""


def index_to_world(grid: Geometry) -> Matrix:
    """(4, 4): from the index (x, y, z, 1) of a voxel to LPS millimetres."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(grid.direction) * np.array(grid.spacing[::-1])
    matrix[:3, 3] = grid.origin
    return matrix


def placed(
    labels: NDArray[Any], grid: Geometry, target: Geometry, moved: Matrix | None = None
) -> NDArray[Any]:
    """Labels (Z, Y, X) on another grid; what lies outside their own is 0.

    Each voxel takes the value of the nearest one. Grids that differ by whole voxels lose
    nothing.

    Args:
        labels: on `grid`.
        grid: theirs.
        target: where they go.
        moved: (4, 4), from the labels' world to the target's, LPS mm; the same world otherwise.
    """
    world = np.eye(4) if moved is None else moved
    to_source = np.linalg.inv(world @ index_to_world(grid)) @ index_to_world(target)
    if (shift := _whole_shift(to_source, target.shape)) is not None:
        return _shifted(labels, shift, target.shape)
    turned = to_source[:3, :3][::-1, ::-1]  # (x, y, z) to (Z, Y, X)
    made: NDArray[Any] = ndimage.affine_transform(
        labels,
        turned,
        offset=to_source[:3, 3][::-1],
        output_shape=target.shape,
        order=0,
        mode="constant",
        cval=0,
        prefilter=False,
    )
    return made


def overlap_free(
    layers: Sequence[NDArray[Any]], segments: Sequence[tuple[int, int]], values: Sequence[int]
) -> tuple[list[NDArray[Any]], list[int]]:
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
    made: list[NDArray[Any]] = [np.zeros(shape, kind)]
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


def _whole_shift(to_source: Matrix, shape: Shape3) -> Shape3 | None:
    """The shift in voxels (Z, Y, X), where that is all there is between two grids."""
    corner = np.array([*(size - 1 for size in shape[::-1]), 1.0])
    shift = np.rint(to_source[:3, 3])
    far = (to_source @ corner)[:3] - corner[:3]
    if max(np.abs(to_source[:3, 3] - shift).max(), np.abs(far - shift).max()) > WHOLE:
        return None
    if np.abs(to_source[:3, :3] - np.eye(3)).max() > WHOLE:
        return None
    x, y, z = (int(part) for part in shift)
    return z, y, x


def _shifted(labels: NDArray[Any], shift: Shape3, shape: Shape3) -> NDArray[Any]:
    made = np.zeros(shape, labels.dtype)
    theirs, ours = [], []
    for offset, size, own in zip(shift, shape, labels.shape, strict=True):
        low, high = max(0, -offset), min(size, own - offset)
        if low >= high:
            return made
        ours.append(slice(low, high))
        theirs.append(slice(low + offset, high + offset))
    made[tuple(ours)] = labels[tuple(theirs)]
    return made

"""Soft-edged shapes on a voxel grid: what the phantom is put together from.

Every shape is a field of approximate signed distances (mm, positive inside) over a grid of
points, so that edges can be blended over the width of a voxel (partial volume).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
Points = tuple[Field, Field, Field]
"""Coordinates (z, y, x) in mm of every voxel, each (Z, Y, X)."""


def grid_points(shape: Sequence[int], spacing: Sequence[float]) -> Points:
    """Coordinates in mm of every voxel of a grid centred on 0, each (Z, Y, X)."""
    axes = [
        ((np.arange(n) - (n - 1) / 2) * s).astype(np.float32)
        for n, s in zip(shape, spacing, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z, y, x


def smooth_field(
    shape: Sequence[int],
    spacing: Sequence[float],
    length: float,
    rng: np.random.Generator,
) -> Field:
    """Smooth random values (Z, Y, X), mean about 0 and deviation about 1.

    Args:
        shape: voxels.
        spacing: mm per voxel.
        length: distance in mm over which the values change.
        rng: source of chance.
    """
    extent = [n * s for n, s in zip(shape, spacing, strict=True)]
    control = [max(4, int(np.ceil(e / length)) + 3) for e in extent]
    values = rng.standard_normal(control).astype(np.float32)
    for axis, (size, count) in enumerate(zip(shape, control, strict=True)):
        positions = np.linspace(1.0, count - 2.0, size, dtype=np.float32)
        values = _spline_along(values, axis, positions)
    return np.asarray(values / max(float(values.std()), 1e-6), dtype=np.float32)


def _spline_along(values: Field, axis: int, positions: Field) -> Field:
    """Cubic B-spline through control values along one axis (separable, hence quick)."""
    first = np.floor(positions).astype(int)
    t = positions - first
    weights = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    matrix = np.zeros((len(positions), values.shape[axis]), dtype=np.float32)
    rows = np.arange(len(positions))
    for offset, weight in enumerate(weights):
        columns = np.clip(first - 1 + offset, 0, values.shape[axis] - 1)
        np.add.at(matrix, (rows, columns), weight)
    return np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)


def deform(
    points: Points,
    spacing: Sequence[float],
    amplitude: float,
    length: float,
    rng: np.random.Generator,
) -> Points:
    """Points moved by a smooth random displacement of about `amplitude` mm."""
    shape = points[0].shape
    z, y, x = (p + amplitude * smooth_field(shape, spacing, length, rng) for p in points)
    return z, y, x


def ellipsoid(
    points: Points,
    centre: Sequence[float],
    radii: Sequence[float],
    turn: float = 0.0,
) -> Field:
    """Distance to an ellipsoid's surface; an infinite radius makes a cylinder.

    Args:
        points: where.
        centre: (z, y, x) in mm.
        radii: (z, y, x) in mm.
        turn: rotation in the axial plane, degrees.
    """
    z, y, x = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    if turn:
        cos, sin = np.float32(np.cos(np.deg2rad(turn))), np.float32(np.sin(np.deg2rad(turn)))
        y, x = cos * y + sin * x, cos * x - sin * y
    scaled = [p / np.float32(r) for p, r in zip((z, y, x), radii, strict=True)]
    steeper = [p / np.float32(r) for p, r in zip(scaled, radii, strict=True)]
    level = np.sqrt(sum(p * p for p in scaled))
    slope = np.sqrt(sum(p * p for p in steeper))
    inner = np.float32(min(radii))
    # f (1 - f) / |grad f| is the distance to first order; at the centre it is 0 / 0.
    return np.where(slope > 1e-4, level * (1 - level) / np.maximum(slope, 1e-4), inner)


def union(a: Field, b: Field, blend: float = 6.0) -> Field:
    """Distance to the union of two shapes, their seam rounded over `blend` mm."""
    overlap = np.maximum(np.float32(blend) - np.abs(a - b), 0) / np.float32(blend)
    joined: Field = np.maximum(a, b) + overlap * overlap * np.float32(blend / 4)
    return joined


def cover(distance: Field, width: float) -> Field:
    """Share of each voxel (0 to 1) that lies inside, for voxels of about `width` mm."""
    share: Field = np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)
    return share


def correlated_noise(
    shape: Sequence[int], blur: Sequence[float], rng: np.random.Generator
) -> Field:
    """Noise (Z, Y, X) of deviation 1, blurred as a reconstruction kernel does (in voxels)."""
    white = rng.standard_normal(tuple(shape), dtype=np.float32)
    noise = ndimage.gaussian_filter(white, blur, mode="wrap", truncate=3.0)
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)

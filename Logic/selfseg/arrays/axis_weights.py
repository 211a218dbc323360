"""Interpolation along one axis as a matrix.

Interpolating on a regular grid, the spline's prefilter included, is linear and acts on each
axis by itself. So the whole of it is one (size after, size before) matrix per axis, and
resampling an image is three matrix products, which BLAS does several times faster than a
loop over output voxels, in float32 and in slabs. The matrices are SciPy's own answer to unit
impulses: nothing is approximated but by float32 rounding (and weights below 1e-8, left out).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BAND_ROWS = 64
"""Output rows that share one product: large enough for BLAS, small enough to skip the zeros."""

NEGLIGIBLE = 1e-8
"""Weights below this cannot be seen in float32; a cubic spline reaches it after 14 voxels."""


_IMPULSE_GAP = 64
"""Impulses this far apart do not see each other: 0.27^32 is below float64's last digit."""


@dataclass(frozen=True)
class Band:
    """Some rows of a weight matrix, and the columns in which they are not zero."""

    rows: slice
    columns: slice
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Taps:
    """Linear interpolation as two neighbours per output index: `low` and `high` with weights.

    Weights are the exact float64 ones, so that ties between labels are decided exactly.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    low_weight: NDArray[np.float64]
    high_weight: NDArray[np.float64]


@lru_cache(maxsize=24)
def bands(size: int, new_size: int, order: int) -> tuple[Band, ...]:
    """The weight matrix of one axis, cut into bands of rows without their zeros.

    Args:
        size: voxels before.
        new_size: voxels after.
        order: 1 (linear) or 3 (cubic spline with prefilter), beyond the edge the edge's value
            (skimage's `resize` with mode "edge" and no anti-aliasing).
    """
    weights = _impulse_responses(size, new_size, order)
    result = []
    for first in range(0, new_size, BAND_ROWS):
        rows = slice(first, min(first + BAND_ROWS, new_size))
        used = np.flatnonzero((np.abs(weights[rows]) > NEGLIGIBLE).any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        block = np.ascontiguousarray(weights[rows, columns], dtype=np.float32)
        block.setflags(write=False)
        result.append(Band(rows, columns, block))
    return tuple(result)


def linear_weights(size: int, new_size: int) -> NDArray[np.float32]:
    """The (new_size, size) matrix of linear interpolation along one axis."""
    return _impulse_responses(size, new_size, 1).astype(np.float32)


@lru_cache(maxsize=24)
def linear_taps(size: int, new_size: int) -> Taps:
    """The two neighbours and weights of linear interpolation along one axis."""
    weights = _impulse_responses(size, new_size, 1)
    rows = np.arange(new_size)
    low = (weights > 0).argmax(axis=1)
    high = size - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    single = low == high
    return Taps(low, high, weights[rows, low], np.where(single, 0.0, weights[rows, high]))


def nearest_taps(size: int, new_size: int) -> Taps:
    """Nearest neighbour along one axis, in the form of taps."""
    index = nearest_index(size, new_size)
    return Taps(index, index, np.ones(new_size), np.zeros(new_size))


@lru_cache(maxsize=24)
def nearest_index(size: int, new_size: int) -> NDArray[np.intp]:
    """For each of `new_size` voxels the one of `size` voxels whose centre is nearest.

    Halves go as in SciPy's `map_coordinates` of order 0.
    """
    centres = size / new_size * (np.arange(new_size) + 0.5) - 0.5
    values = np.arange(size, dtype=np.float64)
    picked = ndimage.map_coordinates(values, [centres], order=0, mode="nearest")
    index: NDArray[np.intp] = picked.astype(np.intp)
    return index


def _impulse_responses(size: int, new_size: int, order: int) -> NDArray[np.float64]:
    """(new_size, size) float64: column j is what becomes of a one at voxel j."""
    if size == new_size:
        return np.eye(size)
    weights = np.zeros((new_size, size))
    centres = size / new_size * (np.arange(new_size) + 0.5) - 0.5
    rows = np.arange(new_size)
    for offset in range(min(size, _IMPULSE_GAP)):
        impulses = np.zeros(size)
        impulses[offset::_IMPULSE_GAP] = 1.0
        response = ndimage.zoom(
            impulses, new_size / size, order=order, mode="nearest", grid_mode=True
        )
        positions = np.arange(offset, size, _IMPULSE_GAP)
        owner = np.rint((centres - offset) / _IMPULSE_GAP).astype(np.intp)
        weights[rows, positions[np.clip(owner, 0, len(positions) - 1)]] = response
    return weights

"""Where tiles lie in an image, and how much each voxel of a tile counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGMA_SHARE = 1 / 8
"""Standard deviation of the Gaussian weights as a share of the patch (RECIPE)."""


def tile_starts(
    shape: Sequence[int], patch: Sequence[int], step: float = 0.5
) -> list[tuple[int, ...]]:
    """First voxels of the tiles that cover an image, the last axis running fastest.

    The first and the last tile touch the image's edges; between them tiles are spread evenly,
    neighbours at most `step` patches apart.

    Args:
        shape: of the image; at least the patch on every axis.
        patch: of a tile.
        step: distance of neighbouring tiles as a share of the patch, above 0, at most 1.

    Raises:
        ValueError: the image is smaller than the patch, or the step is out of range.
    """
    if not 0 < step <= 1:
        raise ValueError(f"the step must be above 0 and at most 1: {step}")
    per_axis = []
    for size, width in zip(shape, patch, strict=True):
        if size < width:
            raise ValueError(f"pad the image first: {tuple(shape)} is below {tuple(patch)}")
        last = size - width
        intervals = math.ceil(last / max(1.0, width * step))  # a tile is never taken twice
        distance = last / intervals if intervals else 0.0
        per_axis.append([round(distance * i) for i in range(intervals + 1)])
    return list(itertools.product(*per_axis))


@lru_cache(maxsize=8)
def gaussian_weights(patch: tuple[int, ...]) -> NDArray[np.float32]:
    """Weight of each voxel of a tile: a Gaussian around the middle with maximum 1.

    Nowhere 0, so that the sum of weights never is: what rounds to 0 gets the smallest weight.

    Returns:
        (*patch) float32, read-only.
    """
    weights = np.ones((), dtype=np.float64)
    for size in patch:
        impulse = np.zeros(size)
        impulse[size // 2] = 1.0
        line = ndimage.gaussian_filter1d(impulse, size * SIGMA_SHARE, mode="constant")
        weights = weights[..., None] * line
    result: NDArray[np.float32] = (weights / weights.max()).astype(np.float32)
    result[result == 0] = result[result > 0].min()
    result.setflags(write=False)
    return result

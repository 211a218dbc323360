"""Where tiles lie in an image, and how much each voxel of a tile counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGMA_SHARE = 1 / 8
"""Standard deviation of the Gaussian weights as a share of the patch (RECIPE)."""


@dataclass(frozen=True)
class AxisTiles:
    """The tiles along one axis.

    Tiles lie on a grid and their Gaussian weights are a product over the axes, so that three of
    these say everything about the tiles of a volume.

    Args:
        starts: first voxel of each tile, ascending.
        weights: (tiles, width) float32; those of all tiles at a voxel sum to 1, so that adding
            up weighted tiles gives their mean, and no sum is ever larger than its parts.
    """

    starts: tuple[int, ...]
    weights: NDArray[np.float32]

    @property
    def width(self) -> int:
        """Voxels of a tile."""
        return int(self.weights.shape[1])


@lru_cache(maxsize=24)
def axis_tiles(size: int, width: int, step: float = 0.5) -> AxisTiles:
    """The tiles that cover one axis.

    The first and the last tile touch the ends; between them tiles are spread evenly,
    neighbours at most `step` widths apart.

    Args:
        size: voxels of the image; at least the width.
        width: voxels of a tile.
        step: distance of neighbouring tiles as a share of the width, above 0, at most 1.

    Raises:
        ValueError: the image is smaller than the tile, or the step is out of range.
    """
    if not 0 < step <= 1:
        raise ValueError(f"the step must be above 0 and at most 1: {step}")
    if size < width:
        raise ValueError(f"pad the image first: {size} is below {width}")
    last = size - width
    intervals = math.ceil(last / max(1.0, width * step))  # a tile is never taken twice
    distance = last / intervals if intervals else 0.0
    starts = tuple(round(distance * i) for i in range(intervals + 1))
    line, total = gaussian_line(width), np.zeros(size)
    for start in starts:
        total[start : start + width] += line
    weights = np.stack([line / total[start : start + width] for start in starts])
    result: NDArray[np.float32] = weights.astype(np.float32)
    result.setflags(write=False)
    return AxisTiles(starts, result)


def tile_starts(
    shape: Sequence[int], patch: Sequence[int], step: float = 0.5
) -> list[tuple[int, ...]]:
    """First voxels of the tiles that cover an image, the last axis running fastest.

    Args:
        shape: of the image; at least the patch on every axis.
        patch: of a tile.
        step: see `axis_tiles`.

    Raises:
        ValueError: see `axis_tiles`.
    """
    axes = [axis_tiles(size, width, step) for size, width in zip(shape, patch, strict=True)]
    return list(itertools.product(*(axis.starts for axis in axes)))


def gaussian_line(width: int) -> NDArray[np.float64]:
    """Weight of each voxel along one axis of a tile: a Gaussian with maximum 1 in the middle.

    Nowhere 0: the Gaussian is cut at four standard deviations, which is the tile's edge.
    """
    impulse = np.zeros(width)
    impulse[width // 2] = 1.0
    line = ndimage.gaussian_filter1d(impulse, width * SIGMA_SHARE, mode="constant")
    result: NDArray[np.float64] = line / line.max()
    result[result == 0] = result[result > 0].min()
    return result

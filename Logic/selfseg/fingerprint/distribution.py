"""How the intensities of one case, or of many, are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXACT_VALUES = 2**15
"""Distinct values up to which a distribution is kept exactly (all 12-bit images, for example)."""

SKETCH_VALUES = 2**14
"""Equally heavy values kept otherwise: the rank of any quantile is off by less than 1/16384."""

_COUNTABLE_RANGE = 2**20
"""Whole numbers within this range are counted directly, which needs no sorting."""


@dataclass(frozen=True)
class Distribution:
    """Weighted values, with moments and range of all the voxels they stand for.

    Args:
        values: ascending.
        weights: share of each value; they sum to 1.
        mean: exact, in float64; so are the others.
        std: of the whole population.
        smallest: smallest value of all voxels.
        largest: largest value of all voxels.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float64]
    mean: float
    std: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, voxels: NDArray[np.float32]) -> Distribution:
        """The distribution of some voxels (1D, at least one)."""
        smallest, largest = float(voxels.min()), float(voxels.max())
        values, counts = _count(voxels, smallest, largest)
        return cls(
            values,
            counts / len(voxels),
            float(voxels.mean(dtype=np.float64)),
            float(voxels.std(dtype=np.float64)),
            smallest,
            largest,
        )

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """For each share the value that this share of the voxels does not exceed.

        Where the share ends exactly between two values it is their middle.
        """
        cumulative = np.cumsum(self.weights)
        last = len(cumulative) - 1
        result = []
        for share in shares:
            tolerance = 1e-12
            low, high = np.searchsorted(cumulative, (share - tolerance, share + tolerance))
            value = (float(self.values[min(low, last)]) + float(self.values[min(high, last)])) / 2
            result.append(value)
        return tuple(result)


def mixture(parts: Sequence[Distribution]) -> Distribution:
    """The distribution of a voxel drawn from a part that is drawn first, all alike."""
    values = np.concatenate([part.values for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    order = np.argsort(values, kind="stable")
    mean = math.fsum(part.mean for part in parts) / len(parts)
    # Variance within the parts plus variance between their means.
    variance = math.fsum(part.std**2 + (part.mean - mean) ** 2 for part in parts) / len(parts)
    return Distribution(
        values[order],
        weights[order] / len(parts),
        mean,
        math.sqrt(variance),
        min(part.smallest for part in parts),
        max(part.largest for part in parts),
    )


def _count(
    voxels: NDArray[np.float32], smallest: float, largest: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distinct values, ascending, and how often each occurs; a sketch if they are too many."""
    if largest - smallest < _COUNTABLE_RANGE and (voxels == np.rint(voxels)).all():
        counts = np.bincount((voxels.astype(np.float64) - smallest).astype(np.int64))
        seen = np.flatnonzero(counts)
        values, counts = (seen + smallest).astype(np.float32), counts[seen]
    else:
        values, counts = np.unique(voxels, return_counts=True)
    if len(values) <= EXACT_VALUES:
        return values, counts
    # Groups of (nearly) equal weight, each one standing at the value in its middle.
    edges = np.linspace(0, len(voxels), SKETCH_VALUES + 1).astype(np.int64)
    middles = (edges[:-1] + edges[1:]) // 2
    return values[np.searchsorted(np.cumsum(counts), middles, side="right")], np.diff(edges)

"""How far probabilities can be trusted: reliability by confidence, and calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of equal width (Guo et al., ICML 2017)."""


@dataclass(frozen=True)
class Reliability:
    """Predictions counted by their probability, in bins of equal width over 0 to 1.

    Per bin (bins,): how many voxels, the sum of their probabilities, and how many came true.
    Those of parts of a volume, or of several cases, add up (`+`).
    """

    counts: NDArray[np.int64]
    probability_sums: NDArray[np.float64]
    true_counts: NDArray[np.int64]

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(
            self.counts + other.counts,
            self.probability_sums + other.probability_sums,
            self.true_counts + other.true_counts,
        )

    @property
    def gaps(self) -> NDArray[np.float64]:
        """Per bin: share that came true minus mean probability; NaN in empty bins.

        Below 0 where the model is too sure of itself.
        """
        gaps: NDArray[np.float64] = np.full(len(self.counts), np.nan)
        difference = self.true_counts - self.probability_sums
        np.divide(difference, self.counts, out=gaps, where=self.counts > 0)
        return gaps

    @property
    def expected_error(self) -> float | None:
        """Expected calibration error: mean of |gap| over voxels; None without voxels."""
        total = self.counts.sum()
        if not total:
            return None
        return float(np.abs(self.true_counts - self.probability_sums).sum() / total)

    @property
    def maximum_error(self) -> float | None:
        """The largest |gap| of a bin; None without voxels."""
        return float(np.nanmax(np.abs(self.gaps))) if self.counts.any() else None


def no_reliability(bins: int = BINS) -> Reliability:
    """Nothing counted: where a sum begins."""
    return Reliability(np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins, np.int64))


def reliability(
    probability: NDArray[np.floating],
    truth: NDArray[np.bool_],
    *,
    counted: NDArray[np.bool_] | None = None,
    bins: int = BINS,
) -> Reliability:
    """Counts probabilities against what came true.

    Bin i holds probabilities from i / bins (included) to (i + 1) / bins; 1 is in the last.

    Args:
        probability: any shape, from 0 to 1.
        truth: the same shape.
        counted: the same shape; only voxels where it is true count. All do otherwise.
        bins: how many.

    Raises:
        ValueError: the shapes differ, or a probability is outside 0 to 1.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"shapes differ: {probability.shape} and {truth.shape}")
    if counted is None:
        values, true = probability.ravel(), truth.ravel()
    else:
        values, true = probability[counted], truth[counted]
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"probabilities from {values.min()} to {values.max()}")
    places = np.minimum((values * bins).astype(np.intp), bins - 1)
    return Reliability(
        np.bincount(places, minlength=bins),
        np.bincount(places, weights=values, minlength=bins).astype(np.float64, copy=False),
        np.bincount(places[true], minlength=bins),
    )

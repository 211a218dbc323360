"""Bootstrap confidence intervals of means over cases (Efron and Tibshirani 1993)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
"""Resamples: the ends of a 95% interval then rest on 50 values each."""

LEVEL = 0.95
"""Share of the resampled means inside the interval."""


@dataclass(frozen=True)
class Interval:
    """The range that holds the middle share of the resampled means."""

    low: float
    high: float


def resampled_means(
    values: NDArray[np.float64],
    *,
    groups: Sequence[object] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Means over cases drawn with replacement, each column over the cases where it is defined.

    All columns of a resample come from the same cases.

    Args:
        values: (cases, columns); NaN where a case has no value.
        groups: one per case; the cases of a group (a patient) are drawn together, as they are
            no independent observations. Every case is its own group otherwise.
        resamples: how many.
        seed: of the random draws: the same input gives the same result.

    Returns:
        (resamples, columns); NaN where no drawn case has a value.
    """
    if not len(values):
        return np.full((resamples, values.shape[1]), np.nan)
    names = list(range(len(values))) if groups is None else list(groups)
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    member = np.array([places[name] for name in names], dtype=np.intp)
    generator = np.random.default_rng(seed)
    size = len(places)
    drawn = generator.multinomial(size, np.full(size, 1 / size), size=resamples)
    weights = drawn[:, member].astype(np.float64)
    defined = np.isfinite(values)
    sums = weights @ np.where(defined, values, 0.0)
    counts = weights @ defined.astype(np.float64)
    means: NDArray[np.float64] = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def interval(samples: NDArray[np.float64], *, level: float = LEVEL) -> Interval | None:
    """The percentile interval of resampled means (resamples,), undefined ones left out.

    None where nothing is defined.
    """
    defined = samples[np.isfinite(samples)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))

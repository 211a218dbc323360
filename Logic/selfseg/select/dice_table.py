"""Dice of some structures in some cases, and the means that decisions rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.bootstrap import interval, resampled_means
from ..arrays.metrics import count_pairs
from ..domain.labels import LabelScheme

LEAST_GROUPS = 2
"""A mean that rests on fewer cases (patients) has no interval."""


@dataclass(frozen=True)
class DiceTable:
    """Dice by case and structure.

    Args:
        values: (cases, structures); NaN where a structure is in neither map, or a case has no
            reference.
    """

    values: NDArray[np.float64]

    @property
    def by_structure(self) -> NDArray[np.float64]:
        """(structures,) means over the cases where it is defined; NaN where it never is."""
        # Column by column: sums of the same numbers in the same order have the same last bit.
        return np.array([_mean_of_defined(column) for column in self.values.T])

    @property
    def mean(self) -> float:
        """Mean over structures of their means over cases; NaN where one is not defined."""
        return float(np.mean(self.by_structure))

    @property
    def mean_of_defined(self) -> float:
        """The same over the structures that are defined; NaN where none is."""
        return _mean_of_defined(self.by_structure)

    def rows(self, chosen: NDArray[np.bool_]) -> DiceTable:
        """The table of some cases."""
        return DiceTable(self.values[chosen])

    def named(self, labels: LabelScheme) -> dict[str, float | None]:
        """The means over cases by the structure's name."""
        pairs = zip(labels.foreground, self.by_structure, strict=True)
        return {label.name: number_or_none(value) for label, value in pairs}

    def interval(self, groups: Sequence[object] | None = None) -> tuple[float, float] | None:
        """95% bootstrap interval of `mean_of_defined` over cases, or groups of them."""
        names = list(range(len(self.values))) if groups is None else list(groups)
        some = [bool(np.isfinite(row).any()) for row in self.values]
        if len({name for name, used in zip(names, some, strict=True) if used}) < LEAST_GROUPS:
            return None
        means = resampled_means(self.values, groups=names)
        counts = np.isfinite(means).sum(axis=1)
        overall = np.full(len(means), np.nan)
        np.divide(np.nansum(means, axis=1), counts, out=overall, where=counts > 0)
        found = interval(overall)
        return None if found is None else (found.low, found.high)


def dice_of(true_positives: int, predicted: int, reference: int) -> float:
    """2 TP / (predicted + reference) from counts of voxels; NaN where the structure is nowhere."""
    total = predicted + reference
    return 2 * true_positives / total if total else float("nan")


def dice_row(
    reference: NDArray[Any], prediction: NDArray[Any], labels: LabelScheme
) -> NDArray[np.float64]:
    """Dice of every structure in one case; NaN where it is in neither map.

    Args:
        reference: (Z, Y, X) label values; those with the ignore value count nowhere.
        prediction: (Z, Y, X) label values.
        labels: the structures.
    """
    counts = count_pairs(reference, prediction)
    found = [counts.overlap(label.values, labels.ignore).dice for label in labels.foreground]
    return np.array([np.nan if value is None else value for value in found])


def row_from(
    metrics: Mapping[str, Mapping[str, float | None]], labels: LabelScheme
) -> NDArray[np.float64]:
    """Dice of every structure from a case's entry in a score file."""
    found = [metrics.get(label.key, {}).get("Dice") for label in labels.foreground]
    return np.array([np.nan if value is None else value for value in found])


def number_or_none(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None


def _mean_of_defined(values: NDArray[np.float64]) -> float:
    defined = np.isfinite(values)
    # NumPy's own nanmean adds zeros in the place of NaN, and so does this.
    return float(np.nanmean(values)) if defined.any() else float("nan")

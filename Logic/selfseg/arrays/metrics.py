"""Overlap and confusion of label maps, from one pass that counts pairs of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, slice, slice]

TABLE_LIMIT = 1 << 16
"""Label values below this are looked up in a table; others are searched for."""


@dataclass(frozen=True)
class Overlap:
    """Voxels of one structure in both maps, in the prediction or reference alone, in none."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN); None where the structure is in neither map."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else None

    @property
    def iou(self) -> float | None:
        """TP / (TP + FP + FN); None where the structure is in neither map."""
        total = self.true_positives + self.false_positives + self.false_negatives
        return self.true_positives / total if total else None

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP): how much of the prediction is right; None without any."""
        return self.true_positives / self.prediction_size if self.prediction_size else None

    @property
    def recall(self) -> float | None:
        """TP / (TP + FN): how much of the reference was found; None without any."""
        return self.true_positives / self.reference_size if self.reference_size else None

    @property
    def reference_size(self) -> int:
        """Voxels of the structure in the reference."""
        return self.true_positives + self.false_negatives

    @property
    def prediction_size(self) -> int:
        """Voxels of the structure in the prediction."""
        return self.true_positives + self.false_positives

    @property
    def relative_volume_difference(self) -> float | None:
        """(prediction - reference) / reference; None where the reference is empty."""
        if not self.reference_size:
            return None
        return (self.prediction_size - self.reference_size) / self.reference_size


@dataclass(frozen=True)
class JointCounts:
    """How often each pair of values meets.

    `counts[i, j]` voxels have reference value `values[i]` and predicted value `values[j]`.
    """

    values: tuple[int, ...]
    counts: NDArray[np.int64]

    def overlap(self, structure: Sequence[int], ignore: int | None = None) -> Overlap:
        """Counts for one structure, the union of some label values.

        Args:
            structure: its label values.
            ignore: reference voxels of this value count nowhere.
        """
        members = np.isin(self.values, list(structure))
        counted = np.ones(len(self.values), dtype=bool)
        if ignore is not None:
            counted = np.array([value != ignore for value in self.values], dtype=bool)
        inside, outside = members & counted, ~members & counted
        return Overlap(
            true_positives=int(self.counts[inside][:, members].sum()),
            false_positives=int(self.counts[outside][:, members].sum()),
            false_negatives=int(self.counts[inside][:, ~members].sum()),
            true_negatives=int(self.counts[outside][:, ~members].sum()),
        )

    def confusion(self, ignore: int | None = None) -> dict[int, dict[int, int]]:
        """Voxels by reference value, then by predicted value; pairs that never meet left out.

        Args:
            ignore: reference voxels of this value count nowhere.
        """
        return {
            value: {self.values[j]: int(row[j]) for j in np.flatnonzero(row)}
            for value, row in zip(self.values, self.counts, strict=True)
            if value != ignore and row.any()
        }


def count_pairs(reference: NDArray[Any], prediction: NDArray[Any]) -> JointCounts:
    """Counts pairs of values over two label maps (Z, Y, X) of whole numbers.

    Slice by slice, so that nothing of the volume's size is made.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {prediction.shape}")
    found: set[int] = set()
    for part in (*reference, *prediction):
        found.update(_values(part))
    values = tuple(sorted(found))
    indices = _indices(np.array(values, dtype=np.int64))
    size = len(values)
    counts = np.zeros(size * size, dtype=np.int64)
    for part, other in zip(reference, prediction, strict=True):
        pairs = indices(part) * size + indices(other)
        counts += np.bincount(pairs.ravel(), minlength=size * size)
    return JointCounts(values, counts.reshape(size, size))


def boxes_of_values(labels: NDArray[Any], values: Sequence[int]) -> dict[int, Box]:
    """Where each value lies: slices (Z, Y, X) around its voxels; values that do not occur left out.

    Args:
        labels: (Z, Y, X) whole numbers.
        values: all values that `labels` may hold, sorted.
    """
    present = [value for value in values if value > 0]
    if not present:
        return {}
    if values[0] < 0 or present[-1] >= TABLE_LIMIT:
        # `find_objects` makes a list as long as the largest value.
        labels = np.searchsorted(np.array(values), labels) + 1
        names = dict(enumerate(values))
    else:
        names = {value - 1: value for value in present}
    found = ndimage.find_objects(labels)
    return {
        value: found[place]
        for place, value in names.items()
        if value > 0 and place < len(found) and found[place] is not None
    }


def _values(part: NDArray[Any]) -> Iterator[int]:
    if part.size and part.min() >= 0 and part.max() < TABLE_LIMIT:
        return map(int, np.flatnonzero(np.bincount(part.ravel().astype(np.intp, copy=False))))
    return map(int, np.unique(part))


class _indices:  # noqa: N801 - reads as the function that it is
    """Turns label values into their place among `values`."""

    def __init__(self, values: NDArray[np.int64]) -> None:
        self.values = values
        self.table: NDArray[np.intp] | None = None
        if len(values) and values[0] >= 0 and values[-1] < TABLE_LIMIT:
            self.table = np.zeros(int(values[-1]) + 1, dtype=np.intp)
            self.table[values] = np.arange(len(values))

    def __call__(self, part: NDArray[Any]) -> NDArray[np.intp]:
        if self.table is not None:
            return self.table[part.astype(np.intp, copy=False)]
        return np.searchsorted(self.values, part).astype(np.intp, copy=False)

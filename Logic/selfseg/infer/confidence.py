"""How sure a model is of what it predicts, from the entropy of its probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..arrays.probabilities import binary_entropy, entropy, sigmoid, softmax
from ..domain.case import FloatArray
from ..domain.geometry import Shape3
from ..domain.labels import LabelScheme
from .backend import Head
from .engine import Slab

LOOKED_AT = 2**19
"""Voxels of a case whose entropy is computed, at most: a grid of them says what all would."""


@dataclass(frozen=True)
class StructureConfidence:
    """One structure in one case.

    Args:
        entropy: mean over the voxels predicted as the structure, from 0 (sure) to 1 (a guess);
            None where it is not predicted.
        fold_dice: mean Dice between what two folds predict; None where nobody can say.
    """

    entropy: float | None = None
    fold_dice: float | None = None


@dataclass(frozen=True)
class Confidence:
    """One case.

    Args:
        entropy: mean over the voxels predicted as any structure; None without any.
        entropy_of_image: mean over all voxels of the image's non-zero box.
        fold_dice: mean over the structures; None with one fold.
        structures: by name.
    """

    entropy: float | None = None
    entropy_of_image: float | None = None
    fold_dice: float | None = None
    structures: Mapping[str, StructureConfidence] = field(default_factory=dict)


class EntropyMeter:
    """Adds up the entropy of some voxels; takes slabs as `restore.fill` gives them.

    Args:
        labels: which head means what.
        shape: (Z, Y, X) of the grid that is predicted.
        head: what turns maps into logits; None where they are the logits.
        temperature: of the probabilities.
    """

    def __init__(
        self,
        labels: LabelScheme,
        shape: Shape3,
        head: Head | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.labels = labels
        self.head = head
        self.temperature = temperature
        self.strides = strides(shape)
        count = labels.head_count
        self.sums: NDArray[np.float64] = np.zeros(count)
        self.counts: NDArray[np.int64] = np.zeros(count, np.int64)
        self.sum_of_all = 0.0
        self.count_of_all = 0

    def take(self, slab: Slab) -> None:
        """Looks at some voxels of a slab."""
        z, y, x = self.strides
        maps = slab.maps[-slab.first % z :: z, ::y, ::x]
        for plane in maps:
            logits = plane.astype(np.float32) if self.head is None else self.head.logits(plane)
            self.add(probabilities_of(logits, self.labels, self.temperature))

    def finish(self) -> None:
        """Nothing is left to do."""

    def add(self, probabilities: FloatArray) -> None:
        """Counts voxels (..., K)."""
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        if self.labels.has_regions:
            unsure = binary_entropy(flat)  # (N, K)
            predicted = flat > 0.5
            self.sums += np.where(predicted, unsure, 0).sum(axis=0, dtype=np.float64)
            self.counts += predicted.sum(axis=0)
            unsure = unsure.mean(axis=-1)
        else:
            unsure = entropy(flat)  # (N,)
            winner, count = flat.argmax(axis=-1), len(self.sums)
            self.sums += np.bincount(winner, weights=unsure, minlength=count)
            self.counts += np.bincount(winner, minlength=count)
        self.sum_of_all += float(unsure.sum(dtype=np.float64))
        self.count_of_all += len(flat)

    def result(self, fold_dice: Mapping[str, float | None] | None = None) -> Confidence:
        """What was measured.

        Args:
            fold_dice: by name of the structure, see `agreement`.
        """
        agreed = fold_dice or {}
        first = 0 if self.labels.has_regions else 1
        names = [label.name for label in self.labels.foreground]
        structures = {
            name: StructureConfidence(
                _mean(self.sums[head], self.counts[head]), _rounded(agreed.get(name))
            )
            for head, name in enumerate(names, start=first)
        }
        known = [dice for dice in agreed.values() if dice is not None]
        return Confidence(
            _mean(self.sums[first:].sum(), self.counts[first:].sum()),
            _mean(self.sum_of_all, self.count_of_all),
            _rounded(sum(known) / len(known)) if known else None,
            structures,
        )


def probabilities_of(logits: FloatArray, labels: LabelScheme, temperature: float) -> FloatArray:
    """(..., K) logits as probabilities: of classes that exclude each other, or of regions."""
    return (sigmoid if labels.has_regions else softmax)(logits, temperature)


def strides(shape: Sequence[int], most: int = LOOKED_AT) -> Shape3:
    """Steps along the axes (Z, Y, X) that leave at most so many voxels of a grid."""
    steps = [1, 1, 1]
    while True:
        left = [math.ceil(n / step) for n, step in zip(shape, steps, strict=True)]
        if math.prod(left) <= most:
            return (steps[0], steps[1], steps[2])
        steps[left.index(max(left))] += 1


def _mean(total: float, count: int) -> float | None:
    return _rounded(float(total) / int(count)) if count else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)

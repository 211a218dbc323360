"""What can be seen of a predicted structure without a reference.

Only such things count that a held-out case of a cross-validation tells as well as a new image:
a held-out case has one network that has not seen it. How far several folds agree is therefore
no feature of the regression (`judgement` looks at it on its own); how far the same network
agrees with itself on mirrored images is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..arrays.metrics import boxes_of_values
from ..domain.case import FloatArray
from ..domain.geometry import Vector3
from ..domain.labels import LabelScheme
from ..domain.quality import StructureFeatures

_TOUCHING = np.ones((3, 3, 3))
"""Faces, edges and corners, as everywhere."""


class PromisedOverlap:
    """Adds up probabilities; says what Dice they promise.

    A voxel of probability p is the structure's in a share p of such cases, so that of a
    predicted mask M the true positives are the sum of p over M, and the reference has the sum
    of p over all voxels. Dice is about 2 TP / (|M| + reference).

    Args:
        labels: which head means what.
    """

    def __init__(self, labels: LabelScheme) -> None:
        self.labels = labels
        count = labels.head_count
        self.promised: NDArray[np.float64] = np.zeros(count)
        self.inside: NDArray[np.float64] = np.zeros(count)
        self.sizes: NDArray[np.int64] = np.zeros(count, np.int64)

    def add(self, probabilities: FloatArray) -> None:
        """Counts voxels (..., K)."""
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        self.promised += flat.sum(axis=0, dtype=np.float64)
        if self.labels.has_regions:
            predicted = flat > 0.5
            self.inside += np.where(predicted, flat, 0).sum(axis=0, dtype=np.float64)
            self.sizes += predicted.sum(axis=0)
            return
        winner, count = flat.argmax(axis=-1), len(self.sizes)
        best = np.take_along_axis(flat, winner[:, None], axis=-1)[:, 0]
        self.inside += np.bincount(winner, weights=best, minlength=count)
        self.sizes += np.bincount(winner, minlength=count)

    def dice(self) -> Mapping[str, float | None]:
        """By name of the structure; None for one that no voxel was predicted as."""
        first = 0 if self.labels.has_regions else 1
        return {
            label.name: float(2 * self.inside[head] / (self.sizes[head] + self.promised[head]))
            if self.sizes[head]
            else None
            for head, label in enumerate(self.labels.foreground, start=first)
        }


def shape_features(
    labels: NDArray[Any], scheme: LabelScheme, spacing: Vector3
) -> Mapping[str, StructureFeatures]:
    """Volume, parts and contact with the image's border of every structure, by its name.

    Args:
        labels: (Z, Y, X) label values on the native grid.
        scheme: the structures.
        spacing: mm (Z, Y, X).
    """
    boxes = boxes_of_values(labels, scheme.values)
    flat = labels.shape[0] == 1
    unit = prod(spacing[1:]) / 100 if flat else prod(spacing) / 1000
    border = _outermost(labels, scheme)
    found = {}
    for label in scheme.foreground:
        inside = [boxes[value] for value in label.values if value in boxes]
        if not inside:
            found[label.name] = StructureFeatures()
            continue
        box = tuple(
            slice(min(b[axis].start for b in inside), max(b[axis].stop for b in inside))
            for axis in range(3)
        )
        mask = np.isin(labels[box], label.values)
        parts, count = ndimage.label(mask, structure=_TOUCHING)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        total = int(sizes.sum())
        found[label.name] = StructureFeatures(
            volume_ml=total * unit,
            pieces=int(count),
            largest_share=float(sizes.max() / total),
            border_share=sum(border.get(value, 0) for value in label.values) / total,
        )
    return found


def overlap_of_maps(
    first: NDArray[Any], second: NDArray[Any], scheme: LabelScheme
) -> Mapping[str, float | None]:
    """Dice between two label maps of one shape, by structure; None where neither has it."""
    found: dict[str, float | None] = {}
    for label in scheme.foreground:
        one, other = np.isin(first, label.values), np.isin(second, label.values)
        total = int(one.sum()) + int(other.sum())
        found[label.name] = 2 * int((one & other).sum()) / total if total else None
    return found


def _outermost(labels: NDArray[Any], scheme: LabelScheme) -> Mapping[int, int]:
    """Voxels by value on the image's outermost layer; an axis of one voxel has none."""
    edge = np.ones(labels.shape, dtype=bool)
    edge[tuple(slice(1, -1) if size > 2 else slice(None) for size in labels.shape)] = False
    values, counts = np.unique(labels[edge], return_counts=True)
    known = set(scheme.values)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if int(v) in known}

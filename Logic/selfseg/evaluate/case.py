"""All metrics of one case whose label maps are in memory.

docs/reference/metrics.md defines each metric, its unit and its edge cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.lesions import count_lesions
from ..arrays.metrics import Box, JointCounts, Overlap, boxes_of_values, count_pairs
from ..arrays.surface import surface_distances
from ..domain.errors import DatasetError
from ..domain.geometry import Vector3
from ..domain.labels import Label, LabelScheme
from .metrics import COUNT_NAMES, OVERLAP_METRICS, OVERLAP_NAMES, SHAPE_METRICS, SHAPE_NAMES, Shapes

Metrics = Mapping[str, float | None]
"""One structure: a value for each name of `METRIC_NAMES` that was asked for; None: undefined."""

TOLERANCE_MM = 2.0
"""Tolerance of surface Dice unless asked otherwise."""

Confusion = Mapping[int, Mapping[int, int]]
"""Voxels by reference value, then by predicted value; pairs that never meet left out."""


@dataclass(frozen=True)
class CaseMetrics:
    """What one case says: `structures` by key ("3", or "(1, 2)" for a region)."""

    structures: Mapping[str, Metrics]
    confusion: Confusion


def score_case(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    labels: LabelScheme,
    spacing: Vector3 | None = None,
    *,
    tolerance_mm: float = TOLERANCE_MM,
) -> Mapping[str, Metrics]:
    """The metrics of every structure; see `measure_case`."""
    return measure_case(
        reference, prediction, labels, spacing, tolerance_mm=tolerance_mm
    ).structures


def measure_case(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    labels: LabelScheme | None,
    spacing: Vector3 | None = None,
    *,
    tolerance_mm: float = TOLERANCE_MM,
) -> CaseMetrics:
    """Compares a label map with its reference.

    Voxels with the ignore value in the reference count nowhere: they are background in both
    maps where shapes are measured. Structures are worked on one after the other, each in the
    box around it, so memory is bounded by the largest structure.

    Args:
        reference: (Z, Y, X) label values.
        prediction: (Z, Y, X) label values.
        labels: the structures, regions included; every value above 0 otherwise.
        spacing: mm (Z, Y, X); without it only the metrics of `OVERLAP_NAMES` are given.
        tolerance_mm: of surface Dice.

    Raises:
        DatasetError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise DatasetError(
            "the prediction does not have the shape of its reference",
            expected=f"{reference.shape} voxels (Z, Y, X)",
            found=str(prediction.shape),
            cure="compare label maps of the same image on its own grid",
        )
    counts = count_pairs(reference, prediction)
    structures = scheme_of(counts.values) if labels is None else labels
    ignore = None if structures is None else structures.ignore
    foreground = () if structures is None else structures.foreground
    overlaps = {label.key: counts.overlap(label.values, ignore) for label in foreground}
    metrics: dict[str, Metrics] = {key: _overlap(found) for key, found in overlaps.items()}
    if spacing is not None:
        maps = _Maps.of(reference, prediction, counts, ignore)
        for label in foreground:
            metrics[label.key] = {
                **metrics[label.key],
                **_shape(maps, label, overlaps[label.key], spacing, tolerance_mm),
            }
    return CaseMetrics(metrics, counts.confusion(ignore))


def absent(names: Sequence[str]) -> Metrics:
    """The metrics of a structure that is in neither map: no voxels, nothing defined."""
    return {name: 0 if name in COUNT_NAMES else None for name in names}


def scheme_of(values: Sequence[int]) -> LabelScheme | None:
    """One structure per value above 0; None without any."""
    found = sorted({value for value in values if value > 0})
    return LabelScheme(tuple(Label(str(v), (v,)) for v in found)) if found else None


@dataclass(frozen=True)
class _Maps:
    reference: NDArray[Any]
    prediction: NDArray[Any]
    boxes: tuple[Mapping[int, Box], Mapping[int, Box]]
    ignore: int | None

    @classmethod
    def of(
        cls,
        reference: NDArray[Any],
        prediction: NDArray[Any],
        counts: JointCounts,
        ignore: int | None,
    ) -> _Maps:
        boxes = (
            boxes_of_values(reference, counts.values),
            boxes_of_values(prediction, counts.values),
        )
        return cls(reference, prediction, boxes, ignore)

    def masks(self, values: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The structure in both maps, cut to the box around both."""
        found = [boxes[value] for boxes in self.boxes for value in values if value in boxes]
        box = tuple(
            slice(min(b[axis].start for b in found), max(b[axis].stop for b in found))
            for axis in range(3)
        )
        reference, prediction = self.reference[box], self.prediction[box]
        truth, predicted = _members(reference, values), _members(prediction, values)
        if self.ignore is not None:
            predicted &= reference != self.ignore
        return truth, predicted


def _members(labels: NDArray[Any], values: Sequence[int]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = labels == values[0]
    for value in values[1:]:
        mask |= labels == value
    return mask


def _overlap(overlap: Overlap) -> Metrics:
    if not overlap.reference_size and not overlap.prediction_size:
        return absent(OVERLAP_NAMES)
    return {metric.name: metric.of(overlap) for metric in OVERLAP_METRICS}


def _shape(
    maps: _Maps, label: Label, overlap: Overlap, spacing: Vector3, tolerance_mm: float
) -> Metrics:
    if not overlap.reference_size and not overlap.prediction_size:
        return absent(SHAPE_NAMES)
    truth, predicted = maps.masks(label.values)
    flat = maps.reference.shape[0] == 1
    # mm² to cm², mm³ to ml.
    unit = prod(spacing[1:]) / 100 if flat else prod(spacing) / 1000
    if not flat and truth.shape[0] == 1:
        # One slice cut out of a volume is not a 2D image, which is measured in the plane.
        truth, predicted = (np.pad(mask, ((0, 1), (0, 0), (0, 0))) for mask in (truth, predicted))
    found = Shapes(
        overlap,
        surface_distances(truth, predicted, spacing),
        count_lesions(truth, predicted),
        unit,
        tolerance_mm,
    )
    return {metric.name: metric.of(found) for metric in SHAPE_METRICS}

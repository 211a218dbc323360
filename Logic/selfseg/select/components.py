"""The connected components of a prediction as a table, with what each contributes to Dice.

Every rule that keeps or drops whole components can be scored from such tables alone: one pass
over the images serves all rules, however many structures and sizes are tried. That is exact for
labels, which exclude each other. Regions overlap: dropping a part of one changes others, and
their rules are scored on the images (`trials.score_maps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..arrays.bounding_box import bounding_box
from ..arrays.metrics import boxes_of_values, count_pairs
from ..domain.bundle import PostprocessingStep
from ..domain.labels import LabelScheme
from .dice_table import dice_of

Counts = NDArray[np.int64]
Kept = NDArray[np.bool_]

CONNECTED = np.ones((3, 3, 3))
"""Voxels that touch at a face, an edge or a corner (RECIPE)."""


@dataclass(frozen=True)
class StructureParts:
    """The components of one structure in one case.

    Args:
        sizes: (n,) voxels of each.
        counted: (n,) those of them that count: outside the ignore label.
        hits: (n,) those that are right.
        parents: (n,) which component of all foreground each belongs to.
        reference: voxels of the structure in the reference.
    """

    sizes: Counts
    counted: Counts
    hits: Counts
    parents: NDArray[np.intp]
    reference: int

    def dice(self, kept: Kept) -> float:
        """With these components; NaN where nothing is left and the reference is empty."""
        return dice_of(int(self.hits[kept].sum()), int(self.counted[kept].sum()), self.reference)


@dataclass(frozen=True)
class CaseParts:
    """All components of one case: `structures` in the order of the labels.

    `foreground` holds the sizes of the components of all structures taken as one.
    """

    foreground: Counts
    structures: tuple[StructureParts, ...]

    def kept(self, steps: Sequence[PostprocessingStep], labels: LabelScheme) -> list[Kept]:
        """Which components of each structure stay after some steps.

        Raises:
            ValueError: a step that does not keep or drop whole components.
        """
        kept = [np.ones(len(part.sizes), dtype=bool) for part in self.structures]
        names = [label.name for label in labels.foreground]
        for step in steps:
            if step.kind == "largest_component_all" and not step.structures:
                self._keep_largest_of_all(kept)
                continue
            if step.kind not in ("largest_component", "k_largest_components") and (
                step.kind != "remove_small_components"
            ):
                raise ValueError(f"not scored from components: {step}")
            for name in step.structures or names:
                place = names.index(name)
                present = np.flatnonzero(kept[place])
                if len(present):
                    stays = stays_of(step, self.structures[place].sizes[present])
                    kept[place][present[~stays]] = False
        return kept

    def dice(self, steps: Sequence[PostprocessingStep], labels: LabelScheme) -> NDArray[np.float64]:
        """(structures,) Dice after some steps."""
        pairs = zip(self.structures, self.kept(steps, labels), strict=True)
        return np.array([part.dice(kept) for part, kept in pairs])

    def _keep_largest_of_all(self, kept: list[Kept]) -> None:
        """Only exact as the first step: later, what was dropped may have split a component."""
        if any(not mask.all() for mask in kept):
            raise ValueError("the largest component of all must be the first step")
        if len(self.foreground):
            largest = self.foreground == self.foreground.max()
            for place, part in enumerate(self.structures):
                kept[place] = largest[part.parents]


def stays_of(step: PostprocessingStep, sizes: Counts) -> Kept:
    """Which components of these sizes stay; those as large as the largest all do."""
    if step.kind == "remove_small_components":
        return np.asarray(sizes >= step.min_voxels)
    if step.kind == "largest_component":
        return np.asarray(sizes == sizes.max())
    stays = np.zeros(len(sizes), dtype=bool)
    stays[np.argsort(-sizes, kind="stable")[: step.count]] = True
    return stays


def parts_of(reference: NDArray[Any], prediction: NDArray[Any], labels: LabelScheme) -> CaseParts:
    """Finds all components of a prediction and compares them with the reference.

    Each structure is worked on in the box around it.

    Args:
        reference: (Z, Y, X) label values.
        prediction: (Z, Y, X) label values.
        labels: no regions.
    """
    counts = count_pairs(reference, prediction)
    sizes = {
        label.values[0]: counts.overlap(label.values, labels.ignore).reference_size
        for label in labels.foreground
    }
    mask = np.isin(prediction, [value for value in sizes if value in counts.values])
    if not mask.any():
        nothing = np.zeros(0, dtype=np.int64)
        empty = [
            StructureParts(nothing, nothing, nothing, nothing.astype(np.intp), size)
            for size in sizes.values()
        ]
        return CaseParts(nothing, tuple(empty))
    start, stop = bounding_box(mask)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    reference, prediction = reference[box], prediction[box]
    together, count = ndimage.label(mask[box], structure=CONNECTED)
    foreground = np.bincount(together.ravel(), minlength=count + 1)[1:]
    boxes = boxes_of_values(prediction, [v for v in counts.values if v in (0, *sizes)])
    return CaseParts(
        foreground.astype(np.int64),
        tuple(
            _structure(reference, prediction, together, value, size, boxes, labels.ignore)
            for value, size in sizes.items()
        ),
    )


def _structure(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    together: NDArray[Any],
    value: int,
    size: int,
    boxes: Mapping[int, tuple[slice, slice, slice]],
    ignore: int | None,
) -> StructureParts:
    if value not in boxes:
        nothing = np.zeros(0, dtype=np.int64)
        return StructureParts(nothing, nothing, nothing, nothing.astype(np.intp), size)
    box = boxes[value]
    mask = prediction[box] == value
    components, count = ndimage.label(mask, structure=CONNECTED)
    inside = components[mask]
    truth = reference[box][mask]
    parents = np.zeros(count, dtype=np.intp)
    parents[inside - 1] = together[box][mask] - 1
    counted = inside if ignore is None else inside[truth != ignore]
    return StructureParts(
        sizes=np.bincount(inside, minlength=count + 1)[1:].astype(np.int64),
        counted=np.bincount(counted, minlength=count + 1)[1:].astype(np.int64),
        hits=np.bincount(inside[truth == value], minlength=count + 1)[1:].astype(np.int64),
        parents=parents,
        reference=size,
    )

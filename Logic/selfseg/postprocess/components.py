"""A model's postprocessing, applied to a label map on its native grid.

Steps are data (`domain.bundle.PostprocessingStep`); this is the one place that knows what they
mean. Components touch by faces, edges or corners, as in nnU-Net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..arrays.bounding_box import bounding_box
from ..domain.bundle import PostprocessingKind, PostprocessingStep
from ..domain.labels import Label, LabelScheme

Mask = NDArray[np.bool_]


def postprocess(
    labels: NDArray[Any], steps: Sequence[PostprocessingStep], scheme: LabelScheme
) -> NDArray[Any]:
    """Applies all steps, in order.

    Args:
        labels: (Z, Y, X) label values; changed in place.
        steps: of the model.
        scheme: its structures. A region is the union of its values.

    Returns:
        `labels`.
    """
    for step in steps:
        named = {label.name: label for label in scheme.foreground}
        chosen = [named[name] for name in step.structures] or list(scheme.foreground)
        if step.kind == "largest_component_all":
            _keep_components(labels, _values(chosen), _largest)
            continue
        for structure in chosen:
            if step.kind == "fill_holes":
                _fill_holes(labels, structure, scheme)
            else:
                _keep_components(labels, structure.values, _RULES[step.kind](step))
    return labels


Rule = Callable[[NDArray[np.int64]], Mask]
"""From the sizes of components to which of them stay."""


def _largest(sizes: NDArray[np.int64]) -> Mask:
    """The largest, and others of the same size, as nnU-Net does."""
    kept: Mask = sizes == sizes.max()
    return kept


def _largest_few(step: PostprocessingStep) -> Rule:
    def kept(sizes: NDArray[np.int64]) -> Mask:
        result = np.zeros(len(sizes), dtype=bool)
        result[np.argsort(-sizes, kind="stable")[: step.count]] = True
        return result

    return kept


def _not_small(step: PostprocessingStep) -> Rule:
    def kept(sizes: NDArray[np.int64]) -> Mask:
        result: Mask = sizes >= step.min_voxels
        return result

    return kept


_RULES: Mapping[PostprocessingKind, Callable[[PostprocessingStep], Rule]] = {
    "largest_component": lambda step: _largest,
    "k_largest_components": _largest_few,
    "remove_small_components": _not_small,
}


def _values(structures: Sequence[Label]) -> tuple[int, ...]:
    return tuple({value for label in structures for value in label.values})


def _keep_components(labels: NDArray[Any], values: Sequence[int], rule: Rule) -> None:
    """Makes background of the components, of all these values as one, that do not stay."""
    inside, mask = _cut_out(labels, values)
    if not mask.any():
        return
    components, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 1:
        return
    stays = rule(np.bincount(components.ravel(), minlength=count + 1)[1:])
    if not stays.all():
        inside[mask & ~np.concatenate([[False], stays])[components]] = 0


def _fill_holes(labels: NDArray[Any], structure: Label, scheme: LabelScheme) -> None:
    """Gives background that the structure encloses to it; other structures stay what they are.

    A hole is enclosed where no path along faces leads out.
    """
    inside, mask = _cut_out(labels, structure.values)
    if not mask.any():
        return
    # An axis of one voxel does not let out: a picture's holes are those of the plane.
    thick = tuple(slice(None) if n > 1 else 0 for n in mask.shape)
    filled = mask.copy()
    filled[thick] = ndimage.binary_fill_holes(mask[thick])
    inside[filled & (inside == 0)] = _written_value(structure, scheme)


def _written_value(structure: Label, scheme: LabelScheme) -> int:
    """The value that voxels of this structure alone have in a label map."""
    if scheme.regions_class_order is None:
        return structure.values[0]
    return scheme.regions_class_order[scheme.foreground.index(structure)]


def _cut_out(labels: NDArray[Any], values: Sequence[int]) -> tuple[NDArray[Any], Mask]:
    """The box around these values, as a view on the label map, and where they are in it."""
    mask = _mask(labels, values)
    if not mask.any():
        return labels, mask
    start, stop = bounding_box(mask)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return labels[box], mask[box]


def _mask(labels: NDArray[Any], values: Sequence[int]) -> Mask:
    mask: Mask = labels == values[0]
    for value in values[1:]:
        mask |= labels == value
    return mask

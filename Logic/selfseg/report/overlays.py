"""Pictures of cases: the image in grey, the prediction as a fill, the reference as an outline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..domain.geometry import Vector3
from ..domain.labels import Colour, LabelScheme
from .content import OverlayCase

CT_WINDOW = (-160.0, 240.0)
"""HU shown from black to white: the usual soft-tissue window (level 40, width 400)."""

PERCENTILES = (0.5, 99.5)
"""Of every other modality's intensities, shown from black to white."""

_FILL = 0.38
_BLACK = 0.02
"""Borders darker than this share of white are cut off: air around the patient."""

_FEW_SLICES = 12
_THICK_SLICES = 3.0
"""Below this many slices, or above this ratio of spacings, other planes show only stairs."""


@dataclass(frozen=True)
class _Panel:
    title: str
    picture: NDArray[np.float32]
    """(rows, columns) or (rows, columns, 3), 0 to 1."""
    predicted: NDArray[np.int64]
    reference: NDArray[np.int64] | None
    aspect: float
    """Height of a pixel over its width."""


def draw_overlay(
    case: OverlayCase, labels: LabelScheme, colours: dict[str, Colour], *, is_ct: bool
) -> Figure:
    """A figure of one case.

    It shows three planes, or three slices where slices are thick, or a 2D image without and
    with its prediction.

    Args:
        case: what to show.
        labels: the scheme; of regions the ones declared later are drawn on top.
        colours: name -> RGB.
        is_ct: show the soft-tissue window.
    """
    panels = _panels(case, labels, is_ct)
    heights = [panel.picture.shape[0] * panel.aspect for panel in panels]
    widths = [float(panel.picture.shape[1]) for panel in panels]
    ratios = [w / h for w, h in zip(widths, heights, strict=True)]
    height = min(3.9, 10.6 / sum(ratios))
    figure = Figure(figsize=(max(3.2, sum(ratios) * height + 0.12 * len(panels)), height + 0.32))
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=ratios)[0]
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, panel, labels, colours)
    figure.subplots_adjust(0.004, 0.004, 0.996, 1 - 0.3 / (height + 0.32), wspace=0.02)
    return figure


def display_window(image: NDArray[np.float32], *, is_ct: bool) -> tuple[float, float]:
    """The intensities that become black and white."""
    if is_ct:
        return CT_WINDOW
    low, high = (float(v) for v in np.percentile(image, PERCENTILES))
    return low, (high if high > low else low + 1.0)


def best_slice(labels: NDArray[np.int64], axis: int) -> int:
    """The slice along `axis` that shows most of the structures, each weighing the same.

    The middle one where there is no foreground.
    """
    others = tuple(i for i in range(labels.ndim) if i != axis)
    total = np.zeros(labels.shape[axis])
    for value in np.unique(labels[labels > 0]):
        area = (labels == value).sum(axis=others)
        total += area / area.max()
    return int(total.argmax()) if total.any() else labels.shape[axis] // 2


def _panels(case: OverlayCase, labels: LabelScheme, is_ct: bool) -> list[_Panel]:
    image, predicted, reference, spacing = upright(case)
    seen = reference if reference is not None and (reference > 0).any() else predicted
    seen = np.where(np.isin(seen, labels.values), seen, 0)
    if case.is_colour:
        shown = np.clip(image / np.float32(255), 0, 1)
    else:
        low, high = display_window(image, is_ct=is_ct)
        shown = np.clip((image - low) / (high - low), 0, 1)

    if image.shape[0] > 1:
        inner = _bounding_box(shown > _BLACK)
        image, shown, predicted, seen = image[inner], shown[inner], predicted[inner], seen[inner]
        reference = None if reference is None else reference[inner]

    def panel(axis: int, index: int, title: str) -> _Panel:
        rows, columns = (i for i in range(3) if i != axis)
        return _Panel(
            title,
            np.take(shown, index, axis).astype(np.float32),
            np.take(predicted, index, axis),
            None if reference is None else np.take(reference, index, axis),
            spacing[rows] / spacing[columns],
        )

    if image.shape[0] == 1:
        shown_only = replace(
            panel(0, 0, "image"), predicted=np.zeros(predicted.shape[1:], np.int64), reference=None
        )
        return [shown_only, panel(0, 0, "prediction")]
    coarse = int(np.argmax(spacing))
    depth = image.shape[coarse]
    if depth < _FEW_SLICES or spacing[coarse] > _THICK_SLICES * sorted(spacing)[1]:
        others = tuple(axis for axis in range(3) if axis != coarse)
        found = np.flatnonzero((seen > 0).any(axis=others))
        span = (found[0], found[-1]) if found.size else (0, depth - 1)
        chosen = sorted({round(span[0] + f * (span[1] - span[0])) for f in (0.2, 0.5, 0.8)})
        return [panel(coarse, i, f"slice {i + 1} of {depth}") for i in chosen]
    names = ("axial", "coronal", "sagittal")
    return [panel(axis, best_slice(seen, axis), names[axis]) for axis in range(3)]


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Slices that hold every true voxel; everything where there is none."""
    if not mask.any():
        return (slice(None), slice(None), slice(None))
    ends = []
    for axis in range(3):
        found = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        ends.append(slice(int(found[0]), int(found[-1]) + 1))
    return (ends[0], ends[1], ends[2])


def upright(
    case: OverlayCase,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64] | None, Vector3]:
    """Image, prediction, reference and spacing: head to feet, front to back, right to left.

    That is how radiologists look at slices: the patient's right on the left of the picture.
    """
    image, predicted, reference = case.image, case.predicted, case.reference
    spacing = case.spacing
    if case.image.shape[0] > 1:
        # Column i of `direction` says where image axis x, y, z goes in the world (LPS).
        matrix = np.asarray(case.direction)
        order, flips = [0, 0, 0], [False, False, False]
        free = [0, 1, 2]
        for world in (2, 1, 0):
            image_axis = max(free, key=lambda a: abs(matrix[world, a]))
            free.remove(image_axis)
            order[2 - world] = 2 - image_axis
            towards = matrix[world, image_axis] > 0
            flips[2 - world] = bool(towards) if world == 2 else not towards
        mirrored = tuple(i for i in range(3) if flips[i])

        def turn(array: NDArray[Any]) -> NDArray[Any]:
            return np.flip(np.transpose(array, (*order, *range(3, array.ndim))), mirrored)

        image, predicted = turn(image), turn(predicted)
        reference = None if reference is None else turn(reference)
        spacing = (spacing[order[0]], spacing[order[1]], spacing[order[2]])
    return (
        image.astype(np.float32),
        predicted.astype(np.int64),
        None if reference is None else reference.astype(np.int64),
        spacing,
    )


def _draw_panel(axis: Axes, panel: _Panel, labels: LabelScheme, colours: dict[str, Colour]) -> None:
    axis.imshow(
        panel.picture, cmap="gray", vmin=0, vmax=1, aspect=panel.aspect, interpolation="bicubic"
    )
    fill = np.zeros((*panel.predicted.shape, 4), dtype=np.float32)
    for label in labels.foreground:
        fill[np.isin(panel.predicted, label.values)] = _unit(colours[label.name], _FILL)
    axis.imshow(fill, aspect=panel.aspect, interpolation="nearest")
    if panel.reference is not None:
        for label in labels.foreground:
            _outline(axis, np.isin(panel.reference, label.values), _lighter(colours[label.name]))
    axis.set_title(panel.title, fontsize=9.5, color="0.35", pad=4)
    axis.set_axis_off()


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: Sequence[float]) -> None:
    if not mask.any():
        return
    # A border of background closes the outline of what touches the picture's edge.
    padded = np.pad(mask, 1).astype(np.float32)
    rows, columns = np.arange(padded.shape[0]) - 1, np.arange(padded.shape[1]) - 1
    axis.contour(columns, rows, padded, levels=[0.5], colors=["black"], linewidths=2.6, alpha=0.7)
    axis.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=1.2)
    axis.set_xlim(-0.5, mask.shape[1] - 0.5)
    axis.set_ylim(mask.shape[0] - 0.5, -0.5)


def _lighter(colour: Colour) -> tuple[float, float, float, float]:
    """The colour halfway to white, which stands out against a fill of itself."""
    red, green, blue, alpha = _unit(colour)
    return ((1 + red) / 2, (1 + green) / 2, (1 + blue) / 2, alpha)


def _unit(colour: Colour, alpha: float = 1.0) -> tuple[float, float, float, float]:
    return (colour[0] / 255, colour[1] / 255, colour[2] / 255, alpha)

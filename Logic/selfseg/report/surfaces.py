"""Views of structures as solid bodies: the reference, the prediction, and where they differ.

Surfaces are drawn from a coarse grid of equal voxels, so that a picture has some ten thousand
triangles whatever the size of the scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from ..domain.geometry import Vector3
from ..domain.labels import Colour, LabelScheme
from .canvas import WIDTH
from .content import OverlayCase
from .overlays import upright

Floats = NDArray[np.float64]

MOST_TRIANGLES = 32_000
"""Of one view: more take seconds to draw and cannot be seen."""

_MOST_CELLS = 40
"""Along the longest edge of all structures' boxes."""

_SMOOTHING = 0.7
"""Cells: takes the stairs away that voxels leave."""

_LIGHT = np.array([0.35, -0.8, 0.5]) / np.linalg.norm([0.35, -0.8, 0.5])
_ELEVATION, _AZIMUTH = 16, -62
"""Degrees: from the front, a little from above and from the patient's left."""

_LEAST_RANGE_MM = 1.0
_BAR_SHARE = 0.07
"""Of the width, for the scale of the distances."""


@dataclass(frozen=True)
class _Body:
    """Triangles (N, 3, 3) in mm: right to left of the patient, front to back, upwards."""

    triangles: Floats
    colour: Colour


def draw_surfaces(
    case: OverlayCase, labels: LabelScheme, colours: Mapping[str, Colour]
) -> Figure | None:
    """The structures of a case as bodies; None for a flat image, or without any structure.

    With a reference there are three views: of it, of the prediction, and of the prediction
    coloured by the distance to the reference's surface.
    """
    if case.image.shape[0] < 2:
        return None
    _, predicted, reference, spacing = upright(case)
    found = _bodies(predicted, labels, colours, spacing)
    wanted = {} if reference is None else _bodies(reference, labels, colours, spacing)
    if not found and not wanted:
        return None
    views = 1 if reference is None else 3
    figure = Figure(figsize=(min(WIDTH, 3.6 * views), 3.6))
    corners = np.concatenate(
        [body.triangles.reshape(-1, 3) for body in (*found.values(), *wanted.values())]
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    titles = (
        ("prediction",) if views == 1 else ("reference", "prediction", "distance to the reference")
    )
    width = (1 - _BAR_SHARE * (views == 3)) / views
    for place, title in enumerate(titles):
        axis = figure.add_axes((place * width, 0.0, width, 0.93), projection="3d")
        bodies = wanted if title == "reference" else found
        faces = [np.tile(np.array(b.colour) / 255, (len(b.triangles), 1)) for b in bodies.values()]
        if place == 2:
            distances = [_distances(body, wanted.get(name)) for name, body in found.items()]
            faces, scale = _as_colours(distances)
            bar = figure.colorbar(scale, cax=figure.add_axes((0.94, 0.2, 0.012, 0.55)))
            bar.set_label("mm", fontsize=8)
            bar.ax.tick_params(labelsize=8)
            bar.outline.set_visible(False)
        if bodies:
            triangles = np.concatenate([body.triangles for body in bodies.values()])
            _fill(axis, triangles, np.concatenate(faces))
        _frame(axis, low, high)
        figure.text((place + 0.5) * width, 0.95, title, ha="center", fontsize=9.5, color="0.35")
    return figure


def _bodies(
    values: NDArray[np.int64], labels: LabelScheme, colours: Mapping[str, Colour], spacing: Vector3
) -> dict[str, _Body]:
    """By structure; of regions that overlap, those that hold others are left out."""
    shown = [
        label
        for label in labels.foreground
        if not any(set(other.values) < set(label.values) for other in labels.foreground)
    ]
    boxes = {label.name: _box(np.isin(values, label.values)) for label in shown}
    present = [label for label in shown if boxes[label.name] is not None]
    edge = _cell(
        [[(part.stop - part.start) * mm for part, mm in zip(box, spacing, strict=True)]
         for box in boxes.values() if box is not None],
        min(spacing),
    )  # fmt: skip
    bodies = {}
    for label in present:
        box = boxes[label.name]
        assert box is not None  # noqa: S101 - chosen so
        mask = np.isin(values[box], label.values)
        start = np.array([part.start for part in box])
        bodies[label.name] = _Body(
            _triangles(mask, start, np.array(spacing), edge), colours[label.name]
        )
    return {name: body for name, body in bodies.items() if len(body.triangles)}


def _cell(extents: Sequence[Sequence[float]], finest: float) -> float:
    """The edge in mm of the cubes that surfaces are drawn from, the same for all structures.

    Args:
        extents: of the structures' boxes, mm.
        finest: no smaller than this.
    """
    if not extents:
        return finest
    # A surface is about as large as its box's, and a cube's face is cut into two triangles.
    area = sum(2 * (z * y + y * x + z * x) for z, y, x in extents)
    longest = max(max(extent) for extent in extents)
    return max(finest, longest / _MOST_CELLS, float(np.sqrt(2 * area / MOST_TRIANGLES)))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    found = ndimage.find_objects(mask.astype(np.int8))
    return found[0] if found else None


def _triangles(mask: NDArray[np.bool_], start: Floats, spacing: Floats, edge: float) -> Floats:
    """The surface of a mask on a grid of cubes of that edge, as triangles (N, 3, 3) in mm."""
    extent = np.array(mask.shape) * spacing
    shape = np.maximum(np.ceil(extent / edge).astype(int), 1)
    if prod(mask.shape) > 8 * prod(shape.tolist()):
        mask_values = _shares(mask, shape)
    else:
        mask_values = ndimage.zoom(
            mask.astype(np.float32), shape / mask.shape, order=1, grid_mode=True, mode="nearest"
        )
    cell = extent / np.array(mask_values.shape)
    field = ndimage.gaussian_filter(np.pad(mask_values, 2), _SMOOTHING)
    level = min(0.5, float(field.max()) / 2)
    if level <= 0:
        return np.zeros((0, 3, 3))
    points, faces, *_ = marching_cubes(field, level)  # type: ignore[no-untyped-call]
    # Sample i of the padded grid lies at the middle of cell i - 2.
    places = start * spacing + (points - 1.5) * cell
    corners = np.stack([places[:, 2], places[:, 1], -places[:, 0]], axis=1)
    result: Floats = corners[faces]
    return result


def _shares(mask: NDArray[np.bool_], shape: NDArray[np.int64]) -> NDArray[np.float32]:
    """Share of each coarse cell that the mask fills: thin structures do not fall through."""
    result: NDArray[Any] = mask.astype(np.float32)
    for axis, count in enumerate(shape.tolist()):
        starts = np.floor(np.arange(count) * (result.shape[axis] / count)).astype(int)
        sizes = np.diff(np.append(starts, result.shape[axis]))
        sums = np.add.reduceat(result, starts, axis=axis)
        result = sums / sizes.reshape([-1 if i == axis else 1 for i in range(3)])
    return result.astype(np.float32)


def _distances(body: _Body, other: _Body | None) -> Floats:
    """(N,) mm from the middle of each triangle to the other body; NaN where there is none.

    It is the distance to the plane of the nearest triangle: triangles can be larger than what
    separates the bodies. Beside the triangle, the way to its edge is added.
    """
    if other is None:
        return np.full(len(body.triangles), np.nan)
    middles = other.triangles.mean(axis=1)
    normals, areas = _normals(other.triangles)
    points = body.triangles.mean(axis=1)
    nearest = cKDTree(middles).query(points)[1]
    away = points - middles[nearest]
    across = np.abs((away * normals[nearest]).sum(axis=1))
    along = np.sqrt(np.maximum((away**2).sum(axis=1) - across**2, 0))
    result: Floats = np.hypot(across, np.maximum(along - np.sqrt(areas[nearest]), 0))
    return result


def _normals(triangles: Floats) -> tuple[Floats, Floats]:
    """Unit normals (N, 3), outwards, and areas (N,)."""
    first, second, third = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    normals = np.cross(third - first, second - first)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    return normals, lengths[:, 0] / 2


def _as_colours(distances: list[Floats]) -> tuple[list[Floats], ScalarMappable]:
    known = np.concatenate([*distances, np.zeros(1)])
    known = known[np.isfinite(known)]
    top = max(_LEAST_RANGE_MM, float(np.percentile(known, 98)))
    scale = ScalarMappable(Normalize(0, top), mpl.colormaps["cividis"])
    # What has no counterpart at all is as far off as anything.
    return [scale.to_rgba(np.nan_to_num(d, nan=top))[:, :3] for d in distances], scale


def _fill(axis: Axes3D, triangles: Floats, colours: Floats) -> None:
    normals, _ = _normals(triangles)
    shade = 0.42 + 0.58 * np.clip(normals @ _LIGHT, 0, 1)
    shaded = colours * shade[:, None]
    # Edges in the colour of the face: else the ground shines through between triangles.
    axis.add_collection3d(
        Poly3DCollection(triangles, facecolors=shaded, edgecolors=shaded, linewidths=0.25)
    )


def _frame(axis: Axes3D, low: Floats, high: Floats) -> None:
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-3)
    axis.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axis.set_ylim(middle[1] - half[1], middle[1] + half[1])
    axis.set_zlim(middle[2] - half[2], middle[2] + half[2])
    axis.set_box_aspect(tuple(half / half.max()), zoom=1.12)
    axis.view_init(elev=_ELEVATION, azim=_AZIMUTH)
    axis.set_proj_type("ortho")
    axis.set_axis_off()

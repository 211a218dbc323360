"""Cases of the scene as a collection file: what `selfseg collect` makes a data set from.

Only what the scene alone can say is done here: which voxels, on which grid, under which
transform. Resampling, overlaps and the unification of structures are the child's work. Voxels are
copied in small pieces, so that the application never stands still.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry

from ..scene import grid_of_matrix, labelmap_name, require_scan, tag_of, volume_grid
from ..transforms import matrix_between, require_invertible
from .pairing import Pair, Problem

COLLECTION_FILE = "collection.json"
SCHEMA = "selfseg.collection/1"

STEP_BYTES = 8 * 2**20
"""Written between two looks at the clock: about 10 ms on a slow disk."""


@dataclass(frozen=True)
class SceneCase:
    """A pair that can be handed over, or the problem that forbids it."""

    pair: Pair
    problem: Problem | None = None


def check_case(pair: Pair) -> SceneCase:
    """Whether the pair can be handed over as it is."""
    if pair.problem is not None:
        return SceneCase(pair, pair.problem)
    segmentation = pair.segmentation.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        return SceneCase(
            pair,
            Problem(
                "no-segmentation",
                _("the segmentation holds no segment"),
                _("segment the scan, or leave this case out"),
            ),
        )
    if not _has_label_map(segmentation):
        return SceneCase(
            pair,
            Problem(
                "not-a-labelmap",
                _("the segmentation is stored as surfaces"),
                _("make a binary label map of it in the Segmentations module"),
            ),
        )
    try:
        for node in pair.images:
            require_scan(node)
            volume_grid(node)
        for node in (*pair.images, pair.segmentation):
            require_invertible(node, node.GetParentTransformNode())
        for layer, _ids in _layers(segmentation):
            _layer_grid(layer)
    except ImageError as error:
        return SceneCase(pair, Problem("unreadable", error.what, error.cure))
    return SceneCase(pair)


def claimed_once(cases: Sequence[SceneCase], excluded: frozenset[str]) -> tuple[SceneCase, ...]:
    """The cases, with a problem where two segmentations go with one scan.

    Args:
        cases: of the scene.
        excluded: names of those that the user leaves out; they claim nothing.
    """
    owners: dict[str, list[str]] = {}
    for case in cases:
        if case.pair.images and case.pair.case not in excluded:
            owners.setdefault(case.pair.images[0].GetID(), []).append(case.pair.case)
    checked = []
    for case in cases:
        rivals = owners.get(case.pair.images[0].GetID(), []) if case.pair.images else []
        others = [name for name in rivals if name != case.pair.case]
        if case.problem is None and others and case.pair.case in rivals:
            problem = Problem(
                "ambiguous-pair",
                _("another segmentation goes with the same scan: {names}").format(
                    names=", ".join(others)
                ),
                _("leave one of them out, or join both into one segmentation"),
            )
            case = replace(case, problem=problem)
        checked.append(case)
    return tuple(checked)


def describe(
    cases: Sequence[SceneCase], channels: Sequence[str], *, with_voxels: bool
) -> dict[str, Any]:
    """The collection file's content; without voxels it can be looked at only (`--dry-run`)."""
    names = list(channels)
    return {
        "schema": SCHEMA,
        "channels": names,
        "cases": [_describe(case.pair, names, with_voxels) for case in cases],
    }


def default_channels(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The channel's name where all scans come from DICOM of one kind; "image" otherwise.

    The name decides how grey values are normalised, so it is never guessed from the values.
    """
    modalities = {_modality(pair.images[0]) for pair in pairs if pair.images}
    (only,) = modalities if len(modalities) == 1 else ("",)
    return (only or "image",)


def write_description(
    cases: Sequence[SceneCase], channels: Sequence[str], folder: Path, *, with_voxels: bool = False
) -> Path:
    """Writes `collection.json` alone and says where."""
    path = folder / COLLECTION_FILE
    content = describe(cases, channels, with_voxels=with_voxels)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def export_steps(
    cases: Sequence[SceneCase], channels: Sequence[str], folder: Path
) -> Iterator[float]:
    """Writes voxels and collection file piece by piece.

    Yields:
        the share that is done, after each piece; the collection file comes last.
    """
    total = sum(_bytes_of(case.pair) for case in cases) or 1
    done = 0
    for case in cases:
        target = folder / case.pair.case
        target.mkdir(parents=True, exist_ok=True)
        for node, name in _arrays(case.pair):
            for count in _write_array(node, target / name):
                done += count
                yield min(1.0, done / total)
    write_description(cases, channels, folder, with_voxels=True)
    yield 1.0


def _describe(pair: Pair, channels: Sequence[str], with_voxels: bool) -> dict[str, Any]:
    segmentation = pair.segmentation.GetSegmentation()
    layers = _layers(segmentation)
    names = list(channels) or ["image"]
    if len(names) != len(pair.images):
        names = [f"image_{index}" for index in range(len(pair.images))]
    content: dict[str, Any] = {
        "case": pair.case,
        "images": [
            {
                "channel": channel,
                "file": f"{pair.case}/image_{index}.npy" if with_voxels else None,
                "grid": _grid_entry(volume_grid(node)),
                "to_world": _to_world(node),
            }
            for index, (channel, node) in enumerate(zip(names, pair.images, strict=True))
        ],
        "layers": [
            {
                "file": f"{pair.case}/layer_{index}.npy" if with_voxels else None,
                "grid": _grid_entry(_layer_grid(layer)),
            }
            for index, (layer, _ids) in enumerate(layers)
        ],
        "layers_to_world": _to_world(pair.segmentation),
        "segments": _segments(segmentation, layers),
    }
    if pair.group:
        content["group"] = pair.group
    return content


def _segments(segmentation: Any, layers: Sequence[tuple[Any, tuple[str, ...]]]) -> list[Any]:
    place = {name: index for index, (_layer, ids) in enumerate(layers) for name in ids}
    entries = []
    for index in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(identifier)
        empty = identifier not in place
        entries.append(
            {
                "name": segment.GetName(),
                "layer": place.get(identifier, 0),
                "value": _unused_value(segmentation, layers) if empty else segment.GetLabelValue(),
                "terminology": tag_of(segment, segment.GetTerminologyEntryTagName()) or None,
                "colour": [round(255 * part) for part in segment.GetColor()],
                "empty": empty,
            }
        )
    return entries


def _unused_value(segmentation: Any, layers: Sequence[tuple[Any, tuple[str, ...]]]) -> int:
    """A label value that no segment of the first layer has."""
    ids = layers[0][1] if layers else ()
    return 1 + max((segmentation.GetSegment(name).GetLabelValue() for name in ids), default=0)


def _has_label_map(segmentation: Any) -> bool:
    return bool(segmentation.ContainsRepresentation(labelmap_name()))


def _layers(segmentation: Any) -> list[tuple[Any, tuple[str, ...]]]:
    """The label maps that hold voxels, with the ids of the segments in each."""
    name = labelmap_name()
    members: dict[int, list[str]] = {}
    for index in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(index)
        members.setdefault(segmentation.GetLayerIndex(identifier, name), []).append(identifier)
    found = []
    for layer, ids in sorted(members.items()):
        image = segmentation.GetLayerDataObject(layer, name)
        if image is not None and not image.IsEmpty():
            found.append((image, tuple(ids)))
    return found


def _layer_grid(image: Any) -> Geometry:
    """The grid of a label map, whose first voxel may have any index."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    return grid_of_matrix(to_ras, image.GetDimensions(), image.GetExtent()[::2])


def _grid_entry(grid: Geometry) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "direction": [list(row) for row in grid.direction],
    }


def _to_world(node: Any) -> list[float] | str | None:
    """The parent transform as 16 numbers, RAS, row by row."""
    transform = node.GetParentTransformNode()
    if transform is None:
        return None
    matrix = matrix_between(transform, None)
    if matrix is None:
        return "non-linear"
    return [matrix.GetElement(row, column) for row in range(4) for column in range(4)]


def _modality(node: Any) -> str:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return str(hierarchy.GetItemAttribute(item, "DICOM.Modality")) if item else ""


def _arrays(pair: Pair) -> Iterator[tuple[Any, str]]:
    """Image data of the case, each with the name of its file."""
    for index, node in enumerate(pair.images):
        yield node.GetImageData(), f"image_{index}.npy"
    layers = _layers(pair.segmentation.GetSegmentation())
    for index, (layer, _ids) in enumerate(layers):
        yield layer, f"layer_{index}.npy"


def _bytes_of(pair: Pair) -> int:
    return sum(1024 * image.GetActualMemorySize() for image, _name in _arrays(pair))


def _write_array(image: Any, path: Path) -> Iterator[int]:
    """Writes the scalars as `.npy`, (Z, Y, X) or (C, Z, Y, X), slice by slice."""
    import numpy as np
    from vtk.util.numpy_support import vtk_to_numpy

    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    shape = image.GetDimensions()[::-1]
    components = image.GetNumberOfScalarComponents()
    voxels = scalars.reshape(shape) if components == 1 else scalars.reshape((*shape, components))
    channels = [voxels] if components == 1 else [voxels[..., c] for c in range(components)]
    written = shape if components == 1 else (components, *shape)
    header = {
        "descr": np.lib.format.dtype_to_descr(voxels.dtype),
        "fortran_order": False,
        "shape": written,
    }
    rows = max(1, STEP_BYTES // max(1, int(np.prod(shape[1:])) * voxels.itemsize))
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for channel in channels:
            for start in range(0, shape[0], rows):
                piece = np.ascontiguousarray(channel[start : start + rows])
                stream.write(piece.data)
                yield piece.nbytes

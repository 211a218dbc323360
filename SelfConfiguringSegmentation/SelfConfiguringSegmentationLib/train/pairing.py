"""Which volume of the scene a segmentation belongs to: found, never guessed.

The rules, in this order; what was used is told as a note, and where several volumes fit and
nothing tells them apart, the case gets a problem instead:

1. the volume that the segmentation names as its source geometry;
2. the only volume on the segmentation's own grid;
3. the only volume that overlaps it in space.

A folder of the subject hierarchy tells several apart: the volume in the segmentation's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slicer.i18n import tr as _

GRID_TOLERANCE = 1e-3
"""Allowed difference (mm, or direction cosine) of grids that should be the same."""

IMAGE_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")


@dataclass(frozen=True)
class Problem:
    """Why a case cannot be taken, and what to do; `kind` is a stable word."""

    kind: str
    what: str
    cure: str


@dataclass(frozen=True)
class Pair:
    """A segmentation and its images; no images where a problem says why.

    Args:
        case: unique, usable as a file's name.
        segmentation: the node.
        images: the nodes, one per channel.
        group: the patient, "" where the subject hierarchy names none.
        notes: how the pair was found.
        problem: why there is none.
    """

    case: str
    segmentation: Any
    images: tuple[Any, ...] = ()
    group: str = ""
    notes: tuple[str, ...] = ()
    problem: Problem | None = None


def find_pairs(
    scene: Any, *, folder_item: int = 0, channels: Sequence[str] = ()
) -> tuple[Pair, ...]:
    """Pairs every segmentation of the scene with its volumes.

    Args:
        scene: the MRML scene.
        folder_item: a subject hierarchy item; only what lies below it is looked at.
        channels: names of several channels; each chooses the volume whose name holds it.
    """
    hierarchy = _hierarchy(scene)
    inside = _inside(hierarchy, folder_item)
    volumes = [
        node
        for kind in IMAGE_CLASSES
        for node in _nodes(scene, kind)
        if node.GetClassName() == kind and node.GetImageData() is not None and inside(node)
    ]
    segmentations = [node for node in _nodes(scene, "vtkMRMLSegmentationNode") if inside(node)]
    taken: set[str] = set()
    pairs = []
    for segmentation in segmentations:
        pair = _pair(segmentation, volumes, hierarchy)
        if pair.images and len(channels) > 1:
            pair = _with_channels(pair, volumes, channels, hierarchy)
        first = pair.images[0] if pair.images else segmentation
        name = _unique(_file_name(first.GetName()), taken)
        group = _patient(hierarchy, segmentation) or _patient(hierarchy, first)
        pairs.append(replace(pair, case=name, group=group))
    return tuple(pairs)


def folders(scene: Any) -> tuple[tuple[int, str], ...]:
    """Subject hierarchy items that hold others, with their names: what cases can be taken from."""
    import vtk

    hierarchy = _hierarchy(scene)
    if hierarchy is None:
        return ()
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    found = []
    for index in range(items.GetNumberOfIds()):
        item = items.GetId(index)
        if hierarchy.GetItemDataNode(item) is None and hierarchy.GetNumberOfItemChildren(item):
            found.append((item, hierarchy.GetItemName(item)))
    return tuple(found)


def _pair(segmentation: Any, volumes: Sequence[Any], hierarchy: Any) -> Pair:
    pair = Pair("", segmentation)
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    named = segmentation.GetNodeReference(role)
    if named is not None and named in volumes:
        return replace(pair, images=(named,))
    same = [volume for volume in volumes if _same_grid(segmentation, volume)]
    near = same or [volume for volume in volumes if _overlap(segmentation, volume)]
    how = (
        _("paired with {volume}: the only volume on the segmentation's grid")
        if same
        else _("paired with {volume}: the only volume at its place; the grids differ")
    )
    if len(near) > 1:
        beside = [v for v in near if _folder(hierarchy, v) == _folder(hierarchy, segmentation)]
        if len(beside) == 1 and _folder(hierarchy, segmentation):
            near, how = beside, _("paired with {volume}: the only one in the same folder")
    if len(near) == 1:
        return replace(pair, images=tuple(near), notes=(how.format(volume=near[0].GetName()),))
    if not near:
        return replace(
            pair,
            problem=Problem(
                "no-image",
                _("no volume lies at the place of this segmentation"),
                _("load its scan, or leave this case out"),
            ),
        )
    return replace(
        pair,
        problem=Problem(
            "ambiguous-pair",
            _("several volumes fit: {names}").format(
                names=", ".join(volume.GetName() for volume in near[:5])
            ),
            _(
                "choose the scan as source geometry in the Segment Editor, or put scan and "
                "segmentation into a folder of their own in the Data module"
            ),
        ),
    )


def _with_channels(
    pair: Pair, volumes: Sequence[Any], channels: Sequence[str], hierarchy: Any
) -> Pair:
    """One volume per channel, from those on the grid of the paired one."""
    first = pair.images[0]
    beside = [volume for volume in volumes if _volumes_match(first, volume)]
    folder = _folder(hierarchy, first)
    if folder:
        beside = [volume for volume in beside if _folder(hierarchy, volume) == folder]
    chosen = []
    for channel in channels:
        fitting = [v for v in beside if channel.lower() in v.GetName().lower()]
        if len(fitting) != 1:
            names = ", ".join(volume.GetName() for volume in fitting) or _("none")
            return replace(
                pair,
                problem=Problem(
                    "channels",
                    _("channel {channel}: {names}").format(channel=channel, names=names),
                    _(
                        "exactly one volume on the grid of {volume} must hold the channel's name "
                        "in its own: rename, or resample the volume"
                    ).format(volume=first.GetName()),
                ),
            )
        chosen.append(fitting[0])
    return replace(pair, images=tuple(chosen))


def _same_grid(segmentation: Any, volume: Any) -> bool:
    """Whether the reference geometry kept in the segmentation is the volume's grid."""
    import slicer
    import vtk

    if segmentation.GetTransformNodeID() != volume.GetTransformNodeID():
        return False
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentation.GetSegmentation().GetConversionParameter(name)
    geometry = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(
        text, geometry, False
    ):
        return False
    theirs, ours = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    geometry.GetImageToWorldMatrix(theirs)
    volume.GetIJKToRASMatrix(ours)
    size = volume.GetImageData().GetDimensions()
    extent = geometry.GetExtent()
    return tuple(size) == tuple(
        extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3)
    ) and _close(theirs, ours)


def _volumes_match(first: Any, second: Any) -> bool:
    import vtk

    mine, theirs = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    first.GetIJKToRASMatrix(mine)
    second.GetIJKToRASMatrix(theirs)
    return (
        first.GetTransformNodeID() == second.GetTransformNodeID()
        and first.GetImageData().GetDimensions() == second.GetImageData().GetDimensions()
        and _close(mine, theirs)
    )


def _close(first: Any, second: Any) -> bool:
    return all(
        abs(first.GetElement(i, j) - second.GetElement(i, j)) <= GRID_TOLERANCE
        for i in range(3)
        for j in range(4)
    )


def _overlap(segmentation: Any, volume: Any) -> bool:
    mine, theirs = [0.0] * 6, [0.0] * 6
    segmentation.GetRASBounds(mine)
    volume.GetRASBounds(theirs)
    return all(
        mine[2 * axis] < theirs[2 * axis + 1] and theirs[2 * axis] < mine[2 * axis + 1]
        for axis in range(3)
    )


def _hierarchy(scene: Any) -> Any:
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _nodes(scene: Any, kind: str) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodesByClass(kind)):
        yield scene.GetNthNodeByClass(index, kind)


def _inside(hierarchy: Any, folder_item: int) -> Callable[[Any], bool]:
    if not folder_item or hierarchy is None:
        return lambda node: True
    import vtk

    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(folder_item, items, True)
    below = {items.GetId(index) for index in range(items.GetNumberOfIds())}
    return lambda node: hierarchy.GetItemByDataNode(node) in below


def _folder(hierarchy: Any, node: Any) -> int:
    """The item right above the node, 0 where that is the scene itself."""
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    parent = hierarchy.GetItemParent(item) if item else 0
    return 0 if parent in (0, hierarchy.GetSceneItemID() if hierarchy else 0) else int(parent)


def _patient(hierarchy: Any, node: Any) -> str:
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    return str(hierarchy.GetItemName(patient)) if patient else ""


def _file_name(name: str) -> str:
    """Letters, digits and what is harmless; names of patients' files may hold anything."""
    kept = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name.strip())
    return kept.strip("._")[:60] or "case"


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate.lower() in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate.lower())
    return candidate

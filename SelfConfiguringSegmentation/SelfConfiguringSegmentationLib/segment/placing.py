"""Segments come into the scene: all at once, beside their volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import LabelScheme

from ..scene import GEOMETRY_TOLERANCE, labelmap_name, volume_grid
from ..transforms import matrix_between, require_invertible
from .segments import NewSegment, make_segments, slabs_of
from .steps import to_the_end


def add_segmentation(
    labels: Any,
    scheme: LabelScheme,
    volume_node: Any,
    *,
    segmentation_node: Any = None,
    name: str = "",
    algorithm_name: str = "",
    closed_surface: bool = False,
) -> Any:
    """Makes a segmentation node from a label map (Z, Y, X) on the volume's grid, at once.

    See `make_segments` and `place_segments` for the arguments. `closed_surface` makes surfaces
    too, for the 3D view.

    Raises:
        ImageError: the label map does not fit the volume.
        ModelError: the label map holds a value that the scheme does not know.
    """
    shape = volume_grid(volume_node).shape
    if labels.shape != shape:
        raise ImageError(
            "the label map does not fit the volume",
            expected=f"{shape} voxels (Z, Y, X)",
            found=str(labels.shape),
            cure="segment again without changing the volume meanwhile",
        )
    steps = make_segments(
        slabs_of(labels), shape, scheme, matrix_of(volume_node), algorithm_name=algorithm_name
    )
    segments = to_the_end(steps)
    node = place_segments(segments, volume_node, segmentation_node=segmentation_node, name=name)
    if closed_surface:
        node.CreateClosedSurfaceRepresentation()
    return node


def place_segments(
    segments: Sequence[NewSegment],
    volume_node: Any,
    *,
    segmentation_node: Any = None,
    add: bool = False,
    name: str = "",
    attributes: Mapping[str, str] | None = None,
) -> Any:
    """Puts segments into the scene: a new node, or the one given, beside its volume.

    Args:
        segments: of the volume's grid.
        volume_node: the volume that was segmented.
        segmentation_node: a new node is made without it.
        add: keeps the segments that the node has; they are replaced otherwise.
        name: of a new node; "<volume> segmentation" otherwise.
        attributes: of the node, by name.

    Raises:
        ImageError: the volume is no longer in the scene, or the segments cannot be added.
    """
    import slicer

    scene = volume_node.GetScene()
    if scene is None:
        raise ImageError(
            "the segmented volume is no longer in the scene",
            expected="the volume to stay until the segmentation is finished",
            found="it was removed, or the scene was closed",
            cure="load the volume and segment again",
        )
    add = add and segmentation_node is not None
    if add:
        _move_to(segments, volume_node, segmentation_node)
    known = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode", scene)}
    try:
        node = segmentation_node or scene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", name or f"{volume_node.GetName()} segmentation"
        )
        if not add:
            _place(node, volume_node)
        fill(node, segments, keep=add)
        node.CreateDefaultDisplayNodes()
        for key, value in (attributes or {}).items():
            node.SetAttribute(key, value)
        return node
    except Exception:
        for new in slicer.util.getNodesByClass("vtkMRMLNode", scene):
            if new.GetID() not in known:
                scene.RemoveNode(new)
        raise


def fill(node: Any, segments: Sequence[NewSegment], *, keep: bool = False) -> None:
    """Gives a segmentation node these segments."""
    segmentation = node.GetSegmentation()
    modified = node.StartModify()
    try:
        if not keep:
            segmentation.RemoveAllSegments()
        if segmentation.GetNumberOfSegments() == 0:
            segmentation.SetSourceRepresentationName(labelmap_name())
        names = {
            segmentation.GetNthSegment(index).GetName()
            for index in range(segmentation.GetNumberOfSegments())
        }
        for number, new in enumerate(segments, start=1):
            new.segment.SetName(_free(new.name, names))
            names.add(new.segment.GetName())
            identifier = segmentation.GenerateUniqueSegmentID(f"Segment_{number}")
            segmentation.AddSegment(new.segment, identifier)
    finally:
        node.EndModify(modified)


def matrix_of(volume_node: Any) -> Any:
    """A copy of the volume's matrix from IJK to RAS, as a vtkMatrix4x4."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return matrix


def check_unchanged(volume_node: Any, grid: Geometry) -> None:
    """Refuses a result whose volume has got another grid meanwhile.

    Raises:
        ImageError: it has.
    """
    if difference := grid.mismatch(volume_grid(volume_node), tolerance=GEOMETRY_TOLERANCE):
        raise ImageError(
            "the volume was changed while it was segmented",
            expected="the grid that it had when the segmentation was started",
            found=difference,
            cure="segment again without changing the volume meanwhile",
        )


def _move_to(segments: Sequence[NewSegment], volume_node: Any, segmentation_node: Any) -> None:
    """Segments of a volume under one transform go into a segmentation under another."""
    import vtk

    theirs = segmentation_node.GetParentTransformNode()
    ours = volume_node.GetParentTransformNode()
    if theirs is ours:
        return
    require_invertible(volume_node, ours)
    require_invertible(segmentation_node, theirs)
    between = matrix_between(ours, theirs)
    if between is None:
        raise ImageError(
            "the segments cannot be added to this segmentation",
            expected="volume and segmentation under the same transform, or under linear ones",
            found="a transform that bends",
            cure="make a new segmentation, or harden the transforms first",
        )
    moved = {}
    for new in segments:
        image = new.segment.GetRepresentation(labelmap_name())
        if id(image) not in moved:
            moved[id(image)] = image
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            vtk.vtkMatrix4x4.Multiply4x4(between, matrix, matrix)
            image.SetImageToWorldMatrix(matrix)


def _place(node: Any, volume_node: Any) -> None:
    """Same grid, same transform and same study as the volume."""
    import slicer

    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume_node.GetID())
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    volume_item = hierarchy.GetItemByDataNode(volume_node) if hierarchy else 0
    if volume_item:
        parent = hierarchy.GetItemParent(volume_item)
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, parent)
        else:
            hierarchy.CreateItem(parent, node)


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free

"""Volumes and segmentations of the scene, and files that selfseg reads and writes.

Slicer's world is RAS, files and `selfseg` use LPS: x and y change their sign here and nowhere
else. Everything is done in the volume's own coordinates; parent transforms are not applied, and
the result is put under the same transform as its volume, so both move together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfseg.domain.errors import ImageError, ModelError
from selfseg.domain.geometry import Geometry, Vector3
from selfseg.domain.labels import LabelScheme

from .terminology import look_of

GEOMETRY_TOLERANCE = 1e-3
"""Allowed difference (mm, or direction cosine) of grids that should be the same."""

ALGORITHM_TYPE = "AUTOMATIC"


def volume_grid(volume_node: Any) -> Geometry:
    """The grid of a volume in its own coordinates.

    Raises:
        ImageError: the volume is empty, or its axes are not perpendicular.
    """
    import numpy as np
    import slicer
    import vtk

    image = volume_node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise ImageError(
            f"the volume {volume_node.GetName()!r} is empty",
            expected="a loaded image",
            found="no voxels",
            cure="choose another volume, or load its file again",
        )
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ slicer.util.arrayFromVTKMatrix(matrix)
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    direction = to_lps[:3, :3] / spacing
    width, height, depth = image.GetDimensions()
    return Geometry(
        shape=(depth, height, width),
        spacing=_vector(spacing[::-1]),
        origin=_vector(to_lps[:3, 3]),
        direction=(_vector(direction[0]), _vector(direction[1]), _vector(direction[2])),
    )


def _vector(values: Any) -> Vector3:
    first, second, third = (float(value) for value in values)
    return first, second, third


def write_case(volume_nodes: Sequence[Any], folder: Path, identifier: str = "case") -> list[Path]:
    """Writes the channels of one case as uncompressed NRRD, one file per volume.

    Returns:
        `<identifier>_0000.nrrd`, `<identifier>_0001.nrrd`, ...

    Raises:
        ImageError: no volume, an unusable one, or volumes on different grids.
    """
    import numpy as np
    import SimpleITK as sitk
    import slicer

    if not volume_nodes:
        raise ImageError(
            "no volume was given", expected="at least one", found="none", cure="choose a volume"
        )
    grids = [volume_grid(node) for node in volume_nodes]
    paths = []
    for number, (node, grid) in enumerate(zip(volume_nodes, grids, strict=True)):
        if difference := grids[0].mismatch(grid, tolerance=GEOMETRY_TOLERANCE):
            raise ImageError(
                f"{node.GetName()!r} does not lie on the grid of {volume_nodes[0].GetName()!r}",
                expected="channels of one case on the same grid",
                found=difference,
                cure="resample it (in Slicer: Resample Scalar/Vector/DWI Volume)",
            )
        voxels = slicer.util.arrayFromVolume(node)
        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels), isVector=voxels.ndim == 4)
        image.SetSpacing(grid.spacing[::-1])
        image.SetOrigin(grid.origin)
        image.SetDirection([cosine for row in grid.direction for cosine in row])
        path = folder / f"{identifier}_{number:04d}.nrrd"
        sitk.WriteImage(image, str(path), useCompression=False)
        paths.append(path)
    return paths


def read_label_map(path: Path, grid: Geometry) -> Any:
    """Reads a label map (Z, Y, X) that must lie on `grid`.

    Raises:
        ImageError: it does not.
    """
    import numpy as np
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    direction = np.reshape(image.GetDirection(), (3, 3))
    found = Geometry(
        shape=image.GetSize()[::-1],
        spacing=image.GetSpacing()[::-1],
        origin=image.GetOrigin(),
        direction=(_vector(direction[0]), _vector(direction[1]), _vector(direction[2])),
    )
    if difference := grid.mismatch(found, tolerance=GEOMETRY_TOLERANCE):
        raise ImageError(
            "the label map does not lie on the grid of the volume",
            expected="the grid that the volume had when the segmentation was started",
            found=difference,
            cure="segment again without changing the volume meanwhile",
            path=path,
        )
    return sitk.GetArrayFromImage(image)


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
    """Makes a segmentation node from a label map, or fills the one given.

    Every structure of the scheme becomes a segment, also where it was not found. Plain labels
    share one layer; the regions of a region model overlap and get a layer each.

    Args:
        labels: (Z, Y, X) label values on the volume's grid.
        scheme: what the values mean.
        volume_node: the volume that was segmented.
        segmentation_node: its segments are replaced; a new node is made without it.
        name: of a new node; "<volume> segmentation" otherwise.
        algorithm_name: stored with each segment, and exported to DICOM.
        closed_surface: makes surfaces too, for the 3D view.

    Raises:
        ImageError: the label map does not fit the volume.
        ModelError: the label map holds a value that the scheme does not know.
    """
    import slicer

    # Everything that can fail comes before the scene is touched.
    segments = _segments(labels, scheme, volume_node, algorithm_name)
    scene = volume_node.GetScene()
    if scene is None:
        raise ImageError(
            "the segmented volume is no longer in the scene",
            expected="the volume to stay until the segmentation is finished",
            found="it was removed, or the scene was closed",
            cure="load the volume and segment again",
        )
    known = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode", scene)}
    try:
        node = segmentation_node or scene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", name or f"{volume_node.GetName()} segmentation"
        )
        node.CreateDefaultDisplayNodes()
        _place(node, volume_node)
        _fill(node.GetSegmentation(), segments)
        if closed_surface:
            node.CreateClosedSurfaceRepresentation()
        return node
    except Exception:
        for new in slicer.util.getNodesByClass("vtkMRMLNode", scene):
            if new.GetID() not in known:
                scene.RemoveNode(new)
        raise


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


def _fill(segmentation: Any, segments: Sequence[tuple[str, Any]]) -> None:
    import slicer

    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(
        slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    )
    for identifier, segment in segments:
        segmentation.AddSegment(segment, identifier)


def _segments(
    labels: Any, scheme: LabelScheme, volume_node: Any, algorithm_name: str
) -> list[tuple[str, Any]]:
    """Segments outside any scene, in the scheme's order."""
    import numpy as np
    import slicer
    import vtk

    shape = volume_grid(volume_node).shape
    if labels.shape != shape:
        raise ImageError(
            "the label map does not fit the volume",
            expected=f"{shape} voxels (Z, Y, X)",
            found=str(labels.shape),
            cure="segment again without changing the volume meanwhile",
        )
    unknown = set(np.unique(labels).tolist()) - scheme.allowed_values
    if unknown:
        raise ModelError(
            "the label map holds values that the model's description does not name",
            expected=str(sorted(scheme.allowed_values)),
            found=str(sorted(unknown)),
            cure="train the model again: its plan and its weights do not belong together",
        )
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    representation = (
        slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    )
    kind = np.uint8 if max(scheme.allowed_values) < 256 else np.int16
    shared = None if scheme.has_regions else _layer(labels.astype(kind), matrix)
    segments = []
    for index, label in enumerate(scheme.foreground):
        look = look_of(label, index)
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*(channel / 255.0 for channel in look.colour))
        if look.terminology:
            segment.SetTerminology(look.terminology)
        segment.SetTag("DICOM.SegmentAlgorithmType", ALGORITHM_TYPE)
        if algorithm_name:
            segment.SetTag("DICOM.SegmentAlgorithmName", algorithm_name)
        if shared is None:
            segment.SetLabelValue(1)
            mask = np.isin(labels, label.values).astype(np.uint8)
            segment.AddRepresentation(representation, _layer(mask, matrix))
        else:
            segment.SetLabelValue(label.values[0])
            segment.AddRepresentation(representation, shared)
        segments.append((f"Segment_{index + 1}", segment))
    return segments


def _layer(labels: Any, ijk_to_ras: Any) -> Any:
    import slicer
    import vtk
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(labels.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(labels.dtype), 1)
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    scalars.reshape(labels.shape)[:] = labels
    copy = vtk.vtkMatrix4x4()
    copy.DeepCopy(ijk_to_ras)
    image.SetImageToWorldMatrix(copy)
    return image

"""Segmentation nodes for tests: cropped and overlapping label maps, as the Segment Editor leaves
them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

COLOURS = ((200, 100, 50), (10, 200, 30), (90, 20, 250), (128, 128, 0))


def cropped_image(labels: np.ndarray, ijk_to_ras: np.ndarray) -> Any:
    """A label map as an oriented image that is no larger than what is in it."""
    image = slicer.vtkOrientedImageData()
    found = np.argwhere(labels)
    if len(found) == 0:
        return image
    low, high = found.min(axis=0), found.max(axis=0)
    part = labels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    image.SetExtent(*(int(v) for axis in (2, 1, 0) for v in (low[axis], high[axis])))
    image.AllocateScalars(get_vtk_array_type(labels.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(part.shape)[:] = part
    matrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(matrix, ijk_to_ras)
    image.SetImageToWorldMatrix(matrix)
    return image


def make_segmentation(
    scene: Any,
    volume: Any,
    masks: Mapping[str, np.ndarray],
    *,
    name: str = "segmentation",
    shared: bool = False,
    terminology: Mapping[str, str] | None = None,
) -> Any:
    """A segmentation on the grid of a volume, one segment per mask.

    Args:
        shared: puts all into one label map, with the values 1, 2, ...; otherwise each has its
            own, with the value 1.
    """
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    place = slicer.util.arrayFromVTKMatrix(matrix)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume.GetID())
    kind = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(kind)
    joint = None
    if shared:
        whole = np.zeros(next(iter(masks.values())).shape, np.uint8)
        for index, mask in enumerate(masks.values()):
            whole[mask > 0] = index + 1
        joint = cropped_image(whole, place)
    for index, (title, mask) in enumerate(masks.items()):
        segment = slicer.vtkSegment()
        segment.SetName(title)
        segment.SetColor(*(part / 255 for part in COLOURS[index % len(COLOURS)]))
        segment.SetLabelValue(index + 1 if shared else 1)
        if terminology and title in terminology:
            segment.SetTerminology(terminology[title])
        segment.AddRepresentation(kind, joint or cropped_image(mask.astype(np.uint8), place))
        segmentation.AddSegment(segment, f"Segment_{index + 1}")
    return node

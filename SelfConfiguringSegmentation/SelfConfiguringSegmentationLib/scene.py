"""Volumes and segmentations of the scene, and the grids of selfseg.

Slicer's world is RAS, files and `selfseg` use LPS: x and y change their sign here and nowhere
else. Everything is done in the volume's own coordinates; parent transforms are not applied, and
the result is put under the same transform as its volume, so both move together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry

GEOMETRY_TOLERANCE = 1e-3
"""Allowed difference (mm, or direction cosine) of grids that should be the same."""


def volume_grid(volume_node: Any) -> Geometry:
    """The grid of a volume in its own coordinates.

    Raises:
        ImageError: the volume is empty, or its axes are not perpendicular.
    """
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
    return grid_of_matrix(slicer.util.arrayFromVTKMatrix(matrix), image.GetDimensions())


def require_scan(node: Any) -> None:
    """Refuses what no intensities can be read from: other nodes, label maps, tensors.

    Raises:
        ImageError: the node is no volume of intensities.
    """
    if not hasattr(node, "IsA") or not node.IsA("vtkMRMLVolumeNode"):
        kind = node.GetClassName() if hasattr(node, "GetClassName") else type(node).__name__
        raise ImageError(
            "this is no volume",
            expected="a volume node of the scene",
            found="none" if node is None else kind,
            cure="choose a volume",
        )
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ImageError(
            f"{node.GetName()!r} is a label map",
            expected="a scan, with intensities",
            found="numbers of segments",
            cure="choose the scan; or convert it in the Volumes module, if its values are "
            "intensities after all",
        )
    image = node.GetImageData()
    # `volume_grid` has words for a volume without a size.
    sized = image is not None and 0 not in image.GetDimensions()
    if sized and image.GetPointData().GetScalars() is None:
        raise ImageError(
            f"the volume {node.GetName()!r} holds no intensities",
            expected="one number, or a few channels, per voxel",
            found="tensors" if image.GetPointData().GetTensors() is not None else "no voxels",
            cure="choose another volume; of diffusion tensors, a map that is computed of them",
        )


def grid_of_matrix(
    ijk_to_ras: Any, dimensions: Sequence[int], start: Sequence[int] = (0, 0, 0)
) -> Geometry:
    """The grid whose voxels (I, J, K) from `start` on lie where the 4 x 4 matrix says.

    Raises:
        ImageError: its axes are not perpendicular.
    """
    return Geometry.from_affine(ijk_to_ras, dimensions[::-1], start=start, ras=True)


def matrix_of_grid(grid: Geometry) -> Any:
    """From voxel indices (I, J, K) to RAS, as vtkMatrix4x4."""
    import numpy as np
    import slicer

    return slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(grid.affine))


def labelmap_name() -> str:
    """What Slicer calls the representation of segments as voxels."""
    import slicer

    name: str = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    return name


def tag_of(segment: Any, name: str) -> str:
    """A tag of a segment, "" where it has none."""
    import vtk

    value = vtk.mutable("")
    return str(value) if segment.GetTag(name, value) else ""

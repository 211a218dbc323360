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
from selfseg.domain.labels import LabelScheme

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

    See `segment.segments.make_segments` and `segment.placing.place_segments` for the
    arguments. `closed_surface` makes surfaces too, for the 3D view.

    Raises:
        ImageError: the label map does not fit the volume.
        ModelError: the label map holds a value that the scheme does not know.
    """
    # The rooms of the pages stand on this floor, so it cannot import them when it is imported.
    from .segment.placing import matrix_of, place_segments
    from .segment.segments import make_segments, slabs_of
    from .segment.steps import to_the_end

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

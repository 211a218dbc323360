"""A region of interest as a box of voxels."""

from __future__ import annotations

import itertools
from typing import Any

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import VoxelRanges

from ..scene import volume_grid
from ..transforms import require_invertible


def voxel_box(roi_node: Any, volume_node: Any) -> VoxelRanges:
    """The smallest box of the image that holds every voxel centre of the region.

    Parent transforms of both, tilted regions and tilted images are taken into account; a region
    that is tilted against the image is enclosed.

    Raises:
        ImageError: the region lies outside of the image, has no size, or a transform cannot be
            inverted.
    """
    import numpy as np
    import slicer
    import vtk

    shape = volume_grid(volume_node).shape
    require_invertible(roi_node, roi_node.GetParentTransformNode())
    require_invertible(volume_node, volume_node.GetParentTransformNode())
    to_local = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        roi_node.GetParentTransformNode(), volume_node.GetParentTransformNode(), to_local
    )
    ras_to_ijk = vtk.vtkMatrix4x4()
    volume_node.GetRASToIJKMatrix(ras_to_ijk)
    centre, size = np.zeros(3), np.array(roi_node.GetSize())
    roi_node.GetCenter(centre)
    axes = np.zeros((3, 3))
    for index in range(3):
        roi_node.GetAxis(index, axes[index])
    corners = []
    for signs in itertools.product((-0.5, 0.5), repeat=3):
        corner = centre + (np.array(signs) * size) @ axes
        local = to_local.TransformPoint(corner)
        corners.append(ras_to_ijk.MultiplyPoint((*local, 1.0))[:3])
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    if not np.isfinite((low, high)).all():
        raise ImageError(
            f"the region {roi_node.GetName()!r} has no valid place",
            expected="a centre and a size in mm",
            found=f"{tuple(centre)}, {tuple(size)}",
            cure="place the region again, or choose none",
        )
    # A voxel's centre on the region's face belongs to it, whatever the last bits say.
    first = np.maximum(np.ceil(low[::-1] - 1e-6), 0).astype(int)
    stop = np.minimum(np.floor(high[::-1] + 1e-6) + 1, shape).astype(int)
    if size.min() <= 0 or any(first >= stop):
        raise ImageError(
            f"the region {roi_node.GetName()!r} holds no voxel of {volume_node.GetName()!r}",
            expected="a region that overlaps the volume",
            found="one without a size" if size.min() <= 0 else "one beside it",
            cure="place the region over the volume, or choose none",
        )
    (z, y, x) = ((int(a), int(b)) for a, b in zip(first, stop, strict=True))
    return z, y, x

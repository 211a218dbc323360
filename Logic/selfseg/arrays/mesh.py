"""Closed surfaces of structures: triangles around the voxels of a mask, their stairs smoothed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from skimage.measure import marching_cubes

from ..domain.mesh import Mesh

SMOOTHING_STEPS = 10
"""Steps of Taubin's smoothing, each a shrinking and a swelling one."""

_SHRINK, _SWELL = 0.5, -0.53
"""G. Taubin, A signal processing approach to fair surface design, SIGGRAPH 1995: a pass band of
1/shrink + 1/swell, about 0.1, so that the size stays."""


def surface_of(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], *, smooth: int = SMOOTHING_STEPS
) -> Mesh | None:
    """The surface of a structure; None of an empty one.

    It passes half a voxel outside the outermost voxel centres, before smoothing.

    Args:
        mask: (Z, Y, X).
        affine: (4, 4), from the index (x, y, z, 1) to mm.
        smooth: steps; 0 leaves the stairs.
    """
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    (box,) = found
    padded = np.pad(mask[box], 1).astype(np.float32)
    corners, triangles, _, _ = marching_cubes(padded, 0.5)  # type: ignore[no-untyped-call]
    corners = corners.astype(np.float64) - 1 + [part.start for part in box]
    points = corners[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    mesh = Mesh(points, triangles.astype(np.int64))
    if mesh.volume < 0:  # a reflecting affine, as of most scans
        mesh = Mesh(points, mesh.triangles[:, ::-1].copy())
    return _smoothed(mesh, smooth) if smooth else mesh


def _smoothed(mesh: Mesh, steps: int) -> Mesh:
    mean = _mean_of_neighbours(mesh)
    points = mesh.points
    for _ in range(steps):
        for share in (_SHRINK, _SWELL):
            points = points + share * (mean @ points - points)
    return Mesh(points, mesh.triangles)


def _mean_of_neighbours(mesh: Mesh) -> Any:
    count = len(mesh.points)
    first = mesh.triangles[:, [0, 1, 2]].ravel()
    second = mesh.triangles[:, [1, 2, 0]].ravel()
    rows, columns = np.concatenate((first, second)), np.concatenate((second, first))
    joined = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    joined.data[:] = 1.0  # an edge between two triangles is there twice
    degrees = np.asarray(joined.sum(axis=1)).ravel()
    return sparse.diags(1.0 / np.maximum(degrees, 1.0)) @ joined

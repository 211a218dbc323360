"""Distances between the surfaces of two masks: HD95, surface Dice, mean surface distance.

The surface is the one that marching cubes (Lorensen and Cline 1987) draws between voxel
centres: each block of 2 x 2 x 2 voxels that is neither empty nor full holds one surface
element, which lies at the block's middle and weighs as much as its triangles have area. In a
one-slice image blocks are 2 x 2 pixels and elements are pieces of contour that weigh their
length. Nikolov et al. (arXiv:1809.04430) define surface Dice on these elements, and the
numbers here are those of their program; docs/reference/metrics.md has all definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from ..domain.geometry import Vector3
from .bounding_box import bounding_box

Floats = NDArray[np.float64]

NEAR = 8.0
"""Elements closer than this many voxel widths (of the widest axis) are found in a search tree."""

VOXELS_PER_QUERY = 2000
"""A distance map of this many voxels costs about as much as one far search in the tree
(measured: 0.12 microseconds a voxel, up to 0.9 milliseconds a search)."""


@dataclass(frozen=True)
class SurfaceDistances:
    """How far every surface element of each mask is from the other mask's surface.

    Distances are millimetres, sorted, and infinite where the other mask is empty; areas (mm²,
    in a one-slice image lengths in mm) are in the same order. An empty mask has no elements.
    """

    reference_distances: Floats
    reference_areas: Floats
    prediction_distances: Floats
    prediction_areas: Floats

    @property
    def hd95(self) -> float | None:
        """`hausdorff(95)`: the robust Hausdorff distance in mm."""
        return self.hausdorff(95.0)

    def hausdorff(self, percent: float) -> float | None:
        """The distance within which `percent` of the area of both surfaces lies, in mm.

        For each mask, the smallest distance that at least this share of its surface's area
        does not exceed; of the two, the larger. 100 gives the Hausdorff distance. None where
        a mask is empty.
        """
        if not self._both:
            return None
        return max(
            _percentile(self.reference_distances, self.reference_areas, percent),
            _percentile(self.prediction_distances, self.prediction_areas, percent),
        )

    def surface_dice(self, tolerance_mm: float) -> float | None:
        """Share of both surfaces' area that is at most `tolerance_mm` from the other surface.

        0 where only one mask is empty, None where both are.
        """
        whole = self.reference_areas.sum() + self.prediction_areas.sum()
        if whole == 0:
            return None
        close = (
            self.reference_areas[self.reference_distances <= tolerance_mm].sum()
            + self.prediction_areas[self.prediction_distances <= tolerance_mm].sum()
        )
        return float(close / whole)

    @property
    def mean_surface_distance(self) -> float | None:
        """Mean over the area of both surfaces together, in mm; None where a mask is empty."""
        if not self._both:
            return None
        whole = self.reference_areas.sum() + self.prediction_areas.sum()
        weighted = (
            self.reference_areas @ self.reference_distances
            + self.prediction_areas @ self.prediction_distances
        )
        return float(weighted / whole)

    @property
    def _both(self) -> bool:
        return bool(self.reference_areas.size and self.prediction_areas.size)


def surface_distances(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Vector3
) -> SurfaceDistances:
    """Measures the surfaces of two masks against each other.

    Outside the image is background, so a mask that touches the border is closed there. An
    image of one slice is measured in the plane, and its through-plane spacing does not matter.

    Args:
        reference: (Z, Y, X).
        prediction: (Z, Y, X).
        spacing: mm (Z, Y, X).

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {prediction.shape}")
    sampling = np.array(spacing, dtype=np.float64)
    start, stop = bounding_box(reference | prediction)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    pair = [reference[box], prediction[box]]
    if reference.shape[0] == 1:
        sampling = sampling[1:]
        pair = [mask[0] for mask in pair]
    areas = _element_areas(tuple(sampling.tolist()))
    codes = [_block_codes(mask) for mask in pair]
    full = len(areas) - 1
    places = [np.argwhere((code > 0) & (code < full)) for code in codes]
    weights = [areas[code[tuple(at.T)]] for code, at in zip(codes, places, strict=True)]
    grid = codes[0].shape
    forward = _sorted(_distances(places[0], places[1], sampling, grid), weights[0])
    backward = _sorted(_distances(places[1], places[0], sampling, grid), weights[1])
    return SurfaceDistances(*forward, *backward)


def _block_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One bit per voxel of every block of two voxels an axis, the last axis in the lowest bit."""
    code: NDArray[np.uint8] = np.pad(mask, 1).view(np.uint8)
    for axis in reversed(range(mask.ndim)):
        along = np.moveaxis(code, axis, 0)
        bits = np.uint8(1 << (mask.ndim - 1 - axis))
        code = np.moveaxis(along[:-1] | along[1:] << bits, 0, axis)
    return code


def _distances(
    at: NDArray[np.intp], targets: NDArray[np.intp], sampling: Floats, grid: tuple[int, ...]
) -> Floats:
    """Millimetres from each of `at` (N, D) to the nearest of `targets` (M, D), grid indices.

    Surfaces of a useful prediction are close to each other, and searching a tree takes time by
    the area. Where many elements are far from all targets, a tree is slow, and a map of the
    whole grid is made, which takes time by the volume, however odd the masks.
    """
    if not len(at) or not len(targets):
        return np.full(len(at), np.inf)
    tree = cKDTree(targets * sampling, balanced_tree=False)
    limit = NEAR * float(sampling.max())
    nearest = tree.query(at * sampling, distance_upper_bound=limit)[1]
    far = np.flatnonzero(nearest == len(targets))
    if len(far) * VOXELS_PER_QUERY <= np.prod(grid):
        nearest[far] = tree.query(at[far] * sampling)[1] if len(far) else far
        found = targets[nearest]
    else:
        surface = np.ones(grid, dtype=bool)
        surface[tuple(targets.T)] = False
        indices = ndimage.distance_transform_edt(
            surface, sampling=sampling, return_distances=False, return_indices=True
        )
        found = indices[(slice(None), *at.T)].T
    # Indices are subtracted before they become millimetres: equal offsets give equal distances.
    distances: Floats = np.sqrt(np.sum(((found - at) * sampling) ** 2, axis=1))
    return distances


@cache
def _element_areas(spacing: tuple[float, ...]) -> Floats:
    """Weight of the surface element of every block code, for 2 or 3 spacings (mm)."""
    if len(spacing) == 2:
        return _contour_lengths(*spacing)
    z, y, x = spacing
    codes, vectors = _triangles()
    areas: Floats = np.zeros(256)
    np.add.at(areas, codes, np.linalg.norm(vectors * (y * x, z * x, z * y), axis=1))
    return areas


def _contour_lengths(y: float, x: float) -> Floats:
    corner = np.hypot(y, x) / 2
    # Bits of a code: (0, 0), (0, 1), (1, 0), (1, 1) from the lowest to the highest.
    lengths = np.full(16, corner)
    lengths[[0b0000, 0b1111]] = 0.0
    lengths[[0b0011, 0b1100]] = x
    lengths[[0b0101, 0b1010]] = y
    lengths[[0b0110, 0b1001]] = 2 * corner
    return lengths


@cache
def _triangles() -> tuple[NDArray[np.intp], Floats]:
    """Triangles of every block code: their codes, and area vectors (N, 3) at spacing 1.

    A block and its complement get the same surface, that of the one with fewer voxels in the
    mask: so the surface does not depend on which side is called inside.
    """
    codes, vectors = [], []
    for code in range(1, 255):
        fewer = code if code.bit_count() <= 4 else 255 - code
        block = np.array([fewer >> bit & 1 for bit in range(8)], dtype=np.float32).reshape(2, 2, 2)
        corners, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
            block, 0.5, method="lorensen"
        )
        a, b, c = (corners[faces[:, i]].astype(np.float64) for i in range(3))
        codes += [code] * len(faces)
        vectors.append(np.cross(b - a, c - a) / 2)
    return np.array(codes, dtype=np.intp), np.concatenate(vectors)


def _sorted(distances: Floats, areas: Floats) -> tuple[Floats, Floats]:
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]


def _percentile(distances: Floats, areas: Floats, percent: float) -> float:
    share = np.cumsum(areas) / np.sum(areas)
    return float(distances[min(int(np.searchsorted(share, percent / 100)), len(distances) - 1)])

"""Rotation, scaling and elastic deformation: drawing them, and sampling along them in torch.

Both families sample by these functions, on whichever device the tensors lie. A patch is sampled
from a wider box around it with the same centre, so that nothing but the border of the image
leaves empty corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...domain.case import FloatArray
from .policy import Augmentation

ELONGATED_2D = 1.5
"""A 2D patch with a longer ratio of sides is turned by small angles only."""

SLICE_WISE_ABOVE = 3.0
"""A 3D patch whose largest axis is this many times its first is turned slice by slice."""

CUT_OFF = 3.0
"""Control points are moved by at most this many standard deviations."""

LABELS_AT_ONCE = 8
"""So many labels are interpolated in one call: more would fill memory, fewer cost time."""


@dataclass(frozen=True)
class Elastic:
    """A deformation: `displacements` (k, *points) of the control points in voxels of the patch.

    Control points are `spacing` (k,) voxels apart; the first lies one spacing before the
    patch's first voxel.
    """

    displacements: FloatArray
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class SpatialDraw:
    """Deformation, rotation and scaling around the centre of a patch, on its last k axes.

    k is 2 where a 3D patch is changed slice by slice. `matrix` (k, k) takes offsets from the
    centre in the result, displaced by `elastic`, to offsets in the source.
    """

    matrix: FloatArray
    elastic: Elastic | None = None

    def source_size(self, patch_size: Sequence[int]) -> tuple[int, ...]:
        """Voxels per axis of the box that the patch is sampled from."""
        first = len(patch_size) - len(self.matrix)
        reach = np.array(patch_size[first:], np.float32)
        if self.elastic is not None:
            # A B-spline stays between the lowest and the highest of its control points.
            furthest = np.abs(self.elastic.displacements).reshape(len(reach), -1).max(axis=1)
            reach = reach + 2 * furthest
        extent = np.abs(self.matrix) @ reach
        return tuple(patch_size[:first]) + tuple(
            # Even differences keep the centres of both boxes on the same point; the quarter is
            # for the neighbours that interpolation looks at.
            n if abs(wide - n) < 1e-3 else n + 2 * max(0, int(np.ceil((wide - n) / 2 + 0.25)))
            for n, wide in zip(patch_size[first:], extent, strict=True)
        )


def is_slice_wise(patch_size: Sequence[int]) -> bool:
    """Whether a patch is so flat that it is turned and scaled slice by slice (RECIPE)."""
    return len(patch_size) == 3 and max(patch_size) > SLICE_WISE_ABOVE * patch_size[0]


def draw_spatial(
    policy: Augmentation,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    rng: np.random.Generator,
) -> SpatialDraw | None:
    """Draws rotation, scaling and deformation; None leaves a sample where it is.

    Args:
        policy: probabilities and ranges.
        patch_size: voxels per axis, two or three.
        spacing: mm per axis.
        rng: the sample's own generator.
    """
    turn = rng.random() < policy.rotation
    zoom = rng.random() < policy.scaling
    bend = policy.elastic > 0 and rng.random() < policy.elastic
    if not turn and not zoom and not bend:
        return None
    slice_wise = is_slice_wise(patch_size)
    first = 1 if slice_wise else 0
    size, spacing = patch_size[first:], spacing[first:]
    matrix: FloatArray = np.eye(len(size), dtype=np.float32)
    if turn and len(size) == 3:
        limit = np.deg2rad(policy.rotation_3d_degrees)
        for axis, angle in enumerate(rng.uniform(-limit, limit, 3)):
            matrix = matrix @ _rotation_3d(angle, axis)
    elif turn:
        elongated = not slice_wise and max(size) > ELONGATED_2D * min(size)
        degrees = policy.rotation_2d_elongated_degrees if elongated else policy.rotation_2d_degrees
        angle = np.deg2rad(rng.uniform(-degrees, degrees))
        matrix = _rotation_3d(angle, 0)[1:, 1:]
    if zoom:
        matrix = matrix * np.float32(rng.uniform(*policy.scaling_range))
    elastic = _draw_elastic(policy, size, spacing, rng) if bend else None
    return SpatialDraw(matrix, elastic)


def sampling_grid(
    draw: SpatialDraw,
    patch_size: Sequence[int],
    source_size: Sequence[int],
    device: torch.device | None = None,
) -> Tensor:
    """Where each voxel of the patch is sampled, (1, *last k axes, k), as `grid_sample` wants it.

    Args:
        draw: what to do.
        patch_size: voxels per axis of the result.
        source_size: voxels per axis of the box around it.
        device: where to compute.
    """
    k = len(draw.matrix)
    size, source = tuple(patch_size[-k:]), np.array(source_size[-k:], np.float32)
    # Offsets become -1..1 between the outer edges of the outer voxels, x before y before z.
    normalised = 2 / source[:, None] * draw.matrix
    theta = np.zeros((1, k, k + 1), np.float32)
    theta[0, :, :k] = (normalised * np.array(size, np.float32) / 2)[::-1, ::-1]
    grid = functional.affine_grid(
        torch.from_numpy(theta).to(device), [1, 1, *size], align_corners=False
    )
    if draw.elastic is not None:
        field = torch.from_numpy(draw.elastic.displacements).to(device)
        for axis, (n, apart) in enumerate(zip(size, draw.elastic.spacing, strict=True)):
            weights = torch.from_numpy(spline_weights(n, apart, field.shape[axis + 1])).to(device)
            field = torch.tensordot(weights, field, ([1], [axis + 1])).movedim(0, axis + 1)
        moved = torch.tensordot(torch.from_numpy(normalised).to(device), field, ([1], [0]))
        grid += moved.flip(0).movedim(0, -1)
    return grid


def spline_weights(voxels: int, apart: float, points: int) -> FloatArray:
    """Weight (voxels, points) of every control point of a cubic B-spline at every voxel."""
    position = np.arange(voxels) / apart
    first = np.minimum(position.astype(int), points - 4)
    u = position - first
    weights = np.zeros((voxels, points), np.float32)
    pieces = (
        (1 - u) ** 3,
        3 * u**3 - 6 * u**2 + 4,
        -3 * u**3 + 3 * u**2 + 3 * u + 1,
        u**3,
    )
    for step, piece in enumerate(pieces):
        weights[np.arange(voxels), first + step] = piece / 6
    return weights


def sample_linearly(image: Tensor, grid: Tensor) -> Tensor:
    """Samples (..., *source) to (..., *patch); what lies outside is 0."""
    k = grid.shape[-1]
    source = image.shape[-k:]
    folded = image.reshape(1, -1, *source)  # slices, where there are some, as channels
    sampled = functional.grid_sample(folded, grid, "bilinear", "zeros", align_corners=False)
    return sampled.reshape(*image.shape[:-k], *grid.shape[1:-1])


def sample_labels(labels: Tensor, values: Sequence[int], grid: Tensor) -> Tensor:
    """Samples a label map: linearly per value, the strongest value wins; 0 outside.

    Args:
        labels: (*source) int16.
        values: that the map holds.
        grid: see `sampling_grid`.
    """
    shape = (*labels.shape[: labels.ndim - grid.shape[-1]], *grid.shape[1:-1])
    result = torch.zeros(shape, dtype=labels.dtype, device=labels.device)
    others = [value for value in values if value != 0]
    best = torch.zeros(shape, device=labels.device)
    total = torch.zeros(shape, device=labels.device)
    for start in range(0, len(others), LABELS_AT_ONCE):
        group = others[start : start + LABELS_AT_ONCE]
        heads = torch.empty((len(group), *labels.shape), device=labels.device)
        for head, value in zip(heads, group, strict=True):
            torch.eq(labels, value, out=head)
        for share, value in zip(sample_linearly(heads, grid), group, strict=True):
            result.masked_fill_(share > best, value)
            torch.maximum(best, share, out=best)
            total += share
    return result.masked_fill_(best <= 1 - total, 0)


def values_in(labels: NDArray[np.int16]) -> tuple[int, ...]:
    """The values that a label map holds, sorted."""
    if labels.size == 0 or labels.min() < 0:
        return tuple(np.unique(labels).tolist())
    return tuple(np.flatnonzero(np.bincount(labels.ravel())).tolist())  # 3 times as fast


def _draw_elastic(
    policy: Augmentation, size: Sequence[int], spacing: Sequence[float], rng: np.random.Generator
) -> Elastic:
    """Random displacements; all lengths shrink together where the patch is shorter than them."""
    extents = [n * mm for n, mm in zip(size, spacing, strict=True)]
    between = min(policy.elastic_spacing_mm, max(extents))  # mm
    std = policy.elastic_std_mm * between / policy.elastic_spacing_mm
    apart = tuple(between / mm for mm in spacing)  # voxels
    # Four points act on every voxel: one before it, three behind.
    points = tuple(int((n - 1) / voxels) + 4 for n, voxels in zip(size, apart, strict=True))
    normal = np.clip(rng.standard_normal((len(size), *points)), -CUT_OFF, CUT_OFF)
    per_mm = np.reshape(1 / np.array(spacing), (-1, *(1,) * len(size)))
    return Elastic((normal * std * per_mm).astype(np.float32), apart)


def _rotation_3d(angle: float, axis: int) -> FloatArray:
    """Rotation matrix (3, 3) about one axis, in radians."""
    matrix = np.eye(3)
    i, j = (k for k in range(3) if k != axis)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix.astype(np.float32)

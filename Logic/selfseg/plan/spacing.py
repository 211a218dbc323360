"""Grid decisions: target spacing, axis order, resampled sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..domain.geometry import Shape3, Vector3
from .constants import ANISOTROPY, COARSE_AXIS_MARGIN, COARSE_AXIS_PERCENTILE


@dataclass(frozen=True)
class TargetSpacing:
    """Spacing (mm, native axis order) that all cases are resampled to.

    `refined_axis` is the anisotropic axis that got a finer spacing than its median
    `median[refined_axis]`, None where every axis has its median.
    """

    spacing: Vector3
    median: Vector3
    refined_axis: int | None


def target_spacing(spacings: Sequence[Vector3], shapes: Sequence[Shape3]) -> TargetSpacing:
    """The per-axis median, made finer along one axis of thick, few slices.

    The median of thick-slice data would blur the cases with thinner slices; the 10th
    percentile keeps them.

    Args:
        spacings: mm, one (Z, Y, X) per case.
        shapes: voxels after cropping, one (Z, Y, X) per case.
    """
    all_spacings = np.asarray(spacings, dtype=np.float64)
    median = np.percentile(all_spacings, 50, axis=0)
    size = np.percentile(np.asarray(shapes, dtype=np.float64), 50, axis=0)

    coarse = int(np.argmax(median))
    others = [axis for axis in range(3) if axis != coarse]
    coarsest_other = max(median[axis] for axis in others)
    thick = median[coarse] > ANISOTROPY * coarsest_other
    few = size[coarse] * ANISOTROPY < min(size[axis] for axis in others)

    target = median.copy()
    if thick and few:
        finer = np.percentile(all_spacings[:, coarse], COARSE_AXIS_PERCENTILE)
        if finer < coarsest_other:
            finer = coarsest_other + COARSE_AXIS_MARGIN
        target[coarse] = finer
    return TargetSpacing(_vector(target), _vector(median), coarse if bool(thick and few) else None)


def axis_order(spacing: Vector3) -> Shape3:
    """The transpose that puts the coarsest axis first: entry i is the native axis of axis i."""
    coarse = int(np.argmax(spacing))
    first, second = (axis for axis in range(3) if axis != coarse)
    return coarse, first, second


def inverse_order(order: Shape3) -> Shape3:
    """The transpose that undoes `order`."""
    return order.index(0), order.index(1), order.index(2)


def resampled_shape(shape: Shape3, spacing: Vector3, target: Vector3) -> Shape3:
    """Voxels (Z, Y, X) of a case at the target spacing; rounds half to even, as RECIPE's round."""
    z, y, x = (
        round(before / after * count)
        for before, after, count in zip(spacing, target, shape, strict=True)
    )
    return z, y, x


def median_vector(rows: Sequence[Vector3] | Sequence[Shape3]) -> Vector3:
    """The median of each axis."""
    return _vector(np.median(np.asarray(rows, dtype=np.float64), axis=0))


def _vector(values: np.ndarray) -> Vector3:
    z, y, x = (float(value) for value in values)
    return z, y, x

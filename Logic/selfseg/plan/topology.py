"""How often a U-Net may pool along each axis, and with which kernels, for a patch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .constants import MINIMUM_EDGE, SIMILAR_SPACING


@dataclass(frozen=True)
class Topology:
    """Strides and kernels per stage, highest resolution first, and the patch they fit.

    `patch_size` is a multiple of `divisor`, which is 2^(number of poolings) per axis.
    """

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    divisor: tuple[int, ...]

    @property
    def stage_count(self) -> int:
        """Number of resolutions, the bottleneck included."""
        return len(self.strides)


def find_topology(spacing: Sequence[float], patch_size: Sequence[float]) -> Topology:
    """Pools until the axes are too short, the finest axes first so that voxels become cubes.

    Args:
        spacing: mm per axis, two or three axes.
        patch_size: voxels per axis; may be fractional (median sizes are).

    Returns:
        The topology, with the patch padded up to a multiple of its divisor.
    """
    axes = range(len(spacing))
    current_spacing = list(spacing)
    current_size = list(patch_size)
    kernel = [1] * len(current_size)
    divisor = [1] * len(current_size)
    strides = [(1,) * len(current_size)]
    kernels: list[tuple[int, ...]] = []

    while pooled := _poolable_axes(current_spacing, current_size):
        finest = min(current_spacing)
        for axis in axes:
            if current_spacing[axis] / finest < SIMILAR_SPACING:
                kernel[axis] = 3
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in pooled else 1 for axis in axes))
        for axis in pooled:
            current_spacing[axis] *= 2
            current_size[axis] = math.ceil(current_size[axis] / 2)
            divisor[axis] *= 2
    kernels.append((3,) * len(current_size))

    padded = tuple(math.ceil(n / step) * step for n, step in zip(patch_size, divisor, strict=True))
    return Topology(padded, tuple(strides), tuple(kernels), tuple(divisor))


def _poolable_axes(spacing: Sequence[float], size: Sequence[float]) -> tuple[int, ...]:
    """The axes that the next stage halves; empty at the bottleneck."""
    long_enough = [axis for axis, n in enumerate(size) if n >= 2 * MINIMUM_EDGE]
    if not long_enough:
        return ()
    finest = min(spacing[axis] for axis in long_enough)
    similar = tuple(axis for axis in long_enough if spacing[axis] / finest < SIMILAR_SPACING)
    if len(similar) == 1 and size[similar[0]] < 3 * MINIMUM_EDGE:
        return ()
    return similar

"""A part of an image, with the intensities that it has as a part of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arrays.bounding_box import nonzero_box, nonzero_mask
from ..domain.case import RawCase
from ..domain.geometry import Geometry, Shape3, Vector3
from ..domain.plan import Plan
from .normalise import normalise

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Part:
    """A part of an image: the native voxels it takes, what it holds, and how to preprocess it."""

    box: Box
    image: RawCase
    plan: Plan


def cut_normalised(raw: RawCase, plan: Plan, configuration: str, box: Box) -> Part:
    """Normalises an image by what is in all of it, then cuts a part out.

    Args:
        raw: the whole image.
        plan: how to normalise.
        configuration: of the plan.
        box: the native voxels (Z, Y, X) to cut out; what is empty around is left out, too.

    Returns:
        the part on its own grid, with a plan that leaves its intensities as they are.

    Raises:
        ImageError: intensities cannot be used as planned.
    """
    chosen = plan.configuration(configuration)
    outer = _box(*nonzero_box(raw.channels))
    inner = _inside(outer, _box(*nonzero_box(raw.channels[(slice(None), *box)])), box)
    image = raw.channels[(slice(None), *outer)].copy()
    mask = nonzero_mask(image) if any(chosen.normalise_in_mask) else None
    normalise(
        image, chosen.normalisation, chosen.normalise_in_mask, plan.foreground_intensities, mask
    )
    place = [slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)]
    image = np.ascontiguousarray(image[(slice(None), *place)])
    start = _shape3([part.start for part in inner])
    grid = shifted(raw.geometry, start, _shape3(image.shape[1:]))
    count = len(chosen.normalisation)
    plain = replace(chosen, normalisation=("nonorm",) * count, normalise_in_mask=(False,) * count)
    changed = replace(plan, configurations={**plan.configurations, configuration: plain})
    return Part(inner, RawCase(raw.identifier, image, grid), changed)


def shifted(grid: Geometry, start: Shape3, shape: Shape3) -> Geometry:
    """The grid of a part of an image, from its first voxel (Z, Y, X) on."""
    step = np.array(grid.direction)[:, ::-1] * np.array(grid.spacing)  # columns z, y, x
    x, y, z = (float(v) for v in np.array(grid.origin) + step @ np.array(start, dtype=float))
    origin: Vector3 = (x, y, z)
    return replace(grid, shape=shape, origin=origin)


def _box(start: Shape3, stop: Shape3) -> Box:
    z, y, x = (slice(a, b) for a, b in zip(start, stop, strict=True))
    return z, y, x


def _inside(outer: Box, found: Box, box: Box) -> Box:
    """The voxels found within a box, as those of the whole image, and none beyond another."""
    z, y, x = (
        slice(max(o.start, b.start + f.start), min(o.stop, b.start + f.stop))
        for o, f, b in zip(outer, found, box, strict=True)
    )
    return z, y, x


def _shape3(values: Sequence[int]) -> Shape3:
    z, y, x = values
    return (int(z), int(y), int(x))

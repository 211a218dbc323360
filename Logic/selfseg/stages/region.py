"""Where in a huge image the structures are, so that only that part is predicted in full.

A first look decides: the first stage of a cascade, a low-resolution member of the model, or else
the model itself with few tiles: not mirrored, one fold, tiles side by side. Networks see images at
the spacing they have learned only, so the look is never cheapened by coarser sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.bounding_box import bounding_box
from ..domain.case import RawCase
from ..domain.errors import UsageError
from ..domain.events import Notice, Reporter
from ..domain.geometry import Geometry, Shape3, VoxelRanges
from ..domain.stopping import Stop
from ..infer.agreement import SeveralFolds
from ..preprocess.cut import Box
from ..preprocess.orientation import axes_of_plan
from .models import LoadedModel
from .segment import segment_image

MARGIN_MM = 20.0
"""Room around what the first look has found, at least."""

MARGIN_PATCHES = 0.25
"""The same in patches: as far as a tile's Gaussian weights trust its own edge the least."""

WORTH_IT = 0.7
"""Share of the image beyond which the whole is predicted."""


def find_region(
    raw: RawCase,
    voters: Sequence[LoadedModel],
    *,
    mirror: bool,
    step: float,
    memory_bytes: int | None = None,
    reporter: Reporter,
    should_stop: Stop,
) -> Box | None:
    """The box of native voxels that has to be predicted in full; None for all of them.

    Args:
        raw: the image.
        voters: of the model.
        mirror: whether the prediction in full mirrors.
        step: of the prediction in full.
        memory_bytes: see `segment_image`.
        reporter: is told what is left out, and why nothing is.
        should_stop: asked many times a second.
    """
    if raw.geometry.is_2d or all(v.plan.configuration(v.configuration).is_2d for v in voters):
        reporter(Notice("no region is looked for: the model sees slice by slice"))
        return None
    finder = finder_of(voters, mirror=mirror, step=step)
    if finder is None:
        reporter(Notice("no region is looked for: it would cost as much as it saves"))
        return None
    looked = segment_image(
        raw,
        finder,
        mirror=False,
        step=1.0,
        memory_bytes=memory_bytes,
        reporter=reporter,
        should_stop=should_stop,
    )
    return region_around(looked, raw.geometry, voters, reporter=reporter)


def finder_of(voters: Sequence[LoadedModel], *, mirror: bool, step: float) -> LoadedModel | None:
    """What takes the first look; None where nothing would be much cheaper than the model."""
    for voter in voters:
        if voter.first is not None:
            return voter.first
    volumes = [v for v in voters if not v.plan.configuration(v.configuration).is_2d]
    coarsest = max(volumes, key=lambda v: math.prod(v.plan.configuration(v.configuration).spacing))
    folds = coarsest.backend.folds if isinstance(coarsest.backend, SeveralFolds) else ()
    gain = len(voters) * max(1, len(folds)) * (8 if mirror else 1) * min(1, 1 / step**3)
    if gain < 2:
        return None
    return replace(coarsest, backend=folds[0]) if folds else coarsest


def region_around(
    looked: NDArray[Any], grid: Geometry, voters: Sequence[LoadedModel], *, reporter: Reporter
) -> Box | None:
    """The box around what was found, with a margin; None where the whole is to be predicted.

    Args:
        looked: (Z, Y, X) label values on the native grid.
        grid: of the image.
        voters: whose patches the margin is for.
        reporter: is told.
    """
    mask = looked != 0
    if not mask.any():
        reporter(Notice("the first look has found nothing: the whole image is predicted"))
        return None
    margin = [
        math.ceil(mm / spacing) for mm, spacing in zip(_margins(grid, voters), grid.spacing,
                                                       strict=True)
    ]  # fmt: skip
    start, stop = bounding_box(mask)
    z, y, x = (
        slice(max(0, a - m), min(n, b + m))
        for a, b, m, n in zip(start, stop, margin, grid.shape, strict=True)
    )
    share = math.prod(s.stop - s.start for s in (z, y, x)) / math.prod(grid.shape)
    if share > WORTH_IT:
        reporter(Notice(f"the structures take {share:.0%} of the image: all of it is predicted"))
        return None
    reporter(Notice(f"{share:.0%} of the image is predicted in full"))
    return (z, y, x)


def _margins(grid: Geometry, voters: Sequence[LoadedModel]) -> tuple[float, float, float]:
    """Mm along the native axes (Z, Y, X)."""
    volumes = [v for v in voters if not v.plan.configuration(v.configuration).is_2d]
    tiles = zip(*(_tile_mm(grid, voter) for voter in volumes), strict=True)
    z, y, x = (max(MARGIN_MM, MARGIN_PATCHES * max(widths)) for widths in tiles)
    return z, y, x


def _tile_mm(grid: Geometry, voter: LoadedModel) -> tuple[float, float, float]:
    """Width of a tile in mm along the native axes (Z, Y, X); 0 across a 2D network's slices."""
    chosen = voter.plan.configuration(voter.configuration)
    order, _ = axes_of_plan(grid, voter.plan)
    dimensions = len(chosen.patch_size)
    widths = [0.0, 0.0, 0.0]
    for native, size, spacing in zip(
        order[-dimensions:], chosen.patch_size, chosen.spacing[-dimensions:], strict=True
    ):
        widths[native] = size * spacing
    return widths[0], widths[1], widths[2]


def box_of_limit(limit: VoxelRanges, grid: Geometry, voters: Sequence[LoadedModel]) -> Box:
    """The native voxels to predict, so that those of a limit are predicted as in the whole image.

    A tile trusts its own edge the least: there is a margin of `MARGIN_PATCHES` around the limit,
    and in all no less than a tile, which would be filled up with zeros otherwise.

    Args:
        limit: the voxels that are wanted.
        grid: of the image.
        voters: of the model; the largest tile counts.

    Raises:
        UsageError: the limit is empty, or reaches out of the image.
    """
    if any(not 0 <= a < b <= n for (a, b), n in zip(limit, grid.shape, strict=True)):
        raise UsageError(
            "the limit is no part of the image",
            expected=f"for each axis z, y, x two indices 0 <= a < b <= {grid.shape}",
            found=str(limit),
            cure="cut the box to the image first",
        )
    tiles = zip(*(_tile_mm(grid, voter) for voter in voters), strict=True)
    parts = []
    for (low, high), size, widths, spacing in zip(
        limit, grid.shape, tiles, grid.spacing, strict=True
    ):
        tile = max(widths) / spacing
        margin = math.ceil(max(MARGIN_PATCHES * tile, (tile - (high - low)) / 2))
        parts.append(slice(max(0, low - margin), min(size, high + margin)))
    z, y, x = parts
    return z, y, x


def pasted(
    part: NDArray[Any], place: Box, shape: Shape3, limit: VoxelRanges | None
) -> NDArray[Any]:
    """A part's label map as that of the whole image, nothing outside of the limit.

    Args:
        part: (Z, Y, X) label values.
        place: the voxels it takes.
        shape: of the whole image.
        limit: the voxels that are wanted; None: all.
    """
    whole = np.zeros(shape, part.dtype)
    whole[place] = part
    for axis, (low, high) in enumerate(limit or ()):
        along = np.moveaxis(whole, axis, 0)
        along[:low] = 0
        along[high:] = 0
    return whole

"""The ways to see the data: slices, volumes, coarse volumes, and coarse-to-fine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..domain.plan import ConfigurationPlan
from .constants import LOWRES_BELOW_COVERAGE, LOWRES_GAIN, LOWRES_STEP, SIMILAR_SPACING
from .patch import Demands, FittedNetwork, fit_network


@dataclass(frozen=True)
class Normalisation:
    """How each channel is normalised, and whether within the nonzero mask only."""

    schemes: tuple[str, ...]
    in_mask: tuple[bool, ...]


def plan_configurations(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    demands: Demands,
    normalisation: Normalisation,
) -> dict[str, ConfigurationPlan]:
    """All configurations that make sense for the data.

    Args:
        spacing: target, mm, plan axis order (three axes).
        median_shape: voxels of the median image at that spacing.
        demands: planner, memory and data set.
        normalisation: one entry per channel.

    Raises:
        PlanError: no patch is small enough for the memory.
    """
    voxels = math.prod(median_shape) * demands.case_count

    def configuration(
        name: str,
        spacing: Sequence[float],
        shape: Sequence[float],
        fitted: FittedNetwork,
        *,
        batch_dice: bool,
    ) -> ConfigurationPlan:
        return ConfigurationPlan(
            name=name,
            spacing=tuple(spacing),
            patch_size=fitted.patch_size,
            median_shape=tuple(float(n) for n in shape),
            batch_size=fitted.batch_size,
            normalisation=normalisation.schemes,
            normalise_in_mask=normalisation.in_mask,
            batch_dice=batch_dice,
            network=fitted.network,
        )

    in_plane, plane = spacing[1:], median_shape[1:]
    slices = fit_network(in_plane, plane, voxels, demands)
    configurations = {"2d": configuration("2d", in_plane, plane, slices, batch_dice=True)}
    if median_shape[0] == 1:
        return configurations

    full = fit_network(spacing, median_shape, voxels, demands)
    coarse = _coarser(spacing, median_shape, full, demands)
    if coarse is not None:
        configurations["3d_lowres"] = configuration(
            "3d_lowres", coarse.spacing, coarse.median_shape, coarse.fitted, batch_dice=False
        )
    fullres = configuration(
        "3d_fullres", spacing, median_shape, full, batch_dice=coarse is not None
    )
    configurations["3d_fullres"] = fullres
    if coarse is not None:
        configurations["3d_cascade_fullres"] = replace(
            fullres, name="3d_cascade_fullres", previous_stage="3d_lowres"
        )
    return configurations


@dataclass(frozen=True)
class _CoarseGrid:
    spacing: tuple[float, ...]
    median_shape: tuple[int, ...]
    fitted: FittedNetwork


def _coarser(
    spacing: Sequence[float],
    median_shape: Sequence[float],
    full: FittedNetwork,
    demands: Demands,
) -> _CoarseGrid | None:
    """The finest coarser grid on which a patch sees enough of the image, if it is worth it."""
    full_voxels = math.prod(median_shape)
    voxels = full_voxels
    patch_voxels = math.prod(full.patch_size)
    coarse = list(spacing)
    grid = None
    while patch_voxels / voxels < LOWRES_BELOW_COVERAGE:
        coarse = _one_step_coarser(coarse)
        exact = [
            before / after * n
            for before, after, n in zip(spacing, coarse, median_shape, strict=True)
        ]
        shape = tuple(max(1, round(n)) for n in exact)
        voxels = math.prod(exact)
        fitted = fit_network(coarse, shape, voxels * demands.case_count, demands)
        patch_voxels = math.prod(fitted.patch_size)
        grid = _CoarseGrid(tuple(coarse), shape, fitted)
    return None if full_voxels / voxels < LOWRES_GAIN else grid


def _one_step_coarser(spacing: Sequence[float]) -> list[float]:
    """Coarsens the axes that are much finer than the coarsest, or all where none is."""
    coarsest = max(spacing)
    fine = [coarsest / s > SIMILAR_SPACING for s in spacing]
    if not any(fine):
        fine = [True] * len(fine)
    return [s * LOWRES_STEP if grow else s for s, grow in zip(spacing, fine, strict=True)]

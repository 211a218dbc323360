"""The numbers of the method, one table per planner (RECIPE; Isensee et al. 2021 and 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..domain.plan import DEFAULT_MEMORY_GB, Architecture, PlannerName

ANISOTROPY = 3.0
"""An axis is anisotropic above this ratio of spacings, and of sizes the other way round."""
COARSE_AXIS_PERCENTILE = 10
"""Target spacing of an anisotropic axis; every other axis takes the median."""
COARSE_AXIS_MARGIN = 1e-5
"""mm by which an anisotropic axis stays coarser than the others."""

MINIMUM_EDGE = 4
"""Voxels per axis that the bottleneck keeps."""
SIMILAR_SPACING = 2.0
"""Axes whose spacing differs by less than this factor are treated alike."""

START_VOLUME = {2: 2048**2, 3: 256**3}
"""Voxels of the patch that the search starts from, by dimension."""
FIRST_FEATURES = 32
MAXIMUM_FEATURES = {2: 512, 3: 320}
REFERENCE_BATCH = {2: 12, 3: 2}
"""Batch size that the reference number of feature-map elements stands for."""
MINIMUM_BATCH = 2

LOWRES_BELOW_COVERAGE = 0.25
"""A fullres patch that covers less of the median image calls for a low-resolution stage."""
LOWRES_STEP = 1.03
LOWRES_GAIN = 2.0
"""A low-resolution image must have at least this factor fewer voxels."""

MASK_NORMALISATION_BELOW = 0.75
"""Median volume after cropping / before, below which z-scores look at nonzero voxels only."""

NORMALISATIONS: Mapping[str, str] = {
    "ct": "ct",
    "nonorm": "nonorm",
    "zscore": "zscore",
    "rescale_to_0_1": "rescale_to_0_1",
    "rgb_to_0_1": "rgb_to_0_1",
}
"""Channel name, case folded, to normalisation; any other channel is z-scored."""


@dataclass(frozen=True)
class PlannerRules:
    """What tells the planners apart.

    `reference_elements` (by dimension) is the number of feature-map elements that fits
    `reference_memory_gb` with the reference batch. `first_blocks` are the blocks of the first
    encoder stages, `further_blocks` those of every stage after them. `patch_for_minimum_batch`
    says that a patch may be as large as the smallest batch allows, not the reference batch.
    """

    architecture: Architecture
    reference_elements: Mapping[int, float]
    reference_memory_gb: float
    first_blocks: tuple[int, ...]
    further_blocks: int
    decoder_convs: int
    dataset_share_per_batch: float
    patch_for_minimum_batch: bool

    def blocks(self, stage_count: int) -> tuple[int, ...]:
        """Blocks (or convolutions) of each of `stage_count` encoder stages."""
        further = (self.further_blocks,) * (stage_count - len(self.first_blocks))
        return (self.first_blocks + further)[:stage_count]


def _residual(planner: PlannerName, elements_2d: float, elements_3d: float) -> PlannerRules:
    return PlannerRules(
        architecture="residual",
        reference_elements={2: elements_2d, 3: elements_3d},
        reference_memory_gb=DEFAULT_MEMORY_GB[planner],
        first_blocks=(1, 3, 4),
        further_blocks=6,
        decoder_convs=1,
        dataset_share_per_batch=1.0,
        patch_for_minimum_batch=False,
    )


RULES: Mapping[PlannerName, PlannerRules] = {
    "plain": PlannerRules(
        architecture="plain",
        reference_elements={2: 85e6, 3: 560e6},
        reference_memory_gb=DEFAULT_MEMORY_GB["plain"],
        first_blocks=(),
        further_blocks=2,
        decoder_convs=2,
        dataset_share_per_batch=0.05,
        patch_for_minimum_batch=True,
    ),
    "resenc_m": _residual("resenc_m", 135e6, 680e6),
    "resenc_l": _residual("resenc_l", 380e6, 2100e6),
    "resenc_xl": _residual("resenc_xl", 560e6, 3600e6),
}

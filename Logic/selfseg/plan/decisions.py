"""Says in plain words what was decided and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..domain.fingerprint import Fingerprint
from ..domain.plan import ConfigurationPlan, Decision, Plan
from .constants import (
    ANISOTROPY,
    COARSE_AXIS_PERCENTILE,
    LOWRES_BELOW_COVERAGE,
    MASK_NORMALISATION_BELOW,
    REFERENCE_BATCH,
    RULES,
)
from .spacing import TargetSpacing

_AXES = ("first (slice) axis", "second axis", "third axis")

_NORMALISATION_REASONS = {
    "ct": "CT numbers mean the same in every scan: clipped to the 0.5th and 99.5th percentile "
    "inside the structures, then centred and scaled with one mean and standard deviation for all",
    "zscore": "intensities have no fixed scale: every image is centred and scaled by itself",
    "nonorm": "the channel's name asks for values as they are",
    "rescale_to_0_1": "the channel's name asks for the range 0 to 1, image by image",
    "rgb_to_0_1": "colours run from 0 to 255: divided by 255",
}


def explain(plan: Plan, fingerprint: Fingerprint, target: TargetSpacing) -> tuple[Decision, ...]:
    """Lists the decisions of a finished plan in the order they were taken."""
    decisions = [_target_spacing(target), _anisotropy(fingerprint, target), _axis_order(plan)]
    decisions += _normalisation(plan, fingerprint)
    decisions += _existence(plan)
    for configuration in plan.configurations.values():
        if configuration.previous_stage is None:
            decisions += _network(plan, configuration)
    return tuple(decisions)


def _target_spacing(target: TargetSpacing) -> Decision:
    return Decision(
        "target spacing",
        f"{_mm(target.spacing)} (Z, Y, X)",
        "all images are resampled to the voxel size that is the median of the training images, "
        "so that one voxel means the same everywhere",
    )


def _anisotropy(fingerprint: Fingerprint, target: TargetSpacing) -> Decision:
    axis = target.refined_axis
    if axis is None:
        return Decision(
            "thick slices",
            "no special treatment",
            f"an axis gets a finer spacing than its median only where it is more than "
            f"{ANISOTROPY:g} times coarser and has more than {ANISOTROPY:g} times fewer voxels "
            "than the others",
        )
    return Decision(
        "thick slices",
        f"{target.spacing[axis]:.4g} mm instead of {target.median[axis]:.4g} mm on the "
        f"{_AXES[axis]}",
        f"the images have few, thick slices: the {COARSE_AXIS_PERCENTILE}th percentile of the "
        f"{len(fingerprint.spacings)} spacings keeps the detail of the cases with thinner slices",
    )


def _axis_order(plan: Plan) -> Decision:
    order = plan.transpose_forward
    if order == (0, 1, 2):
        return Decision(
            "axis order",
            "as stored (Z, Y, X)",
            "the coarsest axis comes first already, so that 2D networks see the sharp planes",
        )
    return Decision(
        "axis order",
        ", ".join("ZYX"[axis] for axis in order),
        "the coarsest axis is put first, so that 2D networks see the sharp planes; "
        "predictions are turned back",
    )


def _normalisation(plan: Plan, fingerprint: Fingerprint) -> list[Decision]:
    first = next(iter(plan.configurations.values()))
    decisions = [
        Decision(f"normalisation of channel {channel!r}", scheme, _NORMALISATION_REASONS[scheme])
        for channel, scheme in zip(plan.description.channel_names, first.normalisation, strict=True)
    ]
    if "zscore" in first.normalisation:
        ratio = fingerprint.median_relative_size_after_cropping
        masked = any(first.normalise_in_mask)
        decisions.append(
            Decision(
                "normalisation within the nonzero mask",
                "yes" if masked else "no",
                f"cropping empty borders leaves {ratio:.0%} of the median image; below "
                f"{MASK_NORMALISATION_BELOW:.0%} the empty part would dominate mean and "
                "standard deviation" + (", so only nonzero voxels count" if masked else ""),
            )
        )
    return decisions


def _existence(plan: Plan) -> list[Decision]:
    fullres = plan.configurations.get("3d_fullres")
    if fullres is None:
        return [
            Decision("configurations", "2d", "the images are single slices: nothing to do in 3D")
        ]
    coverage = math.prod(fullres.patch_size) / math.prod(fullres.median_shape)
    lowres = plan.configurations.get("3d_lowres")
    names = ", ".join(plan.recommended)
    if lowres is not None:
        reason = (
            f"a full-resolution patch sees only {coverage:.0%} of the median image (less than "
            f"{LOWRES_BELOW_COVERAGE:.0%}): a network at {_mm(lowres.spacing)} sees the whole "
            "context first, and a second one refines its result at full resolution"
        )
    elif coverage < LOWRES_BELOW_COVERAGE:
        reason = (
            f"a full-resolution patch sees {coverage:.0%} of the median image, but a coarser grid "
            "that shows enough would have less than half as few voxels: not worth a stage"
        )
    else:
        reason = (
            f"a full-resolution patch sees {coverage:.0%} of the median image: enough context "
            "without a low-resolution stage"
        )
    decisions = [Decision("configurations", names, reason)]
    others = [name for name in plan.configurations if name not in plan.recommended]
    if others:
        decisions.append(
            Decision(
                "configurations on request",
                ", ".join(others),
                "nnU-Net does not plan them; they are trained where `-c` asks for them",
            )
        )
    return decisions


def _network(plan: Plan, configuration: ConfigurationPlan) -> list[Decision]:
    network = configuration.network
    rules = RULES[plan.planner]
    kind = "convolutions" if network.architecture == "plain" else "residual blocks"
    features = network.features_per_stage
    blocks = ", ".join(map(str, network.blocks_per_stage))
    share = rules.dataset_share_per_batch
    limit = f", but never shows more than {share:.0%} of the data set" if share < 1 else ""
    batch = (
        f"fills {plan.target.memory_gb:g} GB of graphics memory, measured against "
        f"{REFERENCE_BATCH[network.dimensions]} samples of the reference network{limit}"
    )
    if configuration.batch_size == 2:
        batch = "the smallest batch the method uses; memory goes to the size of the patch first"
    return [
        Decision(
            f"{configuration.name}: patch size",
            f"{_voxels(configuration.patch_size)} voxels",
            f"the largest patch of the median image ({_voxels(configuration.median_shape)} voxels) "
            f"whose network fits {plan.target.memory_gb:g} GB; larger patches see more context",
        ),
        Decision(f"{configuration.name}: batch size", str(configuration.batch_size), batch),
        Decision(
            f"{configuration.name}: stages",
            f"{network.stage_count} resolutions, {blocks} {kind}, {features[0]} to "
            f"{max(features)} features",
            "each axis is halved while at least 4 voxels remain, fine axes first, so that the "
            "deepest features look at cubes rather than at thick slices",
        ),
    ]


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing) + " mm"


def _voxels(shape: Sequence[float]) -> str:
    return " x ".join(f"{n:g}" for n in shape)

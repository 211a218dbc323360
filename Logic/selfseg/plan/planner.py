"""Fingerprint and description in, plan out (RECIPE, "Plan")."""

from __future__ import annotations

import math
from dataclasses import replace

from ..domain.configurations import recommended_of
from ..domain.dataset import DatasetDescription
from ..domain.errors import PlanError
from ..domain.fingerprint import Fingerprint
from ..domain.geometry import Shape3, Vector3
from ..domain.plan import PLANNERS, ComputeTarget, Plan, PlannerName
from .configurations import Normalisation, plan_configurations
from .constants import MASK_NORMALISATION_BELOW, NORMALISATIONS, RULES
from .decisions import explain
from .patch import Demands
from .spacing import axis_order, inverse_order, median_vector, resampled_shape, target_spacing


def make_plan(
    fingerprint: Fingerprint,
    description: DatasetDescription,
    planner: PlannerName = "plain",
    memory_gb: float | None = None,
    name: str | None = None,
) -> Plan:
    """Decides everything before training; pure, builds no network, takes milliseconds.

    Args:
        fingerprint: what was measured on the training cases.
        description: channels, labels and number of training cases.
        planner: which family and size of network.
        memory_gb: graphics memory to fill (GB); None means the planner's own default.
        name: name of the plan; None means the planner's name.

    Raises:
        PlanError: the fingerprint holds impossible numbers, does not belong to the description,
            or the memory is too small for any network.
    """
    _check_planner(planner)
    _check_fingerprint(fingerprint, description)
    memory = RULES[planner].reference_memory_gb if memory_gb is None else _memory(memory_gb)

    target = target_spacing(fingerprint.spacings, fingerprint.shapes_after_crop)
    order = axis_order(target.spacing)
    resampled = [
        resampled_shape(shape, spacing, target.spacing)
        for shape, spacing in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True)
    ]
    median_shape = _in_order(median_vector(resampled), order)

    labels = description.labels
    demands = Demands(
        rules=RULES[planner],
        memory_gb=memory,
        class_count=1 + len(labels.foreground) + int(labels.ignore is not None),
        case_count=description.case_count or len(fingerprint.spacings),
    )
    configurations = plan_configurations(
        _in_order(target.spacing, order),
        median_shape,
        demands,
        choose_normalisation(
            description.channel_names, fingerprint.median_relative_size_after_cropping
        ),
    )

    plan = Plan(
        name=name or planner,
        planner=planner,
        description=description,
        original_median_spacing=_in_order(median_vector(fingerprint.spacings), order),
        original_median_shape=_rounded(
            _in_order(median_vector(fingerprint.shapes_after_crop), order)
        ),
        transpose_forward=order,
        transpose_backward=inverse_order(order),
        configurations=configurations,
        foreground_intensities=fingerprint.foreground_intensities,
        target=ComputeTarget(memory_gb=memory),
        recommended=recommended_of(configurations),
    )
    return replace(plan, decisions=explain(plan, fingerprint, target))


def choose_normalisation(channel_names: tuple[str, ...], median_crop_ratio: float) -> Normalisation:
    """Chooses by channel name; z-scores look at nonzero voxels where most of the image is empty.

    Args:
        channel_names: as in dataset.json, upper or lower case.
        median_crop_ratio: median volume after cropping / before.
    """
    schemes = tuple(NORMALISATIONS.get(name.casefold(), "zscore") for name in channel_names)
    mostly_empty = median_crop_ratio < MASK_NORMALISATION_BELOW
    return Normalisation(schemes, tuple(mostly_empty and s == "zscore" for s in schemes))


def _in_order(values: Vector3, order: Shape3) -> Vector3:
    return values[order[0]], values[order[1]], values[order[2]]


def _rounded(values: Vector3) -> Shape3:
    return round(values[0]), round(values[1]), round(values[2])


def _check_planner(planner: str) -> None:
    if planner not in PLANNERS:
        raise PlanError(
            f"there is no planner {planner!r}",
            expected="one of " + ", ".join(PLANNERS),
            found=planner,
            cure="choose one of these with --planner",
        )


def _memory(memory_gb: float) -> float:
    if not math.isfinite(memory_gb) or memory_gb <= 0:
        raise PlanError(
            "the memory target is not a size",
            expected="gigabytes of graphics memory above 0",
            found=str(memory_gb),
            cure="give for example --memory 8, or leave the option out",
        )
    return float(memory_gb)


def _check_fingerprint(fingerprint: Fingerprint, description: DatasetDescription) -> None:
    for index, (spacing, shape) in enumerate(
        zip(fingerprint.spacings, fingerprint.shapes_after_crop, strict=True)
    ):
        names = fingerprint.case_identifiers
        case = names[index] if names else f"number {index + 1}"
        if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
            raise PlanError(
                f"the fingerprint holds an impossible spacing for case {case}",
                expected="three spacings (Z, Y, X) in mm above 0",
                found=str(spacing),
                cure="correct the image's header and run `selfseg fingerprint` again",
            )
        if len(shape) != 3 or not all(n >= 1 for n in shape):
            raise PlanError(
                f"the fingerprint holds an impossible size for case {case}",
                expected="three sizes (Z, Y, X) of at least one voxel",
                found=str(shape),
                cure="check that the image is not empty and run `selfseg fingerprint` again",
            )
    ratio = fingerprint.median_relative_size_after_cropping
    if not math.isfinite(ratio) or not 0 < ratio <= 1:
        raise PlanError(
            "the fingerprint holds an impossible crop ratio",
            expected="a median_relative_size_after_cropping above 0 and up to 1",
            found=str(ratio),
            cure="measure the data set again with `selfseg fingerprint`",
        )
    channels = len(description.channel_names)
    if len(fingerprint.foreground_intensities) != channels:
        raise PlanError(
            "the fingerprint does not belong to this data set",
            expected=f"intensities of {channels} channels ({', '.join(description.channel_names)})",
            found=f"intensities of {len(fingerprint.foreground_intensities)} channels",
            cure="measure this data set with `selfseg fingerprint`, or give the dataset.json that "
            "belongs to the fingerprint",
        )

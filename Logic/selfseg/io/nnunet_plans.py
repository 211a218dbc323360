"""Our Plan and nnU-Net v2's plans.json, both ways.

What nnU-Net's file has no place for (the compute target, the schedule, the reasons) is left
out on writing; every decision about data and networks survives the round trip exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..domain.configurations import recommended_of
from ..domain.dataset import DatasetDescription
from ..domain.errors import PlanError
from ..domain.fingerprint import Fingerprint, IntensityProperties
from ..domain.plan import (
    DEFAULT_MEMORY_GB,
    ComputeTarget,
    ConfigurationPlan,
    Decision,
    Plan,
    PlannerName,
)
from .nnunet_forms import (
    ConfigurationForm,
    PlansForm,
    in_channel_order,
    intensities_to_nnunet,
    read_form,
)
from .nnunet_network import network_from_nnunet, network_to_nnunet

_PLANNERS: Mapping[PlannerName, tuple[str, str]] = {
    "plain": ("ExperimentPlanner", "nnUNetPlans"),
    "resenc_m": ("nnUNetPlannerResEncM", "nnUNetResEncUNetMPlans"),
    "resenc_l": ("nnUNetPlannerResEncL", "nnUNetResEncUNetLPlans"),
    "resenc_xl": ("nnUNetPlannerResEncXL", "nnUNetResEncUNetXLPlans"),
}
"""nnU-Net's planner class and name of the plans, for each of our planners."""
_SHARED_IDENTIFIERS = ("2d", "3d_fullres")
"""Residual plans preprocess these as the plain plans do, and nnU-Net shares their data."""

NORMALISATION_CLASSES: Mapping[str, str] = {
    "ct": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "nonorm": "NoNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}
"""Our names of the normalisations, and nnU-Net's classes."""

_NORMALISATIONS_READ = {theirs: ours for ours, theirs in NORMALISATION_CLASSES.items()}

_RESAMPLING: Mapping[str, Mapping[str, object]] = {
    "data": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "seg": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
    "probabilities": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
}
_RESAMPLING_FUNCTION = "resample_data_or_seg_to_shape"

_TURNED = "WithReorient"
"""How the names of nnU-Net's readers end that turn every image to RAS."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
"""Names of plans and configurations become names of folders."""

_PLANS_CURE = "give the plans.json that nnU-Net v2 wrote, unchanged, or plan again"


def plan_to_nnunet(plan: Plan, fingerprint: Fingerprint | None = None) -> dict[str, Any]:
    """The plan as nnU-Net v2's plans.json.

    Args:
        plan: ours.
        fingerprint: where given, its foreground intensities are written rather than the plan's.
    """
    planner_class, standard_name = _PLANNERS[plan.planner]
    plans_name = standard_name if plan.name == plan.planner else plan.name
    intensities = (
        plan.foreground_intensities if fingerprint is None else fingerprint.foreground_intensities
    )
    return {
        "dataset_name": plan.description.name,
        "plans_name": plans_name,
        "original_median_spacing_after_transp": list(plan.original_median_spacing),
        "original_median_shape_after_transp": list(plan.original_median_shape),
        "image_reader_writer": _reader(plan),
        "transpose_forward": list(plan.transpose_forward),
        "transpose_backward": list(plan.transpose_backward),
        "configurations": {
            name: _configuration_to_nnunet(plan, configuration, plans_name)
            for name, configuration in plan.configurations.items()
        },
        "experiment_planner_used": planner_class,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": intensities_to_nnunet(intensities),
    }


def plan_from_nnunet(plans: object, description: DatasetDescription) -> Plan:
    """Reads plans.json, in today's form or the one before `architecture` was introduced.

    Args:
        plans: the content of the file.
        description: the data set that the plans were made for (its dataset.json).

    Returns:
        The plan. Memory target and schedule are the planner's defaults, which the file does
        not hold.

    Raises:
        FileFormatError: an entry is missing or of a wrong type.
        PlanError: a network, resampling or normalisation that is not ours, or plans of
            another data set.
    """
    form = read_form(plans, PlansForm, "plans.json", _PLANS_CURE)
    _check_names(form)
    _check_orders(form)
    if form.label_manager != "LabelManager":
        raise _foreign("the plans' way to read labels", "LabelManager", form.label_manager)
    properties = (
        form.foreground_intensity_properties_per_channel
        or form.foreground_intensity_properties_by_modality
        or {}
    )
    intensities = in_channel_order(properties, "plans.json")
    configurations = {}
    for name in form.configurations:
        raw = _inherited(form.configurations, name)
        configurations[name] = _configuration_from_nnunet(name, raw, description)
    _check_stages(configurations)
    _check_intensities(configurations, intensities, description)

    planner, decisions = _planner(form, configurations)
    standard_name = _PLANNERS[planner][1]
    shape = form.original_median_shape_after_transp
    return Plan(
        name=planner if form.plans_name == standard_name else form.plans_name,
        planner=planner,
        description=description,
        original_median_spacing=form.original_median_spacing_after_transp,
        original_median_shape=(round(shape[0]), round(shape[1]), round(shape[2])),
        transpose_forward=form.transpose_forward,
        transpose_backward=form.transpose_backward,
        configurations=configurations,
        foreground_intensities=intensities,
        target=ComputeTarget(memory_gb=DEFAULT_MEMORY_GB[planner]),
        recommended=recommended_of(configurations) or tuple(configurations),
        decisions=decisions,
        orientation="ras" if form.image_reader_writer.endswith(_TURNED) else "as_stored",
    )


def _configuration_to_nnunet(
    plan: Plan, configuration: ConfigurationPlan, plans_name: str
) -> dict[str, Any]:
    parent = plan.configurations.get("3d_fullres")
    previous = configuration.previous_stage
    if previous is not None and parent is not None:
        same = replace(parent, name=configuration.name, previous_stage=previous)
        if configuration == same:
            return {"inherits_from": "3d_fullres", "previous_stage": previous}
    shared = plan.planner != "plain" and configuration.name in _SHARED_IDENTIFIERS
    prefix = _PLANNERS["plain"][1] if shared else plans_name
    entry: dict[str, Any] = {
        "data_identifier": f"{prefix}_{configuration.name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": configuration.batch_size,
        "patch_size": list(configuration.patch_size),
        "median_image_size_in_voxels": list(configuration.median_shape),
        "spacing": list(configuration.spacing),
        "normalization_schemes": [
            NORMALISATION_CLASSES[name] for name in configuration.normalisation
        ],
        "use_mask_for_norm": list(configuration.normalise_in_mask),
    }
    for kind, arguments in _RESAMPLING.items():
        entry[f"resampling_fn_{kind}"] = _RESAMPLING_FUNCTION
        entry[f"resampling_fn_{kind}_kwargs"] = dict(arguments)
    entry["architecture"] = network_to_nnunet(configuration.network)
    entry["batch_dice"] = configuration.batch_dice
    if previous is not None:
        entry["previous_stage"] = previous
    following = [
        other.name
        for other in plan.configurations.values()
        if other.previous_stage == configuration.name
    ]
    if following:
        entry["next_stage"] = following[0] if len(following) == 1 else following
    return entry


def _configuration_from_nnunet(
    name: str, raw: dict[str, Any], description: DatasetDescription
) -> ConfigurationPlan:
    form = read_form(raw, ConfigurationForm, f"configuration {name} of plans.json", _PLANS_CURE)
    dimensions = len(form.patch_size)
    lengths = {dimensions, len(form.spacing), len(form.median_image_size_in_voxels)}
    if lengths not in ({2}, {3}):
        raise PlanError(
            f"configuration {name} has no valid grid",
            expected="patch_size, spacing and median_image_size_in_voxels of two or three numbers",
            found=f"{form.patch_size}, {form.spacing}, {form.median_image_size_in_voxels}",
            cure=_PLANS_CURE,
        )
    channels = len(description.channel_names)
    if {len(form.normalization_schemes), len(form.use_mask_for_norm)} != {channels}:
        raise PlanError(
            f"configuration {name} belongs to another data set",
            expected=f"normalisation of {channels} channels: "
            + ", ".join(description.channel_names),
            found=f"{form.normalization_schemes}, masks {form.use_mask_for_norm}",
            cure="give the dataset.json that the plans were made for",
        )
    for scheme in form.normalization_schemes:
        if scheme not in _NORMALISATIONS_READ:
            raise _foreign(
                f"the normalisation of {name}", "one of " + ", ".join(_NORMALISATIONS_READ), scheme
            )
    if form.preprocessor_name != "DefaultPreprocessor":
        raise _foreign(
            f"the preprocessing of {name}", "DefaultPreprocessor", form.preprocessor_name
        )
    _check_resampling(name, raw)
    return ConfigurationPlan(
        name=name,
        spacing=tuple(form.spacing),
        patch_size=tuple(form.patch_size),
        median_shape=tuple(form.median_image_size_in_voxels),
        batch_size=form.batch_size,
        normalisation=tuple(_NORMALISATIONS_READ[name] for name in form.normalization_schemes),
        normalise_in_mask=tuple(form.use_mask_for_norm),
        batch_dice=form.batch_dice,
        network=network_from_nnunet(form, raw, name),
        previous_stage=form.previous_stage,
    )


def _inherited(configurations: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The configuration with all that it inherits, its own entries over those of its parents."""
    chain: list[str] = []
    following: object = name
    while following is not None:
        known = isinstance(following, str) and following in configurations
        if not known or following in chain:
            raise PlanError(
                f"configuration {name} inherits from what cannot be resolved",
                expected="a chain of configurations that ends",
                found=" > ".join([*chain, str(following)]),
                cure='correct "inherits_from" in plans.json',
            )
        chain.append(str(following))
        following = configurations[chain[-1]].get("inherits_from")
    merged: dict[str, Any] = {}
    for ancestor in reversed(chain):
        merged |= configurations[ancestor]
    return merged


def _planner(
    form: PlansForm, configurations: Mapping[str, ConfigurationPlan]
) -> tuple[PlannerName, tuple[Decision, ...]]:
    """Which of our planners made the plans, or the nearest, with a word about it."""
    origin = Decision(
        "origin",
        form.plans_name,
        f"read from nnU-Net's plans.json ({form.experiment_planner_used})",
    )
    for planner, (planner_class, _) in _PLANNERS.items():
        if planner_class == form.experiment_planner_used:
            return planner, (origin,)
    first = next(iter(configurations.values()))
    nearest: PlannerName = "plain" if first.network.architecture == "plain" else "resenc_m"
    note = Decision(
        "planner",
        nearest,
        f"{form.experiment_planner_used} is not one of our planners; its decisions are kept as "
        "they are, and the plan is filed under the planner of the same network family",
    )
    return nearest, (origin, note)


def _reader(plan: Plan) -> str:
    """nnU-Net's name for the reader of the data set's files."""
    reader = plan.description.reader
    turned = plan.orientation == "ras"
    if reader is not None and (reader.endswith(_TURNED) or not turned):
        return reader
    ending = plan.description.file_ending.lower()
    if turned:
        return ("NibabelIO" if ending in (".nii", ".nii.gz") else "SimpleITKIO") + _TURNED
    flat = all(configuration.is_2d for configuration in plan.configurations.values())
    if ending in (".tif", ".tiff") and not flat:
        return "Tiff3DIO"
    if ending in (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg"):
        return "NaturalImage2DIO"
    return "NibabelIO" if ending == ".nii" else "SimpleITKIO"


def _check_resampling(name: str, raw: Mapping[str, Any]) -> None:
    for kind, arguments in _RESAMPLING.items():
        key = f"resampling_fn_{kind}"
        function = raw.get(key, _RESAMPLING_FUNCTION)
        given = raw.get(f"{key}_kwargs", arguments)
        if function != _RESAMPLING_FUNCTION or given != arguments:
            raise _foreign(
                f"the resampling of {name}",
                f"{key} {_RESAMPLING_FUNCTION} with {dict(arguments)}",
                f"{function} with {given}",
            )


def _check_names(form: PlansForm) -> None:
    for name in (form.plans_name, *form.configurations):
        if not _SAFE_NAME.fullmatch(name):
            raise PlanError(
                "the plans hold a name that cannot be a folder's name",
                expected="letters, digits and _ . + -",
                found=repr(name),
                cure="rename it in plans.json",
            )


def _check_orders(form: PlansForm) -> None:
    forward, backward = form.transpose_forward, form.transpose_backward
    if sorted(forward) != [0, 1, 2] or any(backward[forward[i]] != i for i in range(3)):
        # backward is the inverse permutation: plan axis of each native axis
        raise PlanError(
            "the plans' axis orders are not inverse to each other",
            expected="two orders of the axes 0, 1, 2, the second undoing the first",
            found=f"{list(forward)} and {list(backward)}",
            cure=_PLANS_CURE,
        )


def _check_stages(configurations: Mapping[str, ConfigurationPlan]) -> None:
    for configuration in configurations.values():
        previous = configuration.previous_stage
        if previous is not None and previous not in configurations:
            raise PlanError(
                f"configuration {configuration.name} builds on one that is missing",
                expected=f"a configuration {previous!r}",
                found=", ".join(configurations),
                cure=_PLANS_CURE,
            )


def _check_intensities(
    configurations: Mapping[str, ConfigurationPlan],
    intensities: tuple[IntensityProperties, ...],
    description: DatasetDescription,
) -> None:
    uses_ct = any("ct" in entry.normalisation for entry in configurations.values())
    channels = len(description.channel_names)
    if len(intensities) != channels and (intensities or uses_ct):
        raise PlanError(
            "the plans' intensity properties do not fit the data set",
            expected=f"properties of {channels} channels",
            found=f"of {len(intensities)}",
            cure="give the dataset.json that the plans were made for",
        )


def _foreign(what: str, expected: str, found: str) -> PlanError:
    return PlanError(
        f"{what} is not one we can repeat",
        expected=expected,
        found=found,
        cure="plan again with `selfseg plan`: models trained with other rules cannot be read",
    )

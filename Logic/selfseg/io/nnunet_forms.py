"""The shape of nnU-Net v2's JSON files, checked before anything is read from them."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import msgspec

from ..domain.errors import FileFormatError
from ..domain.fingerprint import IntensityProperties

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Length = Annotated[float, msgspec.Meta(gt=0, lt=1e12)]
"""Millimetres, or (mean) voxels: above 0 and finite; the limits refuse NaN too."""
StageCount = Annotated[int, msgspec.Meta(ge=1, le=32)]
"""32 stages would need a patch of 2^31 voxels; a larger number is a damaged file."""
PerAxis = Count | list[Count]
PerStage = Count | list[Count]
PerStageAndAxis = Count | list[PerAxis]


class ArchitectureForm(msgspec.Struct):
    """`architecture` of a configuration; the arguments are checked by `nnunet_network`."""

    network_class_name: str
    arch_kwargs: dict[str, Any]


class StagesForm(msgspec.Struct):
    """The arguments of a network class that shape it. One number stands for every stage."""

    n_stages: StageCount
    features_per_stage: PerStage
    kernel_sizes: PerStageAndAxis
    strides: PerStageAndAxis
    n_conv_per_stage_decoder: PerStage
    n_conv_per_stage: PerStage | None = None
    n_blocks_per_stage: PerStage | None = None


class OlderNetworkForm(msgspec.Struct):
    """The network as configurations described it before they had an `architecture`."""

    UNet_class_name: str
    UNet_base_num_features: Count
    unet_max_num_features: Count
    n_conv_per_stage_encoder: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=32)]
    n_conv_per_stage_decoder: list[Count]
    pool_op_kernel_sizes: list[list[Count]]
    conv_kernel_sizes: list[list[Count]]


class ConfigurationForm(msgspec.Struct):
    """One configuration, inheritance resolved, without its network."""

    batch_size: Count
    patch_size: list[Count]
    median_image_size_in_voxels: list[Length]
    spacing: list[Length]
    normalization_schemes: list[str]
    use_mask_for_norm: list[bool]
    batch_dice: bool
    preprocessor_name: str = "DefaultPreprocessor"
    previous_stage: str | None = None
    architecture: ArchitectureForm | None = None


class PlansForm(msgspec.Struct):
    """plans.json; the configurations are read one by one."""

    plans_name: str
    original_median_spacing_after_transp: tuple[Length, Length, Length]
    original_median_shape_after_transp: tuple[Length, Length, Length]
    transpose_forward: tuple[int, int, int]
    transpose_backward: tuple[int, int, int]
    configurations: dict[str, dict[str, Any]]
    image_reader_writer: str = "SimpleITKIO"
    experiment_planner_used: str = "ExperimentPlanner"
    label_manager: str = "LabelManager"
    foreground_intensity_properties_per_channel: dict[str, IntensityProperties] | None = None
    foreground_intensity_properties_by_modality: dict[str, IntensityProperties] | None = None
    """The older name of the entry above."""


class FingerprintForm(msgspec.Struct):
    """dataset_fingerprint.json."""

    spacings: list[tuple[Length, Length, Length]]
    shapes_after_crop: list[tuple[Count, Count, Count]]
    median_relative_size_after_cropping: Length
    foreground_intensity_properties_per_channel: dict[str, IntensityProperties]


def read_form(value: object, kind: type[T], what: str, cure: str) -> T:
    """Checks foreign JSON content against one of these forms; unknown entries are left out.

    Args:
        value: what the JSON reader returned.
        kind: the form.
        what: "plans.json", for the message.
        cure: what the user can do about a wrong file.

    Raises:
        FileFormatError: an entry is missing or of a wrong type; the message names it.
    """
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise FileFormatError(
            f"{what} is not what nnU-Net v2 writes",
            expected=f"the entries of {what} with their types",
            found=str(error),
            cure=cure,
        ) from error


def in_channel_order(
    properties: dict[str, IntensityProperties], what: str
) -> tuple[IntensityProperties, ...]:
    """The intensity properties under the keys "0", "1", ... as a tuple.

    Raises:
        FileFormatError: the keys are not the numbers from 0 on, or a value is not finite.
    """
    wanted = [str(index) for index in range(len(properties))]
    if set(wanted) != set(properties):
        raise FileFormatError(
            f"{what} does not number the channels",
            expected='intensity properties under "0", "1", ... without a gap',
            found=", ".join(map(repr, properties)),
            cure="correct foreground_intensity_properties_per_channel, or measure again",
        )
    for key in wanted:
        if not all(math.isfinite(number) for number in asdict(properties[key]).values()):
            raise FileFormatError(
                f"{what} holds intensities that are not numbers",
                expected="finite intensity properties",
                found=f"channel {key}: {properties[key]}",
                cure="check that the label maps are not empty, and measure again",
            )
    return tuple(properties[key] for key in wanted)


def intensities_to_nnunet(properties: tuple[IntensityProperties, ...]) -> dict[str, Any]:
    """The inverse of `in_channel_order`."""
    return {str(index): asdict(channel) for index, channel in enumerate(properties)}

"""Our NetworkPlan and nnU-Net v2's description of a network, both ways.

Class names are compared with lists; nothing that a file names is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..domain.errors import PlanError
from ..domain.plan import Architecture, NetworkPlan
from .nnunet_forms import (
    ConfigurationForm,
    OlderNetworkForm,
    PerAxis,
    PerStage,
    PerStageAndAxis,
    StagesForm,
    read_form,
)

_ROOM = "dynamic_network_architectures.architectures"
_WRITTEN_CLASSES: Mapping[Architecture, str] = {
    "plain": f"{_ROOM}.unet.PlainConvUNet",
    "residual": f"{_ROOM}.unet.ResidualEncoderUNet",
}
NETWORK_CLASSES: Mapping[str, Architecture] = {
    **{name: architecture for architecture, name in _WRITTEN_CLASSES.items()},
    f"{_ROOM}.residual_unet.ResidualEncoderUNet": "residual",
    "PlainConvUNet": "plain",
    "ResidualEncoderUNet": "residual",
}
"""Every network class we can build, by the names that nnU-Net's versions gave it."""

_IMPORTED_BY_NAME = ["conv_op", "norm_op", "dropout_op", "nonlin"]
_SHAPE_ENTRIES = set(StagesForm.__struct_fields__)
_FREE_ENTRIES = {"deep_supervision", "dropout_op_kwargs", "squeeze_excitation_reduction_ratio"}
"""Arguments without influence on a network that has neither dropout nor squeeze-excitation."""

_LEAKY_RELU = ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU")
_BASIC_BLOCK = (
    None,
    "dynamic_network_architectures.building_blocks.residual.BasicBlockD",
)
_CURE = "only nnU-Net's own plain and residual-encoder U-Nets can be read; plan again instead"


def network_to_nnunet(network: NetworkPlan) -> dict[str, Any]:
    """The `architecture` entry of a configuration."""
    plain = network.architecture == "plain"
    dimensions = network.dimensions
    return {
        "network_class_name": _WRITTEN_CLASSES[network.architecture],
        "arch_kwargs": {
            "n_stages": network.stage_count,
            "features_per_stage": list(network.features_per_stage),
            "conv_op": _convolution_names(dimensions)[0],
            "kernel_sizes": [list(kernel) for kernel in network.kernel_sizes],
            "strides": [list(stride) for stride in network.strides],
            "n_conv_per_stage" if plain else "n_blocks_per_stage": list(network.blocks_per_stage),
            "n_conv_per_stage_decoder": list(network.convs_per_decoder_stage),
            "conv_bias": True,
            "norm_op": _normalisation_names(dimensions)[0],
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": _LEAKY_RELU[0],
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": list(_IMPORTED_BY_NAME),
    }


def network_from_nnunet(
    form: ConfigurationForm, raw: Mapping[str, Any], configuration: str
) -> NetworkPlan:
    """Reads the network of a configuration, in today's form or the older one.

    Args:
        form: the configuration, checked.
        raw: the same configuration as the file has it (the older form has no entry of its own).
        configuration: its name, for messages.

    Raises:
        FileFormatError: an entry is missing or of a wrong type.
        PlanError: a network we cannot build, or lists that do not fit each other.
    """
    where = f"the network of {configuration}"
    dimensions = len(form.patch_size)
    if form.architecture is None:
        older = read_form(dict(raw), OlderNetworkForm, where, _CURE)
        count = len(older.n_conv_per_stage_encoder)
        network = _network(
            _architecture(older.UNet_class_name, where),
            StagesForm(
                n_stages=count,
                features_per_stage=[
                    min(older.UNet_base_num_features * 2**stage, older.unet_max_num_features)
                    for stage in range(count)
                ],
                kernel_sizes=list(older.conv_kernel_sizes),
                strides=list(older.pool_op_kernel_sizes),
                n_conv_per_stage_decoder=older.n_conv_per_stage_decoder,
            ),
            older.n_conv_per_stage_encoder,
            dimensions,
        )
    else:
        architecture = _architecture(form.architecture.network_class_name, where)
        arguments = form.architecture.arch_kwargs
        stages = read_form(arguments, StagesForm, where, _CURE)
        key = "n_conv_per_stage" if architecture == "plain" else "n_blocks_per_stage"
        blocks = stages.n_conv_per_stage if architecture == "plain" else stages.n_blocks_per_stage
        if blocks is None:
            raise _unsupported(where, f"an entry {key!r}", "none")
        _check_fixed(arguments, architecture, dimensions, where)
        network = _network(architecture, stages, blocks, dimensions)
        if arguments.get("stem_channels") not in (None, network.features_per_stage[0]):
            raise _unsupported(
                where,
                "a stem as wide as the first stage",
                f"stem_channels {arguments['stem_channels']!r}",
            )
    _check_geometry(network, form.patch_size, where)
    return network


def _architecture(class_name: str, where: str) -> Architecture:
    if class_name not in NETWORK_CLASSES:
        raise _unsupported(where, "one of " + ", ".join(NETWORK_CLASSES), class_name)
    return NETWORK_CLASSES[class_name]


def _network(
    architecture: Architecture, stages: StagesForm, blocks: PerStage, dimensions: int
) -> NetworkPlan:
    count = stages.n_stages
    return NetworkPlan(
        architecture=architecture,
        features_per_stage=_per_stage(stages.features_per_stage, count),
        kernel_sizes=_per_stage_and_axis(stages.kernel_sizes, count, dimensions),
        strides=_per_stage_and_axis(stages.strides, count, dimensions),
        blocks_per_stage=_per_stage(blocks, count),
        convs_per_decoder_stage=_per_stage(stages.n_conv_per_stage_decoder, count - 1),
    )


def _per_stage(value: PerStage, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def _per_stage_and_axis(
    value: PerStageAndAxis, count: int, dimensions: int
) -> tuple[tuple[int, ...], ...]:
    stages: list[PerAxis] = [value] * count if isinstance(value, int) else value
    return tuple(
        (entry,) * dimensions if isinstance(entry, int) else tuple(entry) for entry in stages
    )


def _check_fixed(
    arguments: Mapping[str, Any], architecture: Architecture, dimensions: int, where: str
) -> None:
    """Refuses every argument that would make another network than the one we build."""
    allowed: dict[str, tuple[object, ...]] = {
        "conv_op": _convolution_names(dimensions),
        "conv_bias": (True,),
        "norm_op": _normalisation_names(dimensions),
        "norm_op_kwargs": ({"eps": 1e-5, "affine": True},),
        "nonlin": _LEAKY_RELU,
    }
    optional: dict[str, tuple[object, ...]] = {
        "dropout_op": (None,),
        "nonlin_first": (False,),
        "nonlin_kwargs": tuple(
            {**inplace, **slope}
            for inplace in ({}, {"inplace": True}, {"inplace": False})
            for slope in ({}, {"negative_slope": 0.01})
        ),
    }
    free = set(_FREE_ENTRIES)
    if architecture == "residual":
        optional |= {
            "block": _BASIC_BLOCK,
            "bottleneck_channels": (None,),
            "stochastic_depth_p": (0.0,),
            "squeeze_excitation": (False,),
        }
        free.add("stem_channels")  # compared with the features by the caller
    for key, values in allowed.items():
        if key not in arguments or arguments[key] not in values:
            found = repr(arguments[key]) if key in arguments else "no such entry"
            raise _unsupported(where, f"{key} {values[0]!r}", found)
    for key, value in arguments.items():
        if key in optional and value not in optional[key]:
            raise _unsupported(where, f"{key} {optional[key][0]!r}", repr(value))
        if key not in {*allowed, *optional, *free, *_SHAPE_ENTRIES}:
            raise _unsupported(where, "only arguments of nnU-Net's own networks", key)


def _check_geometry(network: NetworkPlan, patch_size: list[int], where: str) -> None:
    dimensions = len(patch_size)
    for entry in (*network.kernel_sizes, *network.strides):
        if len(entry) != dimensions:
            raise _unsupported(where, f"kernels and strides of {dimensions} axes", str(entry))
    if any(n % 2 == 0 for kernel in network.kernel_sizes for n in kernel):
        raise _unsupported(where, "kernels of odd size", str(network.kernel_sizes))
    if any(n != 1 for n in network.strides[0]):
        raise _unsupported(where, "a first stage at full resolution", str(network.strides[0]))
    for axis, size in enumerate(patch_size):
        divisor = 1
        for stride in network.strides:
            divisor *= stride[axis]
        if size % divisor:
            raise _unsupported(
                where, f"a patch that is a multiple of {divisor} on axis {axis}", str(patch_size)
            )


def _convolution_names(dimensions: int) -> tuple[str, ...]:
    return (f"torch.nn.modules.conv.Conv{dimensions}d", f"torch.nn.Conv{dimensions}d")


def _normalisation_names(dimensions: int) -> tuple[str, ...]:
    name = f"InstanceNorm{dimensions}d"
    return (f"torch.nn.modules.instancenorm.{name}", f"torch.nn.{name}")


def _unsupported(where: str, expected: str, found: str) -> PlanError:
    return PlanError(f"{where} cannot be built", expected=expected, found=found, cure=_CURE)

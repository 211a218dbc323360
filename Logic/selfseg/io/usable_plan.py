"""Whether a plan from outside can be worked with: every number within what networks have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import astuple

from ..domain.errors import ModelError
from ..domain.labels import LabelScheme
from ..domain.plan import ConfigurationPlan, NetworkPlan, Plan
from .dataset_json import LARGEST_VALUE
from .image_endings import IMAGE_ENDINGS
from .nnunet_plans import NORMALISATION_CLASSES

_AUTOCASTS = ("auto", "bfloat16", "float16", "off")
_MOST_STAGES, _MOST_BLOCKS, _MOST_FEATURES, _LARGEST_KERNEL, _LARGEST_STRIDE = 16, 64, 8192, 15, 16
_LONGEST_PATCH, _LARGEST_PATCH = 4096, 2**27
"""Voxels along an axis and in all: nnU-Net's largest patches have 2^23."""


def check_usable(plan: Plan) -> None:
    """Refuses a plan that no planner would make.

    Raises:
        ModelError: the entry, and what it may be.
    """
    check_labels(plan.description.labels, plan.description.channel_names)
    _check(
        plan.description.file_ending.lower() in IMAGE_ENDINGS,
        f"{plan.name}: file_ending",
        ", ".join(IMAGE_ENDINGS),
        plan.description.file_ending,
    )
    _check(plan.autocast in _AUTOCASTS, f"{plan.name}: autocast", _AUTOCASTS, plan.autocast)
    forward, backward = plan.transpose_forward, plan.transpose_backward
    inverse = sorted(forward) == [0, 1, 2] and all(backward[forward[i]] == i for i in range(3))
    _check(
        inverse,
        f"{plan.name}: transpose_forward and transpose_backward",
        "orders of the axes 0, 1 and 2 that undo each other",
        f"{forward} and {backward}",
    )
    _check_lengths(plan.original_median_spacing, f"{plan.name}: original_median_spacing")
    needed = any("ct" in entry.normalisation for entry in plan.configurations.values())
    channels = len(plan.description.channel_names)
    intensities = plan.foreground_intensities
    _check(
        len(intensities) == channels or (not intensities and not needed),
        f"{plan.name}: foreground_intensities",
        f"one entry for each of {channels} channels",
        len(intensities),
    )
    numbers = [number for channel in intensities for number in astuple(channel)]
    _check(
        all(math.isfinite(number) for number in numbers),
        f"{plan.name}: foreground_intensities",
        "finite numbers",
        numbers,
    )
    for key, configuration in plan.configurations.items():
        _check(configuration.name == key, f"{plan.name}: configuration", key, configuration.name)
        _check_configuration(f"{plan.name}: {key}", configuration, channels)


def check_labels(labels: LabelScheme, channel_names: Iterable[str]) -> None:
    """Refuses names that cannot be shown, and values that no label map can hold.

    Raises:
        ModelError: the name or value.
    """
    values = (*labels.values, *(labels.regions_class_order or ()), labels.ignore or 0)
    _check(
        all(0 <= value <= LARGEST_VALUE for value in values),
        "labels",
        f"values from 0 to {LARGEST_VALUE}",
        values,
    )
    for name in (*channel_names, *(label.name for label in labels.foreground)):
        shown = 0 < len(name) <= 200 and name.isprintable()
        _check(shown, "names of channels and labels", "1 to 200 signs that can be shown", name)


def _check_configuration(where: str, configuration: ConfigurationPlan, channels: int) -> None:
    network = configuration.network
    dimensions = network.dimensions
    _check(dimensions in (2, 3), f"{where}: strides", "2 or 3 axes", dimensions)
    patch = configuration.patch_size
    for name, values in (
        ("patch_size", patch),
        ("spacing", configuration.spacing),
        ("median_shape", configuration.median_shape),
    ):
        _check(len(values) == dimensions, f"{where}: {name}", f"{dimensions} axes", values)
    _check_lengths(configuration.spacing, f"{where}: spacing")
    _check_lengths(configuration.median_shape, f"{where}: median_shape")
    _check_network(where, network)
    _check_counts(patch, _LONGEST_PATCH, f"{where}: patch_size")
    whole = [math.prod(axis) for axis in zip(*network.strides, strict=True)]
    _check(
        math.prod(patch) <= _LARGEST_PATCH
        and all(size % step == 0 for size, step in zip(patch, whole, strict=True)),
        f"{where}: patch_size",
        f"multiples of {whole}, at most {_LARGEST_PATCH} voxels",
        patch,
    )
    _check_counts((configuration.batch_size,), 2**16, f"{where}: batch_size")
    known = tuple(NORMALISATION_CLASSES)
    _check(
        len(configuration.normalisation) == len(configuration.normalise_in_mask) == channels
        and all(name in known for name in configuration.normalisation),
        f"{where}: normalisation",
        f"one of {', '.join(known)} for each of {channels} channels",
        configuration.normalisation,
    )


def _check_network(where: str, network: NetworkPlan) -> None:
    _check(network.stage_count <= _MOST_STAGES, f"{where}: stages", _MOST_STAGES, "more")
    _check_counts(network.features_per_stage, _MOST_FEATURES, f"{where}: features_per_stage")
    _check_counts(network.blocks_per_stage, _MOST_BLOCKS, f"{where}: blocks_per_stage")
    _check_counts(
        network.convs_per_decoder_stage, _MOST_BLOCKS, f"{where}: convs_per_decoder_stage"
    )
    for name, rows, largest, valid in (
        ("kernel_sizes", network.kernel_sizes, _LARGEST_KERNEL, _is_odd),
        ("strides", network.strides, _LARGEST_STRIDE, _is_any),
    ):
        for row in rows:
            _check_counts(row, largest, f"{where}: {name}")
            fits = len(row) == network.dimensions and all(valid(n) for n in row)
            _check(fits, f"{where}: {name}", f"{network.dimensions} axes, odd kernels", row)


def _check_counts(values: Iterable[int], largest: int, where: str) -> None:
    listed = tuple(values)
    fits = all(1 <= value <= largest for value in listed)
    _check(fits, where, f"whole numbers from 1 to {largest}", listed)


def _check_lengths(values: Iterable[float], where: str) -> None:
    listed = tuple(values)
    fits = all(math.isfinite(value) and 0 < value < 1e6 for value in listed)
    _check(fits, where, "finite numbers above 0", listed)


def _is_odd(number: int) -> bool:
    return number % 2 == 1


_is_any: Callable[[int], bool] = bool


def _check(fits: bool, where: str, expected: object, found: object) -> None:
    if not fits:
        raise ModelError(
            f"the model's plan cannot be used ({where})",
            expected=str(expected),
            found=str(found)[:300],
            cure="get the model again from where it was published; do not use this copy",
        )

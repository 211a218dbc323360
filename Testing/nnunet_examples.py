"""nnU-Net's JSON as tests need it: small plans, its older form, and ways to damage a file."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import SelfsegError
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import ComputeTarget, ConfigurationPlan, NetworkPlan, Plan
from selfseg.io.nnunet_json import (
    description_from_nnunet,
    fingerprint_from_nnunet,
)
from selfseg.plan.planner import make_plan

CASES = sorted((Path(__file__).parent / "selfseg" / "plan" / "cases").glob("*.json"))
CT = IntensityProperties(50.5, 48.0, 21.25, -1000.0, 1500.0, -70.5, 240.125)


def through_text(value: Any) -> Any:
    """What another program reads."""
    return json.loads(json.dumps(value, allow_nan=False))


def plan_of(path: Path) -> tuple[Plan, Fingerprint]:
    content = json.loads(path.read_text())
    fingerprint = fingerprint_from_nnunet(content["fingerprint"])
    description = description_from_nnunet(content["dataset"])
    return (
        make_plan(fingerprint, description, content["planner"], content["gpu_memory_gb"]),
        fingerprint,
    )


def same_decisions(read: Plan, plan: Plan) -> bool:
    """Equal in all but what nnU-Net's file has no place for."""
    return read == dataclasses.replace(
        plan, target=read.target, schedule=read.schedule, decisions=read.decisions
    )


def small_plan(dimensions: int = 3, **changes: Any) -> Plan:
    network = NetworkPlan(
        "plain",
        (32, 64, 128),
        ((3,) * dimensions,) * 3,
        ((1,) * dimensions, (2,) * dimensions, (2,) * dimensions),
        (2, 2, 2),
        (2, 2),
    )
    name = "2d" if dimensions == 2 else "3d_fullres"
    configuration = ConfigurationPlan(
        name=name,
        spacing=(1.0,) * dimensions,
        patch_size=(32,) * dimensions,
        median_shape=(40.5,) * dimensions,
        batch_size=2,
        normalisation=("ct",),
        normalise_in_mask=(False,),
        batch_dice=False,
        network=network,
    )
    description = DatasetDescription(
        "small", ("CT",), LabelScheme((Label("organ", (1,)),)), case_count=3
    )
    plan = Plan(
        "plain",
        "plain",
        description,
        (1.0, 1.0, 1.0),
        (40, 40, 40),
        (0, 1, 2),
        (0, 1, 2),
        {name: configuration},
        (CT,),
        ComputeTarget(8.0),
        recommended=(name,),
    )
    return dataclasses.replace(plan, **changes)


def entry_of(content: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = content["configurations"]["3d_fullres"]
    return entry


def arguments_of(content: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = entry_of(content)["architecture"]["arch_kwargs"]
    return arguments


# Plans


def older_form(content: dict[str, Any]) -> dict[str, Any]:
    """The same plans as nnU-Net wrote them before `architecture`."""
    content = copy.deepcopy(content)
    for entry in content["configurations"].values():
        arguments = entry.pop("architecture")["arch_kwargs"]
        entry |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": arguments["features_per_stage"][0],
            "unet_max_num_features": max(arguments["features_per_stage"]),
            "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
            "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [len(arguments["strides"]) - 1] * len(entry["patch_size"]),
            "pool_op_kernel_sizes": arguments["strides"],
            "conv_kernel_sizes": arguments["kernel_sizes"],
        }
    content["foreground_intensity_properties_by_modality"] = content.pop(
        "foreground_intensity_properties_per_channel"
    )
    return content


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested JSON."""
    found = [path]
    if isinstance(value, (dict, list)):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(entry, (*path, key))
    return found


def assert_read_or_refused(read: Callable[[Any], object], original: Any) -> None:
    """Damages every place in every way: what is not read is refused with a cure."""
    for place in places(original):
        for replacement in WRONG:
            cure = "read"
            try:
                read(damaged(original, place, replacement))
            except SelfsegError as error:
                cure = error.cure
            assert cure, (place, replacement)


def damaged(value: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    """A copy with the entry at that place replaced, or removed where `replacement` is ...."""
    if not path:
        return replacement if replacement is not ... else None
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if replacement is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = replacement
    return value


WRONG = (None, "x", -1, 0, 1.5, [], [[]], {}, {"0": {}}, True, [None], 10**30, float("nan"), ...)

"""Every decision against nnU-Net's, on the repository's own cases and on the reference plans."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from selfseg.domain.configurations import CONFIGURATIONS
from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import PlanError
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import DEFAULT_MEMORY_GB, PLANNERS, ConfigurationPlan, Plan, Schedule
from selfseg.io.json_files import read_json, write_json
from selfseg.plan.planner import make_plan

CASES = Path(__file__).parent / "cases"
REFERENCES = Path(__file__).resolve().parents[4] / "shared" / "reference"
REFERENCE_NAMES = sorted(
    str(path.relative_to(REFERENCES)) for path in REFERENCES.glob("plans*/*.json")
)
NORMALISATIONS = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "nonorm",
    "RescaleTo01Normalization": "rescale_to_0_1",
    "RGBTo01Normalization": "rgb_to_0_1",
}


def fingerprint_of(content: dict[str, Any]) -> Fingerprint:
    intensities = content["foreground_intensity_properties_per_channel"]
    return Fingerprint(
        tuple(tuple(row) for row in content["spacings"]),
        tuple(tuple(row) for row in content["shapes_after_crop"]),
        content["median_relative_size_after_cropping"],
        tuple(IntensityProperties(**intensities[str(i)]) for i in range(len(intensities))),
    )


def description_of(content: dict[str, Any]) -> DatasetDescription:
    return DatasetDescription(
        "case",
        tuple(content["channel_names"].values()),
        LabelScheme.from_mapping(content["labels"], content.get("regions_class_order")),
        case_count=content["numTraining"],
    )


def plan_of(content: dict[str, Any]) -> Plan:
    return make_plan(
        fingerprint_of(content["fingerprint"]),
        description_of(content["dataset"]),
        content["planner"],
        content["gpu_memory_gb"],
    )


def as_reference(configuration: ConfigurationPlan) -> dict[str, Any]:
    """The decisions under the names and in the form that the reference files use."""
    network = configuration.network
    blocks = "n_conv_per_stage" if network.architecture == "plain" else "n_blocks_per_stage"
    theirs = {ours: name for name, ours in NORMALISATIONS.items()}
    return {
        "batch_size": configuration.batch_size,
        "patch_size": list(configuration.patch_size),
        "median_image_size_in_voxels": list(configuration.median_shape),
        "spacing": list(configuration.spacing),
        "normalization_schemes": [theirs[name] for name in configuration.normalisation],
        "use_mask_for_norm": list(configuration.normalise_in_mask),
        "batch_dice": configuration.batch_dice,
        "n_stages": network.stage_count,
        "features_per_stage": list(network.features_per_stage),
        "kernel_sizes": [list(kernel) for kernel in network.kernel_sizes],
        "strides": [list(stride) for stride in network.strides],
        blocks: list(network.blocks_per_stage),
        "n_conv_per_stage_decoder": list(network.convs_per_decoder_stage),
    }


def assert_same_decisions(plan: Plan, expected: dict[str, Any]) -> None:
    assert list(plan.transpose_forward) == expected["transpose_forward"]
    assert list(plan.transpose_backward) == expected["transpose_backward"]
    spacing = expected["original_median_spacing_after_transp"]
    assert list(plan.original_median_spacing) == spacing
    assert list(plan.original_median_shape) == expected["original_median_shape_after_transp"]
    # What nnU-Net does not plan is no difference, as long as nobody trains it unasked.
    assert set(plan.recommended) == set(expected["configurations"])
    assert set(plan.configurations) <= {known.name for known in CONFIGURATIONS}
    for name, wanted in expected["configurations"].items():
        configuration = plan.configurations[name]
        assert configuration.previous_stage == wanted.get("previous_stage")
        parent = expected["configurations"].get(wanted.get("inherits_from"), {})
        decisions = {**parent, **wanted}
        for key in ("inherits_from", "previous_stage"):
            decisions.pop(key, None)
        assert as_reference(configuration) == decisions, name


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_every_decision_of_our_own_cases_is_nnunets(path: Path) -> None:
    content = json.loads(path.read_text())
    assert_same_decisions(plan_of(content), content["expected"])


@pytest.mark.reference
@pytest.mark.parametrize("name", REFERENCE_NAMES or ["none"])
def test_every_decision_of_the_reference_plans_is_matched(shared_folder: Path, name: str) -> None:
    content = json.loads((shared_folder / "reference" / name).read_text())
    assert_same_decisions(plan_of(content), content["expected"])


@pytest.mark.reference
def test_no_reference_plan_is_left_out(shared_folder: Path) -> None:
    assert sum(name.startswith("plans_real") for name in REFERENCE_NAMES) == 30
    assert len(REFERENCE_NAMES) == 86


def own_case(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return content


def test_the_own_cases_reach_every_kind_of_decision() -> None:
    plans = [json.loads(path.read_text())["expected"] for path in CASES.glob("*.json")]
    configurations = [set(plan["configurations"]) for plan in plans]
    assert {"2d"} in configurations
    assert {"2d", "3d_fullres"} in configurations
    assert {"2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"} in configurations
    assert len({tuple(plan["transpose_forward"]) for plan in plans}) == 3


def test_recommended_is_simplest_first_and_lowres_before_what_needs_it() -> None:
    assert plan_of(own_case("colour_2d")).recommended == ("2d",)
    assert plan_of(own_case("small_isotropic")).recommended == ("2d", "3d_fullres")
    assert plan_of(own_case("huge_with_cascade")).recommended == (
        "2d",
        "3d_lowres",
        "3d_cascade_fullres",
        "3d_fullres",
    )


def test_the_cascade_is_fullres_with_the_lowres_prediction_as_input() -> None:
    plan = plan_of(own_case("cascade_of_thick_slices"))
    cascade, fullres = plan.configuration("3d_cascade_fullres"), plan.configuration("3d_fullres")
    assert cascade == dataclasses.replace(
        fullres, name="3d_cascade_fullres", previous_stage="3d_lowres"
    )
    assert plan.input_channels("3d_cascade_fullres") == 1 + 7
    assert plan.input_channels("3d_fullres") == 1


@pytest.mark.parametrize("planner", PLANNERS)
def test_defaults_are_the_planners_own(planner: Any) -> None:
    content = own_case("coarse_axis_last")
    fingerprint = fingerprint_of(content["fingerprint"])
    description = description_of(content["dataset"])
    plan = make_plan(fingerprint, description, planner)
    assert plan.name == plan.planner == planner
    assert plan.target.memory_gb == DEFAULT_MEMORY_GB[planner]
    assert plan.schedule == Schedule()
    assert plan == make_plan(fingerprint, description, planner, DEFAULT_MEMORY_GB[planner])
    assert make_plan(fingerprint, description, planner, name="mine").name == "mine"


def test_more_memory_never_makes_the_patch_smaller_and_changes_it_at_last() -> None:
    content = own_case("coarse_axis_last")
    volumes = [
        math.prod(plan_of({**content, "gpu_memory_gb": gb}).configuration("3d_fullres").patch_size)
        for gb in (3, 8, 24, 80)
    ]
    assert volumes == sorted(volumes)
    assert len(set(volumes)) > 1


def test_the_number_of_cases_counts_when_the_description_has_none() -> None:
    content = own_case("one_case_many_labels")
    counted = plan_of({**content, "dataset": {**content["dataset"], "numTraining": 0}})
    assert counted.configurations == plan_of(content).configurations


def test_every_plan_explains_itself() -> None:
    for path in CASES.glob("*.json"):
        plan = plan_of(json.loads(path.read_text()))
        told = {decision.what for decision in plan.decisions}
        assert {"target spacing", "thick slices", "axis order", "configurations"} <= told
        for name in plan.configurations:
            if name != "3d_cascade_fullres":
                assert {f"{name}: patch size", f"{name}: batch size", f"{name}: stages"} <= told
        for channel in plan.description.channel_names:
            assert f"normalisation of channel {channel!r}" in told
        assert all(d.what and d.value and d.reason for d in plan.decisions)


def test_the_explanations_differ_where_the_decisions_do() -> None:
    def told(name: str, what: str) -> str:
        (first, *_) = [d for d in plan_of(own_case(name)).decisions if d.what == what]
        return f"{first.value}: {first.reason}"

    assert "5.25 mm instead of 8.5 mm" in told("thick_slices_refined", "thick slices")
    assert "no special treatment" in told("small_isotropic", "thick slices")
    assert told("coarse_axis_last", "axis order").startswith("X, Z, Y")
    assert "whole context" in told("huge_with_cascade", "configurations")
    assert "not worth" in told("lowres_not_worth_it", "configurations")
    assert "enough context" in told("small_isotropic", "configurations")
    masked = "normalisation within the nonzero mask"
    assert told("mixed_channels_masked", masked).startswith("yes")
    assert told("small_isotropic", masked).startswith("no")


def test_a_plan_survives_our_json(tmp_path: Path) -> None:
    for path in CASES.glob("*.json"):
        plan = plan_of(json.loads(path.read_text()))
        write_json(tmp_path / "plan.json", plan, schema="selfseg.plan/1")
        assert read_json(tmp_path / "plan.json", Plan, schema="selfseg.plan/1") == plan


def test_planning_takes_milliseconds() -> None:
    content = own_case("huge_with_cascade")
    plan_of(content)
    start = time.perf_counter()
    plan_of(content)
    assert time.perf_counter() - start < 0.5


def test_planning_imports_no_torch() -> None:
    program = "import sys, selfseg.plan.planner, selfseg.io.nnunet_json; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "torch" not in run.stdout.split()
    assert "selfseg.plan.planner" in run.stdout.split()


def changed(field: str, value: Any) -> Fingerprint:
    fingerprint = fingerprint_of(own_case("small_isotropic")["fingerprint"])
    return dataclasses.replace(fingerprint, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("spacings", ((1.0, 1.0, 1.0),) * 3 + ((0.0, 1.0, 1.0),), "spacing for case number 4"),
        ("spacings", ((math.nan, 1.0, 1.0),) + ((1.0, 1.0, 1.0),) * 3, "spacing for case number 1"),
        ("spacings", ((1.0, 1.0),) * 4, "spacing"),
        ("shapes_after_crop", ((0, 5, 5),) * 4, "size"),
        ("median_relative_size_after_cropping", math.nan, "crop ratio"),
        ("foreground_intensities", (), "does not belong to this data set"),
    ],
)
def test_an_impossible_fingerprint_is_named(field: str, value: Any, part: str) -> None:
    description = description_of(own_case("small_isotropic")["dataset"])
    with pytest.raises(PlanError, match=part) as caught:
        make_plan(changed(field, value), description)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.cure


@pytest.mark.parametrize("memory", [0, -8, math.nan, math.inf])
def test_an_impossible_memory_target_is_named(memory: float) -> None:
    with pytest.raises(PlanError, match="not a size"):
        plan_of({**own_case("small_isotropic"), "gpu_memory_gb": memory})


def test_memory_too_small_for_any_patch_is_said_so() -> None:
    with pytest.raises(PlanError, match="too small for any patch") as caught:
        plan_of({**own_case("coarse_axis_last"), "gpu_memory_gb": 1e-7})
    assert "--memory" in caught.value.cure


def test_an_unknown_planner_is_named() -> None:
    with pytest.raises(PlanError, match="resenc_l"):
        plan_of({**own_case("small_isotropic"), "planner": "resenc_s"})


def test_flat_huge_volumes_get_a_lowres_stage_of_at_least_one_voxel() -> None:
    fingerprint = changed("shapes_after_crop", ((2, 16000, 16000),) * 4)
    description = description_of(own_case("small_isotropic")["dataset"])
    plan = make_plan(fingerprint, description, memory_gb=1)
    assert min(plan.configuration("3d_lowres").median_shape) >= 1

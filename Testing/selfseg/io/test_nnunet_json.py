"""nnU-Net's JSON forms: exact round trips, older forms, and refusals with a cure."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_examples import (
    CASES,
    arguments_of,
    entry_of,
    older_form,
    plan_of,
    same_decisions,
    small_plan,
    through_text,
)
from selfseg.domain.errors import FileFormatError, PlanError
from selfseg.io.nnunet_json import (
    plan_from_nnunet,
    plan_to_nnunet,
)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_planned_decisions_survive_nnunets_form(path: Path) -> None:
    plan, fingerprint = plan_of(path)
    content = through_text(plan_to_nnunet(plan))
    assert same_decisions(plan_from_nnunet(content, plan.description), plan)
    assert content == through_text(plan_to_nnunet(plan, fingerprint))


@pytest.mark.reference
def test_all_reference_plans_survive_nnunets_form(shared_folder: Path) -> None:
    for path in sorted((shared_folder / "reference").glob("plans*/*.json")):
        plan, _ = plan_of(path)
        content = through_text(plan_to_nnunet(plan))
        assert same_decisions(plan_from_nnunet(content, plan.description), plan), path.name


@given(
    spacing=st.tuples(*[st.floats(1e-3, 1e3)] * 3),
    median=st.tuples(*[st.floats(1, 1e4)] * 3),
    batch=st.integers(1, 500),
    features=st.tuples(*[st.integers(1, 512)] * 3),
    order=st.permutations((0, 1, 2)),
    name=st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True).filter(lambda n: n != "plain"),
)
def test_any_decision_survives_nnunets_form(
    spacing: tuple[float, float, float],
    median: tuple[float, float, float],
    batch: int,
    features: tuple[int, int, int],
    order: list[int],
    name: str,
) -> None:
    plan = small_plan()
    old = plan.configuration("3d_fullres")
    new = dataclasses.replace(
        old,
        spacing=spacing,
        median_shape=median,
        batch_size=batch,
        network=dataclasses.replace(old.network, features_per_stage=features),
    )
    plan = dataclasses.replace(
        plan,
        name=name,
        configurations={"3d_fullres": new},
        original_median_spacing=spacing,
        transpose_forward=tuple(order),
        transpose_backward=tuple(order.index(axis) for axis in range(3)),
    )
    content = through_text(plan_to_nnunet(plan))
    assert same_decisions(plan_from_nnunet(content, plan.description), plan)


def test_the_written_form_has_every_entry_nnunet_reads() -> None:
    plan, _ = plan_of(next(path for path in CASES if path.stem == "cascade_of_thick_slices"))
    content = plan_to_nnunet(plan)
    assert content["plans_name"] == "nnUNetResEncUNetMPlans"
    assert content["experiment_planner_used"] == "nnUNetPlannerResEncM"
    assert content["image_reader_writer"] == "SimpleITKIO"
    cascade = content["configurations"]["3d_cascade_fullres"]
    assert cascade == {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    lowres = content["configurations"]["3d_lowres"]
    assert lowres["next_stage"] == "3d_cascade_fullres"
    assert lowres["data_identifier"] == "nnUNetResEncUNetMPlans_3d_lowres"
    assert content["configurations"]["2d"]["data_identifier"] == "nnUNetPlans_2d"
    assert lowres["resampling_fn_seg_kwargs"]["is_seg"] is True
    assert lowres["architecture"]["network_class_name"].endswith("unet.ResidualEncoderUNet")
    assert lowres["architecture"]["arch_kwargs"]["conv_op"] == "torch.nn.modules.conv.Conv3d"
    assert "n_blocks_per_stage" in lowres["architecture"]["arch_kwargs"]


def test_a_cascade_that_differs_from_fullres_is_written_in_full() -> None:
    plan, _ = plan_of(next(path for path in CASES if path.stem == "cascade_of_thick_slices"))
    cascade = dataclasses.replace(plan.configuration("3d_cascade_fullres"), batch_size=7)
    plan = dataclasses.replace(
        plan, configurations={**plan.configurations, "3d_cascade_fullres": cascade}
    )
    content = through_text(plan_to_nnunet(plan))
    assert "inherits_from" not in content["configurations"]["3d_cascade_fullres"]
    assert same_decisions(plan_from_nnunet(content, plan.description), plan)


@pytest.mark.parametrize(
    ("ending", "dimensions", "reader"),
    [
        (".nii.gz", 3, "SimpleITKIO"),
        (".nii", 3, "NibabelIO"),
        (".png", 2, "NaturalImage2DIO"),
        (".tif", 2, "NaturalImage2DIO"),
        (".tif", 3, "Tiff3DIO"),
    ],
)
def test_the_reader_follows_the_files(ending: str, dimensions: int, reader: str) -> None:
    plan = small_plan(dimensions)
    description = dataclasses.replace(plan.description, file_ending=ending)
    content = plan_to_nnunet(dataclasses.replace(plan, description=description))
    assert content["image_reader_writer"] == reader
    named = dataclasses.replace(description, reader="NibabelIOWithReorient")
    content = plan_to_nnunet(dataclasses.replace(plan, description=named))
    assert content["image_reader_writer"] == "NibabelIOWithReorient"


def test_the_older_form_is_read() -> None:
    plan, _ = plan_of(next(path for path in CASES if path.stem == "one_case_many_labels"))
    content = older_form(through_text(plan_to_nnunet(plan)))
    read = plan_from_nnunet(content, plan.description)
    assert same_decisions(read, plan)
    content["configurations"]["2d"]["UNet_class_name"] = "SegResNet"
    with pytest.raises(PlanError, match="2d cannot be built"):
        plan_from_nnunet(content, plan.description)


def test_configurations_inherit_through_several_steps() -> None:
    plan = small_plan()
    content = plan_to_nnunet(plan)
    content["configurations"] |= {
        "large_batch": {"inherits_from": "3d_fullres", "batch_size": 8},
        "large_batch_dice": {"inherits_from": "large_batch", "batch_dice": True},
    }
    read = plan_from_nnunet(content, plan.description).configuration("large_batch_dice")
    assert (read.batch_size, read.batch_dice) == (8, True)
    assert read.network == plan.configuration("3d_fullres").network


def test_one_number_stands_for_every_stage() -> None:
    plan = small_plan()
    content = plan_to_nnunet(plan)
    arguments_of(content).update(
        kernel_sizes=3, strides=[1, 2, 2], n_conv_per_stage=2, n_conv_per_stage_decoder=2
    )
    assert same_decisions(plan_from_nnunet(content, plan.description), plan)


def test_an_unknown_planner_is_told_not_hidden() -> None:
    plan = small_plan()
    content = plan_to_nnunet(plan) | {"experiment_planner_used": "MyPlanner"}
    read = plan_from_nnunet(content, plan.description)
    assert read.configurations == plan.configurations
    assert any("MyPlanner" in d.reason for d in read.decisions if d.what == "planner")


def test_only_custom_configurations_are_recommended_when_there_is_nothing_else() -> None:
    plan = small_plan()
    content = plan_to_nnunet(plan)
    content["configurations"] = {"mine": content["configurations"]["3d_fullres"]}
    assert plan_from_nnunet(content, plan.description).recommended == ("mine",)


REFUSED: dict[str, Any] = {
    "network class": lambda c: entry_of(c)["architecture"].update(network_class_name="os.system"),
    "batch normalisation": lambda c: arguments_of(c).update(
        norm_op="torch.nn.modules.batchnorm.BatchNorm3d"
    ),
    "2D convolutions on a volume": lambda c: arguments_of(c).update(
        conv_op="torch.nn.modules.conv.Conv2d"
    ),
    "no bias": lambda c: arguments_of(c).pop("conv_bias"),
    "dropout": lambda c: arguments_of(c).update(dropout_op="torch.nn.Dropout3d"),
    "another activation": lambda c: arguments_of(c).update(nonlin="torch.nn.ReLU"),
    "another slope": lambda c: arguments_of(c).update(nonlin_kwargs={"negative_slope": 0.2}),
    "unknown argument": lambda c: arguments_of(c).update(attention=True),
    "missing blocks": lambda c: arguments_of(c).pop("n_conv_per_stage"),
    "lists of different length": lambda c: arguments_of(c).update(n_conv_per_stage=[2, 2]),
    "even kernel": lambda c: arguments_of(c).update(kernel_sizes=2),
    "2D strides": lambda c: arguments_of(c).update(strides=[[1, 1], [2, 2], [2, 2]]),
    "strided first stage": lambda c: arguments_of(c).update(strides=2),
    "patch that does not divide": lambda c: entry_of(c).update(patch_size=[30, 32, 32]),
    "spacing of zero": lambda c: entry_of(c).update(spacing=[0.0, 1.0, 1.0]),
    "infinite spacing": lambda c: entry_of(c).update(spacing=[float("inf"), 1.0, 1.0]),
    "spacing of two axes": lambda c: entry_of(c).update(spacing=[1.0, 1.0]),
    "other channel count": lambda c: entry_of(c).update(
        normalization_schemes=["CTNormalization"] * 2
    ),
    "other normalisation": lambda c: entry_of(c).update(normalization_schemes=["Mine"]),
    "other preprocessing": lambda c: entry_of(c).update(preprocessor_name="Mine"),
    "other resampling": lambda c: entry_of(c).update(resampling_fn_data="resample_torch_simple"),
    "other resampling order": lambda c: entry_of(c)["resampling_fn_data_kwargs"].update(order=1),
    "other label reading": lambda c: c.update(label_manager="Mine"),
    "axis order": lambda c: c.update(transpose_forward=[0, 0, 2]),
    "axis orders not inverse": lambda c: c.update(transpose_forward=[1, 2, 0]),
    "path as a name": lambda c: c.update(plans_name="../../elsewhere"),
    "path as a configuration": lambda c: c["configurations"].update({"a/b": entry_of(c)}),
    "missing stage": lambda c: entry_of(c).update(previous_stage="3d_lowres"),
    "inheritance in a circle": lambda c: entry_of(c).update(inherits_from="3d_fullres"),
    "inheritance from nothing": lambda c: entry_of(c).update(inherits_from="3d_other"),
    "inheritance from a list": lambda c: entry_of(c).update(inherits_from=["3d_fullres"]),
    "no intensities for CT": lambda c: c.update(foreground_intensity_properties_per_channel={}),
    "no configuration": lambda c: c.update(configurations={}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_we_cannot_repeat_is_refused_with_a_cure(what: str) -> None:
    content = copy.deepcopy(plan_to_nnunet(small_plan()))
    REFUSED[what](content)
    with pytest.raises((PlanError, FileFormatError)) as caught:
        plan_from_nnunet(content, small_plan().description)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.cure


def test_a_residual_network_with_extras_is_refused() -> None:
    path = next(path for path in CASES if path.stem == "thick_slices_refined")
    plan, _ = plan_of(path)
    for extra in (
        {"squeeze_excitation": True},
        {"stem_channels": 16},
        {"stochastic_depth_p": 0.1},
        {"bottleneck_channels": [8] * 6},
        {"block": "dynamic_network_architectures.building_blocks.residual.BottleneckD"},
    ):
        content = through_text(plan_to_nnunet(plan))
        arguments_of(content).update(extra)
        with pytest.raises(PlanError, match="cannot be built"):
            plan_from_nnunet(content, plan.description)
    content = through_text(plan_to_nnunet(plan))
    arguments_of(content).update(squeeze_excitation=False, stem_channels=None, block=None)
    assert same_decisions(plan_from_nnunet(content, plan.description), plan)


@pytest.mark.parametrize(
    ("reader", "orientation"),
    [
        ("SimpleITKIO", "as_stored"),
        ("NibabelIO", "as_stored"),
        ("NibabelIOWithReorient", "ras"),
        ("SimpleITKIOWithReorient", "ras"),
    ],
)
def test_readers_that_turn_images_are_part_of_the_plan(reader: str, orientation: str) -> None:
    plan = small_plan()
    content = plan_to_nnunet(plan) | {"image_reader_writer": reader}
    read = plan_from_nnunet(through_text(content), plan.description)
    assert read.orientation == orientation
    again = plan_to_nnunet(read)["image_reader_writer"]
    assert again.endswith("WithReorient") == (orientation == "ras")

"""A model's description is valid once built."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from model_examples import CASCADE, LABELS, a_bundle, a_plan
from selfseg.domain.appearance import Appearance, Code
from selfseg.domain.bundle import Calibration, Member, ModelBundle, ModelCard, PostprocessingStep
from selfseg.domain.errors import ModelError
from selfseg.domain.labels import LabelScheme

MEMBER = Member("plain", "3d_fullres", ("0",))
RED = (255, 0, 0)
OTHER = LabelScheme.from_mapping({"background": 0, "liver": 1, "kidney_left": 2})


@pytest.mark.parametrize(
    "changes",
    [
        {"members": ()},
        {"members": (MEMBER, MEMBER)},
        {"members": (Member("other", "3d_fullres", ("0",)),)},
        {"members": (Member("plain", "2d", ("0",)),)},
        {"members": (replace(MEMBER, mirror_axes=(2,)),), "plans": None},
        {"plans": {}},
        {"plans": {"renamed": a_plan()}},
        {"plans": {"plain": a_plan(), "more": replace(a_plan(), name="more")}},
        {"plans": {"plain": a_plan(OTHER)}},
        {"appearances": ()},
        {"appearances": a_bundle().appearances[::-1]},
        {"postprocessing": (PostprocessingStep("fill_holes", ("spleen",)),)},
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changes: dict[str, Any]) -> None:
    if changes.get("plans", ...) is None:  # a flat network has no third axis to mirror
        plan = a_plan()
        network = replace(
            plan.configuration("3d_fullres").network,
            kernel_sizes=((3, 3), (3, 3)),
            strides=((1, 1), (2, 2)),
        )
        flat = replace(plan.configuration("3d_fullres"), patch_size=(16, 16), network=network)
        changes = {
            **changes,
            "plans": {"plain": replace(plan, configurations={"3d_fullres": flat})},
        }
    with pytest.raises(ModelError) as error:
        a_bundle(**changes)
    assert error.value.expected
    assert error.value.cure


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Member, ("plain", "2d", ())),
        (Member, ("plain", "2d", ("0", "0"))),
        (Member, ("plain", "2d", ("00",))),
        (Member, ("plain", "2d", ("../0",))),
        (Member, ("plain", "2d", ("0",), (0, 0))),
        (Member, ("plain", "2d", ("0",), (3,))),
        (Calibration, (0.0,)),
        (Calibration, (-1.0,)),
        (Calibration, (math.nan,)),
        (Calibration, (math.inf,)),
        (PostprocessingStep, ("os.system",)),
        (PostprocessingStep, ("fill_holes", ("a", "a"))),
        (PostprocessingStep, ("k_largest_components", (), 0)),
        (PostprocessingStep, ("remove_small_components", (), 1, -1)),
        (Appearance, ("liver", (0, 0, 256))),
        (Appearance, ("liver", (0, 0))),
        (Appearance, ("liver", RED, None, Code("SCT", "1", "x"))),
        (Code, ("SCT", "", "Liver")),
        (Code, ("SCT", "1", "a^b")),
        (Code, ("SCT", "1", "a\x1b[2J")),
        (ModelCard, ("", "1")),
        (ModelCard, ("../x", "1")),
        (ModelCard, ("a b", "1")),
        (ModelCard, ("a" * 81, "1")),
        (ModelCard, ("a.", "1")),
        (ModelCard, ("a", "")),
        (ModelCard, ("a", "1/2")),
        (ModelCard, ("a", "1", "\x1b]0;x\x07")),
        (ModelCard, ("a", "1", "", "", "", (), "yesterday")),
    ],
)
def test_no_half_made_objects(kind: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ModelError):
        kind(*arguments)


def test_a_cascade_needs_the_weights_of_its_first_stage() -> None:
    bundle = a_bundle(members=(Member("plain", CASCADE, ("0", "1")),))
    assert bundle.stages == {("plain", CASCADE): ("0", "1"), ("plain", "3d_lowres"): ()}


def test_a_member_that_is_also_a_first_stage_keeps_its_folds() -> None:
    members = (Member("plain", CASCADE, ("0",)), Member("plain", "3d_lowres", ("0", "1")))
    assert a_bundle(members=members).stages["plain", "3d_lowres"] == ("0", "1")


def test_a_cascade_of_itself_is_refused() -> None:
    plan = a_plan()
    looped = {**plan.configurations}
    looped["3d_lowres"] = replace(looped["3d_lowres"], previous_stage=CASCADE)
    with pytest.raises(ModelError, match="leads back to itself"):
        a_bundle(
            members=(Member("plain", CASCADE, ("0",)),),
            plan=replace(plan, configurations=looped),
        )


def test_codes_are_read_and_written() -> None:
    code = Code("SCT", "10200004", "Liver")
    assert Code.from_text(str(code)) == code == Code.from_text("SCT^10200004^Liver")
    with pytest.raises(ModelError):
        Code.from_text("SCT^10200004")


def test_the_example_is_valid() -> None:
    bundle = a_bundle()
    assert isinstance(bundle, ModelBundle)
    assert bundle.card.key == "made@1.0"
    assert [look.name for look in bundle.appearances] == [x.name for x in LABELS.foreground]

"""What a plan says about a cascade: input channels, shared images, order of the stages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan, Plan
from synthetic_preprocessing import GOLDEN, made_plan

CASCADE = "3d_cascade_fullres"


def a_plan(labels: LabelScheme, **changes: object) -> Plan:
    plan = made_plan(GOLDEN["thick_target"], labels)
    full = plan.configuration("3d_fullres")
    cascade: ConfigurationPlan = replace(
        full,
        name=CASCADE,
        previous_stage="3d_lowres",
        **changes,  # type: ignore[arg-type]
    )
    lowres = replace(full, name="3d_lowres", spacing=(2.4, 4.0, 1.8))
    return replace(plan, configurations={"3d_lowres": lowres, "3d_fullres": full, CASCADE: cascade})


@pytest.mark.parametrize(
    ("labels", "order", "values"),
    [
        ({"background": 0, "a": 1, "b": 2}, None, (1, 2)),
        ({"background": 0, "b": 7, "a": 2, "ignore": 8}, None, (2, 7)),
        # Two heads, three values: nnunetv2 2.8.1 gives this cascade three extra channels.
        ({"background": 0, "whole": [1, 2, 3], "core": [2, 3]}, [1, 2], (1, 2, 3)),
        ({"background": 0, "all": [1, 2], "one": 1, "two": 2, "ignore": 3}, [1, 1, 2], (1, 2)),
    ],
)
def test_one_extra_channel_per_label_value(
    labels: dict[str, int | list[int]], order: list[int] | None, values: tuple[int, ...]
) -> None:
    plan = a_plan(LabelScheme.from_mapping(labels, order))
    assert plan.previous_values(CASCADE) == values
    assert plan.input_channels(CASCADE) == 1 + len(values)
    assert plan.input_channels("3d_fullres") == plan.input_channels("3d_lowres") == 1
    assert plan.previous_values("3d_fullres") == ()


def test_the_cascade_shares_the_images_that_are_preprocessed_the_same_way() -> None:
    labels = LabelScheme.from_mapping({"background": 0, "a": 1})
    network = NetworkPlan("plain", (4,), ((3,) * 3,), ((1,) * 3,), (1,), ())
    plan = a_plan(labels, network=network, patch_size=(8, 8, 8), batch_size=9)
    assert plan.images_of(CASCADE) == "3d_fullres"
    assert plan.images_of("3d_lowres") == "3d_lowres"
    assert a_plan(labels, spacing=(1.0, 1.0, 1.0)).images_of(CASCADE) == CASCADE


def test_the_stages_know_each_other() -> None:
    plan = a_plan(LabelScheme.from_mapping({"background": 0, "a": 1}))
    assert plan.next_stages("3d_lowres") == (CASCADE,)
    assert plan.next_stages("3d_fullres") == plan.next_stages(CASCADE) == ()

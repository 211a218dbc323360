from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.domain.starting_point import StartingPoint
from selfseg.plan.planner import make_plan
from selfseg.plan.transfer import plan_from

CT = IntensityProperties(100.0, 90.0, 50.0, -200.0, 900.0, -150.0, 400.0)
OTHER = IntensityProperties(7.0, 7.0, 1.0, 0.0, 9.0, 1.0, 8.0)


def _description(*channels: str) -> DatasetDescription:
    return DatasetDescription("Some", channels, LabelScheme.from_mapping({"a": 1}), case_count=20)


def _source() -> StartingPoint:
    fingerprint = Fingerprint(
        spacings=((0.8, 0.8, 3.0),) * 20,  # the coarsest axis last
        shapes_after_crop=((512, 512, 100),) * 20,
        median_relative_size_after_cropping=1.0,
        foreground_intensities=(CT,),
    )
    plan = make_plan(fingerprint, _description("CT"))
    return StartingPoint(Path("weights"), plan, "3d_fullres", "CTs, 3d_fullres fold 0")


def _new_data(channels: int = 1, crop: float = 0.5) -> Fingerprint:
    return Fingerprint(
        spacings=((1.0, 1.0, 5.0),) * 3,
        shapes_after_crop=((300, 200, 60),) * 3,
        median_relative_size_after_cropping=crop,
        foreground_intensities=(OTHER,) * channels,
    )


def test_what_the_weights_need_is_kept_and_the_rest_is_the_new_datas() -> None:
    start = _source()
    made = plan_from(start, _new_data(), _description("CT"))
    ours, theirs = made.configuration("3d_fullres"), start.plan.configuration("3d_fullres")
    assert ours == replace(theirs, median_shape=ours.median_shape)
    # 300, 200 and 60 voxels of 1, 1 and 5 mm, on a grid of 3, 0.8 and 0.8 mm in plan order.
    assert ours.median_shape == (100.0, 375.0, 250.0)
    assert made.transpose_forward == start.plan.transpose_forward == (2, 0, 1)
    assert made.original_median_spacing == (5.0, 1.0, 1.0)
    assert made.original_median_shape == (60, 300, 200)
    assert made.foreground_intensities == (CT,)
    assert made.name == "plain_finetuned"
    assert made.recommended == ("3d_fullres",)
    assert list(made.configurations) == ["3d_fullres"]


def test_new_channels_are_normalised_by_the_new_data() -> None:
    made = plan_from(_source(), _new_data(2), _description("PET", "ct"))
    configuration = made.configuration("3d_fullres")
    assert configuration.normalisation == ("zscore", "ct")
    assert configuration.normalise_in_mask == (True, False)
    assert made.foreground_intensities == (OTHER, CT)


def test_two_dimensions() -> None:
    start = replace(_source(), configuration="2d")
    made = plan_from(start, _new_data(), _description("CT"), "mine")
    assert made.name == "mine"
    assert made.configuration("2d").median_shape == (375.0, 250.0)


def test_a_cascade_brings_its_first_stage_along() -> None:
    start = replace(_source(), configuration="3d_cascade_fullres")
    made = plan_from(start, _new_data(), _description("CT"))
    assert made.recommended == ("3d_lowres", "3d_cascade_fullres")


def test_no_such_configuration() -> None:
    with pytest.raises(Exception, match="no configuration '4d'"):
        replace(_source(), configuration="4d")

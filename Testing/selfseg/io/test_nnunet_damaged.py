"""nnU-Net's JSON: damaged plans, fingerprints and descriptions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_examples import (
    CASES,
    CT,
    assert_read_or_refused,
    entry_of,
    older_form,
    small_plan,
    through_text,
)
from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import FileFormatError
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import Label, LabelScheme
from selfseg.io.nnunet_json import (
    description_from_nnunet,
    description_to_nnunet,
    fingerprint_from_nnunet,
    fingerprint_to_nnunet,
    plan_from_nnunet,
    plan_to_nnunet,
)


def test_no_damaged_plans_end_in_a_bare_python_error() -> None:
    plan = small_plan()
    content = through_text(plan_to_nnunet(plan))
    content["configurations"]["wide"] = {"inherits_from": "3d_fullres", "batch_size": 4}
    for original in (content, older_form(through_text(plan_to_nnunet(plan)))):
        assert_read_or_refused(lambda c: plan_from_nnunet(c, plan.description), original)


def test_a_wrong_type_is_named_with_its_place() -> None:
    content = plan_to_nnunet(small_plan())
    entry_of(content)["batch_size"] = "two"
    with pytest.raises(FileFormatError, match=r"Expected `int`, got `str` - at `\$.batch_size`"):
        plan_from_nnunet(content, small_plan().description)
    with pytest.raises(FileFormatError, match=r"plans\.json"):
        plan_from_nnunet([], small_plan().description)


# Fingerprints

numbers = st.floats(-1e6, 1e6)
fingerprints = st.builds(
    lambda rows, ratio, channels: Fingerprint(
        tuple(spacing for spacing, _ in rows),
        tuple(shape for _, shape in rows),
        ratio,
        tuple(channels),
    ),
    st.lists(
        st.tuples(st.tuples(*[st.floats(1e-3, 1e3)] * 3), st.tuples(*[st.integers(1, 5000)] * 3)),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.01, 1),
    st.lists(st.builds(IntensityProperties, *[numbers] * 7), max_size=12),
)


@given(fingerprints)
def test_a_fingerprint_survives_nnunets_form(fingerprint: Fingerprint) -> None:
    content = through_text(fingerprint_to_nnunet(fingerprint))
    assert fingerprint_from_nnunet(content) == fingerprint


def test_channels_are_read_by_number_not_by_order() -> None:
    fingerprint = Fingerprint(
        ((1.0, 1.0, 1.0),), ((5, 5, 5),), 1.0,
        tuple(dataclasses.replace(CT, mean=float(i)) for i in range(11)),
    )  # fmt: skip
    content = through_text(fingerprint_to_nnunet(fingerprint))
    key = "foreground_intensity_properties_per_channel"
    content[key] = dict(sorted(content[key].items()))  # "10" before "2"
    assert fingerprint_from_nnunet(content) == fingerprint
    content[key]["eleven"] = content[key].pop("10")
    with pytest.raises(FileFormatError, match="number the channels"):
        fingerprint_from_nnunet(content)


def test_no_damaged_fingerprint_ends_in_a_bare_python_error() -> None:
    content = json.loads(CASES[0].read_text())["fingerprint"]
    assert_read_or_refused(fingerprint_from_nnunet, content)


# Descriptions


@pytest.mark.parametrize(
    "labels",
    [
        LabelScheme((Label("organ", (1,)), Label("lesion", (4,)))),
        LabelScheme((Label("organ", (1,)), Label("lesion", (2,))), ignore=3),
        LabelScheme((Label("all", (1, 2)), Label("core", (2,))), (1, 2), ignore=3),
    ],
)
def test_a_description_survives_nnunets_form(labels: LabelScheme) -> None:
    description = DatasetDescription(
        "Heads", ("T1", "T2"), labels, ".nrrd", 12, "SimpleITKIO", "CC0", "somebody"
    )
    content = through_text(description_to_nnunet(description))
    assert description_from_nnunet(content) == description


def test_the_folder_names_a_data_set_without_a_name(tmp_path: Path) -> None:
    content = json.loads(CASES[0].read_text())["dataset"]
    assert description_from_nnunet(content, tmp_path / "Dataset007").name == "Dataset007"


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_what_is_no_description_is_said_so(content: object) -> None:
    with pytest.raises(FileFormatError, match=r"dataset\.json"):
        description_from_nnunet(content)

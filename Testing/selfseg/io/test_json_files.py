"""Versioned JSON: exact round trips, and errors one can act on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfseg.domain.case import PreprocessRecord
from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import FileFormatError, ImageError, PlanError, ProjectError
from selfseg.domain.fingerprint import Fingerprint, Histogram, IntensityProperties
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import (
    PLANNERS,
    ComputeTarget,
    ConfigurationPlan,
    Decision,
    NetworkPlan,
    Plan,
    Schedule,
    SpeedProfile,
    SpeedSample,
)
from selfseg.io.atomic_files import written_atomically
from selfseg.io.json_files import (
    MAX_DEPTH,
    read_json,
    read_plain_json,
    write_bytes_atomically,
    write_json,
)

FINGERPRINT = "selfseg.fingerprint/1"
PLAN = "selfseg.plan/1"

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
size = st.integers(1, 10_000)


def tuples(of: st.SearchStrategy[Any], **limits: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, **limits).map(tuple)


intensities = st.builds(IntensityProperties, *[finite] * 7)
histograms = st.builds(
    Histogram, edges=tuples(finite, max_size=40), counts=tuples(finite, max_size=40)
)


@st.composite
def fingerprints(draw: st.DrawFn) -> Fingerprint:
    count = draw(st.integers(1, 6))
    exactly = {"min_size": count, "max_size": count}
    return Fingerprint(
        spacings=draw(tuples(st.tuples(finite, finite, finite), **exactly)),
        shapes_after_crop=draw(tuples(st.tuples(size, size, size), **exactly)),
        median_relative_size_after_cropping=draw(finite),
        foreground_intensities=draw(tuples(intensities, max_size=3)),
        case_identifiers=draw(st.just(()) | tuples(names, **exactly)),
        dataset_hash=draw(text),
        intensity_histograms=draw(tuples(histograms, max_size=2)),
        class_voxel_fractions=draw(tuples(st.tuples(size, finite), max_size=3)),
    )


@st.composite
def networks(draw: st.DrawFn, dimensions: int) -> NetworkPlan:
    stages = draw(st.integers(1, 5))
    axes = st.tuples(*[st.integers(1, 3)] * dimensions)
    return NetworkPlan(
        architecture=draw(st.sampled_from(("plain", "residual"))),
        features_per_stage=draw(tuples(size, min_size=stages, max_size=stages)),
        kernel_sizes=draw(tuples(axes, min_size=stages, max_size=stages)),
        strides=draw(tuples(axes, min_size=stages, max_size=stages)),
        blocks_per_stage=draw(tuples(size, min_size=stages, max_size=stages)),
        convs_per_decoder_stage=draw(tuples(size, min_size=stages - 1, max_size=stages - 1)),
    )


@st.composite
def configurations(draw: st.DrawFn, name: str) -> ConfigurationPlan:
    dimensions = 2 if name == "2d" else 3
    return ConfigurationPlan(
        name=name,
        spacing=draw(st.tuples(*[finite] * dimensions)),
        patch_size=draw(st.tuples(*[size] * dimensions)),
        median_shape=draw(st.tuples(*[finite] * dimensions)),
        batch_size=draw(size),
        normalisation=draw(tuples(text, max_size=2)),
        normalise_in_mask=draw(tuples(st.booleans(), max_size=2)),
        batch_dice=draw(st.booleans()),
        network=draw(networks(dimensions)),
        previous_stage=draw(st.none() | text),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    chosen = draw(
        st.lists(st.sampled_from(("2d", "3d_fullres", "3d_lowres")), min_size=1, unique=True)
    )
    labels = draw(
        st.sampled_from(
            (
                LabelScheme((Label("Leber", (2,), (221, 130, 101), "SCT^10200004^Liver"),)),
                LabelScheme((Label("a", (1, 2)), Label("b", (2,))), (1, 2), ignore=3),
            )
        )
    )
    return Plan(
        name=draw(names),
        planner=draw(st.sampled_from(PLANNERS)),
        description=DatasetDescription(
            draw(text), draw(tuples(names, min_size=1, max_size=3)), labels, case_count=draw(size)
        ),
        original_median_spacing=draw(st.tuples(finite, finite, finite)),
        original_median_shape=draw(st.tuples(size, size, size)),
        transpose_forward=(1, 0, 2),
        transpose_backward=(1, 0, 2),
        configurations={name: draw(configurations(name)) for name in chosen},
        foreground_intensities=draw(tuples(intensities, max_size=2)),
        target=ComputeTarget(draw(finite), "cpu", draw(st.none() | finite)),
        schedule=Schedule(seconds=draw(st.none() | finite), optimiser="adamw"),
        recommended=tuple(chosen),
        decisions=draw(tuples(st.builds(Decision, text, text, text), max_size=2)),
    )


PREPROCESS_RECORD = PreprocessRecord(
    native=Geometry((3, 4, 5), (1.0, 0.1 + 0.2, 2.5)),
    transpose=(2, 0, 1),
    crop_start=(0, 1, 0),
    crop_stop=(5, 3, 4),
    shape_before_resampling=(5, 2, 4),
    spacing_before=(2.5, 1.0, 0.3),
    shape_after_resampling=(6, 2, 4),
    spacing_after=(2.0, 1.0, 0.3),
    transposed_shape=(5, 3, 4),
)
SPEED_PROFILE = SpeedProfile(
    "cpu", 2, "bfloat16", (SpeedSample((16, 32), 3, (40, 56, 40), 2, 0.31, 1e7, 2.5e9, 10**9),)
)

fresh_files = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fresh_files
@given(fingerprint=fingerprints())
def test_fingerprint_round_trip_is_exact(tmp_path: Path, fingerprint: Fingerprint) -> None:
    path = tmp_path / "fingerprint.json"
    write_json(path, fingerprint, schema=FINGERPRINT)
    again = read_json(path, Fingerprint, schema=FINGERPRINT)
    assert again == fingerprint
    assert repr(again) == repr(fingerprint)  # 0.0 and -0.0, 1 and 1.0, too


@fresh_files
@given(plan=plans())
def test_plan_round_trip_is_exact(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / "plan.json"
    write_json(path, plan, schema=PLAN)
    again = read_json(path, Plan, schema=PLAN)
    assert again == plan
    assert repr(again) == repr(plan)
    assert list(again.configurations) == list(plan.configurations)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (PREPROCESS_RECORD, "selfseg.preprocess-record/1"),
        (SPEED_PROFILE, "selfseg.speed-profile/1"),
    ],
)
def test_other_types_round_trip(tmp_path: Path, value: object, schema: str) -> None:
    path = tmp_path / "deeper" / "file.json"
    write_json(path, value, schema=schema)
    assert read_json(path, type(value), schema=schema) == value


@dataclass(frozen=True)
class _Everything:
    where: Path
    table: Mapping[str, tuple[Path, ...]]
    number: float = 1.5


def test_paths_and_numpy_numbers_become_plain_json(tmp_path: Path) -> None:
    value = _Everything(Path("a/b"), {"x": (Path("c"),)}, np.float32(0.1))  # type: ignore[arg-type]
    write_json(tmp_path / "e.json", value, schema="selfseg.everything/1")
    again = read_json(tmp_path / "e.json", _Everything, schema="selfseg.everything/1")
    assert again == replace(value, number=float(np.float32(0.1)))
    write_json(tmp_path / "m.json", {"n": np.arange(3)}, schema="selfseg.map/1")
    assert read_json(tmp_path / "m.json", dict, schema="selfseg.map/1") == {"n": [0, 1, 2]}


def test_file_reads_well(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_json(path, {"a": [1.5] * 60, "b": {"c": [1, 2], "d": "ü"}}, schema="selfseg.r/1")
    lines = path.read_text("utf-8").splitlines()
    assert lines[1] == '  "schema": "selfseg.r/1",'
    assert lines[-2] == '  "b": {"c": [1, 2], "d": "ü"}'
    assert max(map(len, lines)) <= 100
    assert len(lines) < 12


@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, np.float32("nan"), object(), "\ud800"]
)
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(
    tmp_path: Path, bad: object
) -> None:
    path = tmp_path / "v.json"
    write_json(path, {"v": 1}, schema="selfseg.v/1")
    with pytest.raises(FileFormatError, match="cannot be written as JSON"):
        write_json(path, {"deep": [{"v": bad}]}, schema="selfseg.v/1")
    assert read_json(path, dict, schema="selfseg.v/1") == {"v": 1}
    assert os.listdir(tmp_path) == ["v.json"]


FINGERPRINT_TEXT = json.dumps(
    {
        "schema": FINGERPRINT,
        "spacings": [[1, 1, 1]],
        "shapes_after_crop": [[3, 4, 5]],
        "median_relative_size_after_cropping": 1,
        "foreground_intensities": [],
    }
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("selfseg.fingerprint/1", "selfseg.fingerprint/2", "update selfseg"),
        ("selfseg.fingerprint/1", "selfseg.fingerprint/0", "make the file again"),
        ("selfseg.fingerprint/1", "selfseg.plan/1", "right file"),
        ("selfseg.fingerprint/1", "nonsense", "right file"),
        ('"schema"', '"scheme"', 'no "schema"'),
        ("[[1, 1, 1]]", "[[1, 1]]", r"spacings\[0\]"),
        ("[[1, 1, 1]]", '[[1, 1, "1"]]', r"spacings\[0\]\[2\]"),
        ("[[1, 1, 1]]", "[[1, 1, NaN]]", "damaged"),
        ("[[1, 1, 1]]", "[[1, 1, 1e999]]", "damaged"),
        ("[3, 4, 5]", "[3, 4, 5.5]", r"shapes_after_crop\[0\]\[2\]"),
        ('"spacings"', '"spacing"', "spacings"),
        ("}", ', "dataset_hsah": ""}', r"\$\.dataset_hsah"),
        ("}", "", "damaged"),
        (FINGERPRINT_TEXT, "", "damaged"),
        (FINGERPRINT_TEXT, "[1]", "damaged"),
        (FINGERPRINT_TEXT, "[" * 100_000, "damaged"),
        ("}", ', "x": ' + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "}", "nested"),
    ],
)
def test_damage_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "f.json"
    path.write_text(FINGERPRINT_TEXT, "utf-8")
    assert read_json(path, Fingerprint, schema=FINGERPRINT).spacings == ((1.0, 1.0, 1.0),)
    path.write_text(FINGERPRINT_TEXT.replace(old, new), "utf-8")
    with pytest.raises(FileFormatError, match=message) as caught:
        read_json(path, Fingerprint, schema=FINGERPRINT)
    assert caught.value.path == path
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.cure


def test_not_text_missing_folder_or_too_large(tmp_path: Path) -> None:
    binary = tmp_path / "b.json"
    binary.write_bytes(b"\xff\xfe\x00{")
    for path, limit in ((binary, 100), (tmp_path / "none.json", 100), (tmp_path, 100), (binary, 3)):
        with pytest.raises(FileFormatError):
            read_json(path, dict, schema="selfseg.b/1", max_bytes=limit)
        with pytest.raises(FileFormatError):
            read_plain_json(path, max_bytes=limit)


def test_domain_errors_carry_the_path(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(FINGERPRINT_TEXT.replace("[[1, 1, 1]]", "[]"), "utf-8")
    with pytest.raises(PlanError, match="no complete set") as caught:
        read_json(path, Fingerprint, schema=FINGERPRINT)
    assert caught.value.path == path
    write_json(path, PREPROCESS_RECORD, schema="selfseg.preprocess-record/1")
    path.write_text(path.read_text("utf-8").replace("2.5", "-2.5"), "utf-8")
    with pytest.raises(ImageError, match="spacing"):
        read_json(path, PreprocessRecord, schema="selfseg.preprocess-record/1")


def test_plain_json_takes_what_others_write(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"labels": {"background": 0}, "mean": NaN}')
    assert read_plain_json(path)["labels"] == {"background": 0}
    path.write_text("[" * 2000 + "]" * 2000)
    with pytest.raises(FileFormatError, match="nested"):
        read_plain_json(path)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_bytes_atomically(path, b"old")

    def interrupted() -> None:
        with written_atomically(path) as part:
            assert part.name.endswith("a.nii.gz")
            part.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.nii.gz"]


def test_an_unwritable_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProjectError, match="cannot be written"):
        write_bytes_atomically(tmp_path / "file" / "a.json", b"x")

"""Export to ONNX: one graph per network, and a sidecar that leaves nothing to guess."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_examples import CASCADE, a_bundle, a_quality, made_weights
from onnx_examples import GRAPH, an_onnx_model
from selfseg.domain.bundle import Calibration, Member, PostprocessingStep
from selfseg.domain.errors import ModelError
from selfseg.domain.events import Event
from selfseg.io.bundle_files import read_bundle, write_bundle
from selfseg.io.onnx_files import read_onnx
from selfseg.registry.onnx_export import export_onnx, export_stored

onnx = pytest.importorskip("onnx")


def steps(folder: Path, configuration: str, part: str) -> dict[str, Mapping[str, Any]]:
    content = json.loads((folder / "onnx.json").read_text(encoding="utf-8"))
    stage = next(entry for entry in content["steps"] if entry["configuration"] == configuration)
    return {entry["step"]: entry for entry in stage[part]}


def test_one_graph_per_fold_with_its_hash(tmp_path: Path) -> None:
    told: list[Event] = []
    folder = an_onnx_model(tmp_path / "model", licence_text="CC0", reporter=told.append)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"onnx.json", "LICENSE.txt", GRAPH, GRAPH.replace("fold_0", "fold_1")}
    assert len(told) == 2
    stored = read_onnx(folder)
    for record in stored.graphs:
        data = (folder / record.file).read_bytes()
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert (record.input_shape, record.output_shape) == ((1, 16, 16, 16), (4, 16, 16, 16))
        onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)


def test_the_description_comes_back_whole(tmp_path: Path) -> None:
    bundle = a_bundle(
        members=(Member("plain", "3d_fullres", ("0",), mirror_axes=(1, 2)),),
        postprocessing=(PostprocessingStep("largest_component", ("liver",)),),
        calibration=Calibration(1.3, "4 held-out cases"),
        quality=a_quality("liver"),
    )
    stored = read_onnx(an_onnx_model(tmp_path / "model", bundle))
    for name in ("card", "description", "plans", "members", "appearances", "postprocessing",
                 "calibration", "fingerprint", "quality"):  # fmt: skip
        assert getattr(stored.bundle, name) == getattr(bundle, name), name


def test_the_steps_say_what_the_plan_means(tmp_path: Path) -> None:
    bundle = a_bundle(
        members=(Member("plain", CASCADE, ("0",), mirror_axes=(0, 2)),),
        postprocessing=(PostprocessingStep("fill_holes", ("liver",)),),
        calibration=Calibration(1.5),
    )
    folder = an_onnx_model(tmp_path / "model", bundle)
    plan = bundle.plans["plain"]
    before, after = steps(folder, CASCADE, "before"), steps(folder, CASCADE, "after")
    known = plan.foreground_intensities[0]
    (channel,) = before["normalise"]["channels"]
    assert channel["clip"] == [known.percentile_00_5, known.percentile_99_5]
    assert (channel["subtract"], channel["divide_by"]) == (known.mean, known.std)
    assert before["transpose"]["axes"] == list(plan.transpose_forward)
    assert before["resample"]["spacing"] == list(plan.configuration(CASCADE).spacing)
    assert before["append_first_stage"]["configuration"] == "3d_lowres"
    assert before["append_first_stage"]["label_values"] == [1, 2, 5]
    assert after["mirror"]["axes"] == [0, 2]
    assert [head["writes"] for head in after["decide"]["heads"]] == [0, 1, 2, 5]
    assert after["probabilities"]["temperature"] == 1.5
    assert "average_members" not in after
    assert after["postprocess"]["kind"] == "fill_holes"
    first = steps(folder, "3d_lowres", "after")
    assert "postprocess" not in first
    assert first["mirror"]["axes"] == [0, 1, 2]
    assert read_onnx(folder).folds("plain", "3d_lowres") == ("0",)


def test_members_that_vote_say_how(tmp_path: Path) -> None:
    members = (Member("plain", "3d_fullres", ("0",)), Member("plain", "3d_lowres", ("0",)))
    folder = an_onnx_model(tmp_path / "model", a_bundle(members=members))
    after = steps(folder, "3d_fullres", "after")
    each, vote = after["probabilities"], after["average_members"]
    assert (each["activation"], each["temperature"], vote["of"]) == ("softmax", 1, "probabilities")
    assert len(vote["members"]) == 2


def test_a_bundle_is_exported_with_its_licence(tmp_path: Path) -> None:
    bundle = a_bundle()
    write_bundle(tmp_path / "bundle", bundle, made_weights(bundle), licence_text="CC0 in full")
    folder = export_stored(read_bundle(tmp_path / "bundle"), tmp_path / "model")
    assert (folder / "LICENSE.txt").read_text(encoding="utf-8") == "CC0 in full"
    direct = an_onnx_model(tmp_path / "direct", bundle)
    assert (folder / GRAPH).read_bytes() == (direct / GRAPH).read_bytes()


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    bundle = a_bundle()
    weights = list(made_weights(bundle))
    with pytest.raises(ModelError, match="missing"):
        export_onnx(tmp_path / "model", bundle, weights[:1])
    key, arrays = weights[0]
    name = next(iter(arrays))
    with pytest.raises(ModelError, match="do not fit"):
        export_onnx(tmp_path / "model", bundle, [(key, {**arrays, name: arrays[name][:1]})])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="of this name already"):
        export_onnx(tmp_path / "model", bundle, weights)

"""Postprocessing, scores and fingerprint of nnU-Net's models, as data."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest

from nnunet_models import DATASET, LABELS, REGIONS, tiny_plan, write_model
from selfseg.domain.bundle import ModelBundle, PostprocessingStep
from selfseg.domain.errors import ModelError, SelfsegError
from selfseg.domain.events import Event, Notice
from selfseg.registry.nnunet_choice import NnunetOptions
from selfseg.registry.nnunet_import import nnunet_model
from selfseg.registry.nnunet_postprocessing import FUNCTION, read_postprocessing

ALL = PostprocessingStep("largest_component_all")
LESION = PostprocessingStep("largest_component", ("lesion",))
MODULE = "nnunetv2.postprocessing.remove_connected_components"


def described(source: Path, **options: Any) -> tuple[ModelBundle, list[str]]:
    texts: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            texts.append(event.text)

    options_ = NnunetOptions(**options)
    with nnunet_model(source, options=options_, reporter=listen) as (bundle, _):
        return bundle, texts


def genuine_pickle(steps: list[dict[str, Any]], protocol: int = 4) -> bytes:
    """What batchgenerators' save_pickle writes in nnU-Net's environment.

    The name of this module, which holds a function of that name below, is replaced by theirs.
    """
    made = pickle.dumps(([_named] * len(steps), steps), protocol)
    here = _named.__module__.encode()
    short, theirs = bytes([len(here)]) + here, bytes([len(MODULE)]) + MODULE.encode()
    changed = made.replace(b"\x8c" + short, b"\x8c" + theirs).replace(
        b"\x8c\x06_named", b"\x8c" + bytes([len(FUNCTION)]) + FUNCTION.encode()
    )
    # One frame holds all: its length follows the opcode.
    grown = int.from_bytes(changed[3:11], "little") + len(changed) - len(made)
    return changed[:3] + grown.to_bytes(8, "little") + changed[11:]


def _named() -> None:
    """Stands for nnU-Net's function while pickling."""


@pytest.mark.parametrize("protocol", [4, 5])
def test_the_pickle_is_read_without_running_it(protocol: int, tmp_path: Path) -> None:
    import numpy as np

    steps = [
        {"labels_or_regions": list(np.unique([2, 1]))},
        {"labels_or_regions": np.int64(2)},
        {"labels_or_regions": 1},
    ]
    data = genuine_pickle(steps, protocol)
    assert any(op.name == "STACK_GLOBAL" for op, _, _ in pickletools.genops(data))
    (tmp_path / "postprocessing.pkl").write_bytes(data)
    liver = PostprocessingStep("largest_component", ("liver",))
    assert read_postprocessing(tmp_path, LABELS) == (ALL, LESION, liver)


def test_regions_in_a_pickle(tmp_path: Path) -> None:
    steps = [{"labels_or_regions": (1, 2)}, {"labels_or_regions": 2, "background_label": 0}]
    (tmp_path / "postprocessing.pkl").write_bytes(genuine_pickle(steps))
    core = PostprocessingStep("largest_component", ("core",))
    # "whole" is all that there is.
    assert read_postprocessing(tmp_path, REGIONS) == (ALL, core)


@pytest.mark.parametrize("labels", [LABELS, REGIONS])
def test_the_json_is_preferred(labels: Any, tmp_path: Path) -> None:
    content = {
        "postprocessing_fns": [FUNCTION, FUNCTION],
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 2}],
    }
    (tmp_path / "postprocessing.json").write_text(json.dumps(content))
    (tmp_path / "postprocessing.pkl").write_bytes(b"never looked at")
    name = labels.foreground[1].name
    assert read_postprocessing(tmp_path, labels) == (
        ALL,
        PostprocessingStep("largest_component", (name,)),
    )


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("was_run",))


HOSTILE = {
    "code": pickle.dumps(([_Runs()], [{"labels_or_regions": 1}]), 4),
    "code in the arguments": pickle.dumps(([], [{"labels_or_regions": _Runs()}]), 4),
    "another function": pickle.dumps(([len], [{"labels_or_regions": 1}]), 4),
    "an older protocol": pickle.dumps(([], []), 2),
    "text": b"cos\nsystem\n(S'touch was_run'\ntR.",
    "cut off": genuine_pickle([{"labels_or_regions": 1}])[:-20],
    "no end": genuine_pickle([{"labels_or_regions": 1}])[:-1],
    "nothing": b"",
    "a list": pickle.dumps([1], 4),
    "unequal lists": pickle.dumps(([], [{}]), 4),
    "other arguments": genuine_pickle([{"labels_or_regions": 1, "extra": 2}]),
    "another background": genuine_pickle([{"labels_or_regions": 1, "background_label": 1}]),
    "unknown labels": genuine_pickle([{"labels_or_regions": 7}]),
    "large": b"\x80\x04]\x94." + b"x" * 2**21,
    "a number of the wrong size": genuine_pickle([{"labels_or_regions": 1}]).replace(
        b"K\x01", b"K\x01K\x01\x86R"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_other_pickle_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "postprocessing.pkl").write_bytes(HOSTILE[name])
    with pytest.raises(ModelError) as caught:
        read_postprocessing(tmp_path, LABELS)
    assert caught.value.cure
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "no JSON",
        json.dumps({"postprocessing_fns": ["os.system"], "postprocessing_kwargs": [{}]}),
        json.dumps({"postprocessing_fns": [FUNCTION], "postprocessing_kwargs": [[1]]}),
        json.dumps({"postprocessing_fns": [FUNCTION], "postprocessing_kwargs": []}),
    ],
)
def test_no_other_json_is_taken(content: str, tmp_path: Path) -> None:
    (tmp_path / "postprocessing.json").write_text(content)
    with pytest.raises(SelfsegError) as caught:
        read_postprocessing(tmp_path, LABELS)
    assert caught.value.cure


def test_a_models_results_come_along(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tiny_plan(), folds=(0, 1))
    results = folder / "crossval_results_folds_0_1"
    results.mkdir()
    (results / "postprocessing.pkl").write_bytes(genuine_pickle([{"labels_or_regions": 2}]))
    case = {"reference_file": "/home/someone/patient.nii.gz", "metrics": {}}
    summary = {
        "foreground_mean": {"Dice": 0.75, "TP": 10.5},
        "mean": {"1": {"Dice": 0.9}, "2": {"Dice": float("nan")}, "7": {"Dice": 1.0}},
        "metric_per_case": [case],
    }
    (results / "summary.json").write_text(json.dumps(summary))
    fingerprint = {
        "spacings": [[1.0, 1.0, 1.0]],
        "shapes_after_crop": [[12, 12, 12]],
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {},
    }
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    bundle, texts = described(tmp_path)
    assert not texts
    assert bundle.postprocessing == (LESION,)
    assert bundle.scores == {
        "foreground_mean": {"Dice": 0.75, "TP": 10.5},
        "mean": {"1": {"Dice": 0.9}, "2": {"Dice": None}},
        "metric_per_case": [],
    }
    assert bundle.fingerprint is not None
    assert bundle.fingerprint.spacings == ((1.0, 1.0, 1.0),)
    # Found for both folds together; another choice has none.
    assert described(tmp_path, folds=("0",))[0].postprocessing == ()


def test_results_of_an_ensemble(tmp_path: Path) -> None:
    for configuration in ("2d", "3d_fullres"):
        write_model(tmp_path, tiny_plan(), configuration)
    names = "nnUNetTrainer__nnUNetPlans__2d___nnUNetTrainer__nnUNetPlans__3d_fullres"
    results = tmp_path / DATASET / "ensembles" / f"ensemble___{names}___0"
    results.mkdir(parents=True)
    content = {
        "postprocessing_fns": [FUNCTION],
        "postprocessing_kwargs": [{"labels_or_regions": 2}],
    }
    (results / "postprocessing.json").write_text(json.dumps(content))
    for order in (("2d", "3d_fullres"), ("3d_fullres", "2d")):
        assert described(tmp_path, configurations=order)[0].postprocessing == (LESION,)
    assert described(tmp_path, configurations=("2d",))[0].postprocessing == ()


def test_what_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tiny_plan())
    results = folder / "crossval_results_folds_0"
    results.mkdir()
    (results / "postprocessing.pkl").write_bytes(HOSTILE["code"])
    (results / "summary.json").write_text("[]")
    (folder / "dataset_fingerprint.json").write_text("{")
    bundle, texts = described(tmp_path)
    assert (bundle.postprocessing, bundle.scores, bundle.fingerprint) == ((), None, None)
    for what in ("postprocessing", "scores", "fingerprint"):
        assert any(f"{what} is left out" in t or f"{what} are left out" in t for t in texts)
    assert any("nnUNetv2_determine_postprocessing" in text for text in texts)

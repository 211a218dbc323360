"""Kinds of targets and images that a method must take as they come, each the whole way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.io.images import read_label_map

QUICK: dict[str, Any] = {"device": "cpu", "epochs": 1, "iterations": 3, "workers": 1, "folds": "0"}
Change = Callable[[np.ndarray], np.ndarray]
WholeWay = Callable[..., dict[str, Any]]


def relabel(data: Path, cases: list[int], change: Change) -> None:
    """Changes the voxels of some training label maps."""
    for case in cases:
        path = data / "labelsTr" / f"case_{case:03d}.nii.gz"
        image = sitk.ReadImage(str(path))
        changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(path))


def edit_record(data: Path, **changes: Any) -> None:
    path = data / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def whole_way(tmp_path: Path, narrow_plan: Callable[..., str], one_thread: None) -> WholeWay:
    """Trains, judges and predicts; gives the scores of the held-out cases."""

    def go(data: Path, configuration: str = "3d_fullres") -> dict[str, Any]:
        project = tmp_path / "p"
        name = narrow_plan(data, project)
        home = pipeline.run(data, project, configurations=[configuration], plan_name=name, **QUICK)
        (written,) = pipeline.predict(
            project, [data / "imagesTs"], tmp_path / "out", device="cpu", mirror=False
        )
        reference = read_label_map(data / "labelsTs" / written.name)[0]
        assert read_label_map(written)[0].shape == reference.shape
        path = home.run_folder("plain", configuration, "0") / "validation.json"
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    return go


def test_no_foreground_in_some_cases(tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data")
    # Two of five, so that the training cases of every fold hold one without foreground.
    relabel(data, [1, 2], np.zeros_like)
    assert whole_way(data)["metric_per_case"]


def test_no_foreground_in_the_held_out_case(tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data", cases=3)
    splits = [{"train": ["case_000", "case_001"], "val": ["case_002"]}]
    (data / "splits_final.json").write_text(json.dumps(splits))
    relabel(data, [2], np.zeros_like)
    scores = whole_way(data)
    # Absent from the reference: undefined where nothing is predicted either, else 0.
    assert scores["mean"]["1"]["Dice"] in (None, 0)


def test_a_structure_that_some_cases_lack(tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data")
    relabel(data, [0, 1, 2, 3], lambda labels: np.minimum(labels, 1))  # one case has the bud
    assert whole_way(data)["mean"].keys() == {"1", "2"}


def test_a_single_class(tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data")
    relabel(data, [0, 1, 2, 3, 4], lambda labels: np.minimum(labels, 1))
    edit_record(data, labels={"background": 0, "ball": 1})
    assert whole_way(data)["mean"].keys() == {"1"}


def test_values_with_gaps(tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data")
    relabel(data, [0, 1, 2, 3, 4], lambda labels: np.array([0, 9, 4], np.uint8)[labels])
    edit_record(data, labels={"background": 0, "ball": 9, "bud": 4})
    assert whole_way(data)["mean"].keys() == {"9", "4"}


def test_many_channels(tmp_path: Path, whole_way: WholeWay) -> None:
    names = ("T1w", "T1c", "T2w", "FLAIR", "CT", "noNorm", "rescale_0_1")
    data = make_small_dataset(tmp_path / "data", channels=names)
    assert whole_way(data)["mean"].keys() == {"1", "2"}


@pytest.mark.parametrize("annotated", ["one slice", "one case not at all"])
def test_partial_annotation(annotated: str, tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data", ignore=True)

    def sparse(labels: np.ndarray) -> np.ndarray:
        kept = np.full_like(labels, 3)
        middle = len(labels) // 2
        kept[middle] = labels[middle]
        return kept

    if annotated == "one slice":
        relabel(data, [0, 1, 2, 3, 4], sparse)
    else:
        relabel(data, [1], lambda labels: np.full_like(labels, 3))
    assert whole_way(data)["mean"].keys() == {"1", "2"}


def test_2d_regions_with_an_ignore_label(tmp_path: Path, whole_way: WholeWay) -> None:
    data = make_small_dataset(tmp_path / "data", dimensions=2, regions=True, ignore=True)
    assert whole_way(data, "2d")["mean"].keys() == {"(1, 2)", "2"}

"""Data set folders in every form, and lists of files to predict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from selfseg.domain.dataset import Split
from selfseg.domain.errors import DatasetError, FileFormatError
from selfseg.io.dataset_json import parse_description
from selfseg.io.datasets import find_cases, open_dataset
from selfseg.io.images import read_case

DESCRIPTION: dict[str, Any] = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def save(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    elif len(shape) == 4:
        parts = [sitk.GetImageFromArray(np.zeros(shape[1:], np.uint8)) for _ in range(shape[0])]
        sitk.WriteImage(sitk.JoinSeries(parts), str(path))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros(shape or (2, 3, 4), np.uint8)), str(path))
    return path


def describe(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = {k: v for k, v in {**DESCRIPTION, **changes}.items() if v is not None}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def raw(folder: Path, names: Sequence[str] = ("b", "a"), channels: int = 1, **changes: Any) -> Path:
    """Writes an nnU-Net v2 raw data set."""
    for name in names:
        for channel in range(channels):
            save(folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
        save(folder / "labelsTr" / f"{name}.nii.gz")
    wanted = {str(i): f"c{i}" for i in range(channels)}
    return describe(folder, channel_names=wanted, numTraining=len(names), **changes)


def decathlon(folder: Path, *, split: bool = False) -> Path:
    """Writes a Decathlon task of two channels, or what nnU-Net v1 made of it."""
    for name in ("x_2", "x_1"):
        if split:
            save(folder / f"imagesTr/{name}_0000.nii.gz")
            save(folder / f"imagesTr/{name}_0001.nii.gz")
        else:
            save(folder / f"imagesTr/{name}.nii.gz", 2, 2, 3, 4)
        save(folder / f"labelsTr/{name}.nii.gz")
    save(folder / "imagesTs/x_3.nii.gz", 2, 2, 3, 4)
    (folder / "imagesTr" / "._x_1.nii.gz").write_bytes(b"resource fork")
    content = {
        "name": "Prostate",
        "description": "Prostate",
        "reference": "Radboud",
        "licence": "CC-BY-SA 4.0",
        "release": "1.0 04/05/2018",
        "tensorImageSize": "4D",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": 2,
        "numTest": 1,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in ("x_2", "x_1", "._x_1")
        ],
        "test": ["./imagesTs/x_3.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_raw_folder(tmp_path: Path) -> None:
    folder = raw(tmp_path / "Dataset001_Liver", channels=2, licence="CC0", reference="us")
    save(folder / "imagesTs" / "t_0000.nii.gz")
    (folder / "imagesTr" / "._a_0000.nii.gz").write_bytes(b"")
    dataset = open_dataset(folder)
    assert dataset.description.name == "Dataset001_Liver"
    assert dataset.description.channel_names == ("c0", "c1")
    assert dataset.description.case_count == 2
    assert (dataset.description.licence, dataset.description.reference) == ("CC0", "us")
    assert [case.identifier for case in dataset.cases] == ["a", "b"]
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert dataset.cases[0].label == folder / "labelsTr" / "a.nii.gz"
    assert [case.identifier for case in dataset.test_cases] == ["t"]
    assert dataset.splits is None


def test_splits_beside_the_data_set(tmp_path: Path) -> None:
    folder = raw(tmp_path / "d")
    splits = [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    assert open_dataset(folder).splits == (Split(("a",), ("b",)), Split(("b",), ("a",)))


def test_explicit_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSEG_TEST_FOLDER", str(tmp_path / "far"))
    entries = {
        "a": {"images": ["../near/scan.nrrd"], "label": "../near/seg.nrrd"},
        "b": {
            "images": [str(tmp_path / "far" / "s_0000.nii.gz")],
            "label": "$SELFSEG_TEST_FOLDER/s.nii.gz",
        },
    }
    for name in ("near/scan.nrrd", "near/seg.nrrd", "far/s_0000.nii.gz", "far/s.nii.gz"):
        save(tmp_path / name)
    dataset = open_dataset(describe(tmp_path / "d", dataset=entries))
    assert [case.identifier for case in dataset.cases] == ["a", "b"]
    assert dataset.cases[0].images == (tmp_path / "near" / "scan.nrrd",)
    assert dataset.cases[1].label == tmp_path / "far" / "s.nii.gz"


@pytest.mark.parametrize("split", [False, True])
def test_decathlon(tmp_path: Path, split: bool) -> None:
    dataset = open_dataset(decathlon(tmp_path / "Task05_Prostate", split=split))
    assert dataset.description.name == "Prostate"
    assert dataset.description.channel_names == ("T2", "ADC")
    assert dataset.description.file_ending == ".nii.gz"
    assert dataset.description.labels.to_mapping() == {"background": 0, "PZ": 1, "TZ": 2}
    assert [case.identifier for case in dataset.cases] == ["x_1", "x_2"]
    assert [case.identifier for case in dataset.test_cases] == ["x_3"]
    case = read_case(dataset.cases[0], dataset.description.labels)
    assert case.channels.shape == (2, 2, 3, 4)


def test_rgb_pictures_hold_their_channels_in_one_file(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr" / "p_0000.png", 5, 6, 3)
    save(tmp_path / "labelsTr" / "p.png", 5, 6)
    channels = {str(i): "rgb_to_0_1" for i in range(3)}
    dataset = open_dataset(describe(tmp_path, channel_names=channels, file_ending=".png"))
    assert read_case(dataset.cases[0], dataset.description.labels).channels.shape == (3, 1, 5, 6)


@pytest.mark.parametrize(
    ("changes", "channels", "labels"),
    [
        ({"channel_names": ["T1", "T2"]}, ("T1", "T2"), None),
        ({"channel_names": None, "modality": {"1": "T2", "0": "T1"}}, ("T1", "T2"), None),
        ({"channel_names": None, "modality": ["CT"]}, ("CT",), None),
        (
            {"labels": {"0": "Hintergrund", "1": "a", "3": "b"}},
            ("CT",),
            {"background": 0, "a": 1, "b": 3},
        ),
        (
            {"labels": {"background": 0, "all": [1, 2], "core": 2}, "regions_class_order": [1, 2]},
            ("CT",),
            {"background": 0, "all": [1, 2], "core": 2},
        ),
        (
            {"labels": {"background": 0, "a": 1, "ignore": 2}},
            ("CT",),
            {"background": 0, "a": 1, "ignore": 2},
        ),
        ({"numTraining": None}, ("CT",), None),
    ],
)
def test_forms_of_dataset_json(
    tmp_path: Path, changes: dict[str, Any], channels: tuple[str, ...], labels: dict | None
) -> None:
    mapping = {k: v for k, v in {**DESCRIPTION, **changes}.items() if v is not None}
    description = parse_description(mapping, tmp_path)
    assert description.channel_names == channels
    assert description.labels.to_mapping() == (labels or DESCRIPTION["labels"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [("SimpleITKIO", "SimpleITKIO"), ("None", None), ("os.system", None), (None, None)],
)
def test_only_known_readers_are_kept(tmp_path: Path, given: str | None, kept: str | None) -> None:
    mapping = {**DESCRIPTION, "overwrite_image_reader_writer": given}
    assert parse_description(mapping, tmp_path).reader == kept


def test_all_problems_of_a_description_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_description({"labels": {"a": "x"}, "file_ending": " .nii.gz"}, tmp_path)
    for word in ("labels.a", "channel_names", "file_ending"):
        assert word in str(caught.value)


def test_opening_tells_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "none")
    folder = raw(tmp_path / "d")
    with pytest.raises(DatasetError, match="data sets in d"):
        open_dataset(tmp_path)
    (folder / "labelsTr" / "a.nii.gz").unlink()
    with pytest.raises(DatasetError, match="case a: the label map is missing"):
        open_dataset(folder)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(FileFormatError):
        open_dataset(folder)
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(DatasetError, match="not an object"):
        open_dataset(folder)


def test_opening_counts_the_channels_of_the_first_case(tmp_path: Path) -> None:
    folder = raw(tmp_path / "d")
    describe(folder, channel_names={"0": "a", "1": "b"})
    with pytest.raises(DatasetError, match="number of channels"):
        open_dataset(folder)


def names(cases: Sequence[Any]) -> dict[str, list[str]]:
    return {case.identifier: [path.name for path in case.images] for case in cases}


def test_files_without_channel_numbers_are_cases(tmp_path: Path) -> None:
    first = save(tmp_path / "b.nrrd")
    second = save(tmp_path / "scan_2024.nii.gz")
    found = find_cases([first, second, first], 1, ".nii.gz")
    assert names(found) == {"b": ["b.nrrd"], "scan_2024": ["scan_2024.nii.gz"]}


def test_folder_of_one_channel_cases(tmp_path: Path) -> None:
    for name in ("b_0000.nii.gz", "a_0000.nii.gz", "c.nii.gz", "d.nrrd"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "._a_0000.nii.gz").write_bytes(b"")
    one = {"a": ["a_0000.nii.gz"], "b": ["b_0000.nii.gz"], "c": ["c.nii.gz"]}
    assert names(find_cases([tmp_path], 1, ".nii.gz")) == one
    assert names(find_cases([tmp_path], 1)) == {**one, "d": ["d.nrrd"]}


def test_channels_are_grouped_in_order(tmp_path: Path) -> None:
    for name in ("a_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz"):
        save(tmp_path / name)
    assert names(find_cases([tmp_path], 2, ".nii.gz")) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }


def test_one_file_may_hold_all_channels(tmp_path: Path) -> None:
    four = save(tmp_path / "four.nii.gz", 2, 2, 3, 4)
    assert names(find_cases([four], 2)) == {"four": ["four.nii.gz"]}
    picture = save(tmp_path / "p_0000.png", 5, 6, 3)
    assert names(find_cases([picture], 3)) == {"p": ["p_0000.png"]}


@pytest.mark.parametrize(
    ("files", "count", "said"),
    [
        (["a_0000.nii.gz"], 2, "a_0001.nii.gz"),
        (["a.nii.gz"], 2, "a channel is missing"),
        (["a_0000.nii.gz", "a_0002.nii.gz"], 3, "a_0001.nii.gz"),
        (["a_0001.nii.gz", "a_0002.nii.gz"], 3, "a_0000.nii.gz"),
        (["a_0000.nii.gz", "a_0001.nii.gz"], 1, "too many channels"),
        (["x/a.nii.gz", "y/A.nii.gz"], 1, "would overwrite"),
        (["x/a.nii.gz", "y/a.nii.gz"], 1, "would overwrite"),
    ],
)
def test_unusable_inputs(tmp_path: Path, files: list[str], count: int, said: str) -> None:
    paths = [save(tmp_path / name) for name in files]
    with pytest.raises(DatasetError, match=said) as caught:
        find_cases(paths, count)
    assert caught.value.cure


def test_nothing_to_predict(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nothing to predict"):
        find_cases([], 1)
    with pytest.raises(DatasetError, match="no such file"):
        find_cases([tmp_path / "x.nii.gz"], 1)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DatasetError, match="unknown kind"):
        find_cases([tmp_path / "x.txt"], 1)
    with pytest.raises(DatasetError, match="holds no image"):
        find_cases([tmp_path], 1)
    save(tmp_path / "x.nrrd")
    with pytest.raises(DatasetError, match=r"images ending in \.nrrd"):
        find_cases([tmp_path], 1, ".nii.gz")

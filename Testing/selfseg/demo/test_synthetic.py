"""The made-up data sets: complete, deterministic, and shaped like real ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import SimpleITK

from selfseg.demo.phantom import KIDNEY, LESION, LIVER, scan_patient
from selfseg.demo.synthetic import make_dataset, make_small_dataset
from selfseg.domain.errors import DatasetError, UsageError
from selfseg.domain.events import Notice, Progress, StageFinished, StageStarted


def _read(path: Path):
    image = SimpleITK.ReadImage(str(path))
    return image, SimpleITK.GetArrayFromImage(image)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("demo") / "Dataset900_Demo", cases=4, test_cases=2)


def test_demo_has_the_raw_layout(demo_folder: Path):
    record = json.loads((demo_folder / "dataset.json").read_text())
    assert record["channel_names"] == {"0": "CT"}
    assert record["labels"] == {"background": 0, "liver": 1, "kidney": 2, "lesion": 3}
    assert record["numTraining"] == 4
    assert record["file_ending"] == ".nii.gz"
    for kind, names in (
        ("Tr", ["case_000", "case_001", "case_002", "case_003"]),
        ("Ts", ["test_000", "test_001"]),
    ):
        images = sorted(path.name for path in (demo_folder / f"images{kind}").iterdir())
        labels = sorted(path.name for path in (demo_folder / f"labels{kind}").iterdir())
        assert images == [f"{name}_0000.nii.gz" for name in names]
        assert labels == [f"{name}.nii.gz" for name in names]
    assert sorted(path.name for path in demo_folder.iterdir()) == [
        "dataset.json",
        "imagesTr",
        "imagesTs",
        "labelsTr",
        "labelsTs",
    ]


def test_every_case_shows_all_structures_on_one_grid(demo_folder: Path):
    spacings, directions = set(), set()
    for label_path in sorted(demo_folder.glob("labelsT*/*")):
        image_path = Path(
            str(label_path).replace("labelsT", "imagesT").replace(".nii.gz", "_0000.nii.gz")
        )
        image, voxels = _read(image_path)
        labels_image, labels = _read(label_path)
        assert voxels.shape == labels.shape
        assert image.GetSpacing() == labels_image.GetSpacing()
        assert image.GetDirection() == labels_image.GetDirection()
        assert image.GetOrigin() == labels_image.GetOrigin() != (0.0, 0.0, 0.0)
        assert set(np.unique(labels)) == {0, LIVER, KIDNEY, LESION}
        assert all(36 <= labels.shape[0] <= 70 and 64 <= n <= 100 for n in labels.shape[1:])
        assert (labels == LESION).sum() > 200
        spacings.add(image.GetSpacing())
        directions.add(tuple(np.round(image.GetDirection(), 4)))
    assert len(spacings) == 6
    assert len(directions) == 3  # straight, and two tilted by different angles


def test_intensities_are_hounsfield_units(demo_folder: Path):
    _, voxels = _read(demo_folder / "imagesTr/case_000_0000.nii.gz")
    _, labels = _read(demo_folder / "labelsTr/case_000.nii.gz")
    assert voxels.dtype == np.int16
    assert voxels.min() >= -1024
    assert np.median(voxels[:, :4, :4]) == pytest.approx(-1000, abs=20)
    means = {value: voxels[labels == value].mean() for value in (LIVER, KIDNEY, LESION)}
    assert means[LESION] + 25 < means[LIVER] < means[KIDNEY] - 25


def test_the_right_kidney_touches_the_liver():
    # Kidney has the same neighbours as liver somewhere: a border that must be learnt.
    rng = np.random.default_rng(5)
    labels = scan_patient((48, 80, 80), (3.0, 2.7, 2.7), rng).labels
    shifted = (labels[:, :-1] == LIVER) & (labels[:, 1:] == KIDNEY)
    assert shifted.sum() > 10


def test_the_same_seed_gives_the_same_voxels(demo_folder: Path, tmp_path: Path):
    again = make_dataset(tmp_path / "again", cases=1, test_cases=1)
    for name in ("imagesTr/case_000_0000.nii.gz", "labelsTs/test_000.nii.gz"):
        first, second = _read(demo_folder / name), _read(again / name)
        assert np.array_equal(first[1], second[1])
        assert first[0].GetOrigin() == second[0].GetOrigin()
    other = make_dataset(tmp_path / "other", cases=1, test_cases=0, seed=1)
    assert (
        _read(other / "imagesTr/case_000_0000.nii.gz")[1].tobytes()
        != _read(again / "imagesTr/case_000_0000.nii.gz")[1].tobytes()
    )


def test_progress_is_reported_and_a_complete_data_set_is_left_alone(tmp_path: Path):
    events = []
    make_small_dataset(tmp_path / "set", cases=2, test_cases=1, reporter=events.append)
    assert [type(event) for event in events] == [
        StageStarted,
        Progress,
        Progress,
        Progress,
        StageFinished,
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.nii.gz")}
    events.clear()
    make_small_dataset(tmp_path / "set", cases=2, test_cases=1, reporter=events.append)
    assert [type(event) for event in events] == [Notice]
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_an_interrupted_call_goes_on(tmp_path: Path):
    def stop(event):
        if isinstance(event, Progress) and event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_small_dataset(tmp_path / "set", reporter=stop)
    assert not (tmp_path / "set/dataset.json").exists()
    make_small_dataset(tmp_path / "set")
    assert len(list((tmp_path / "set/imagesTr").iterdir())) == 5


@pytest.mark.parametrize("present", ["dataset.json", "imagesTr/mine_0000.nii.gz"])
def test_another_data_set_is_never_overwritten(tmp_path: Path, present: str):
    (tmp_path / present).parent.mkdir(exist_ok=True)
    (tmp_path / present).write_text("{}")
    with pytest.raises(DatasetError, match="another data set"):
        make_dataset(tmp_path, cases=1)
    assert (tmp_path / present).read_text() == "{}"


def test_small_3d_set_with_channels_regions_and_ignore(tmp_path: Path):
    folder = make_small_dataset(
        tmp_path / "set", channels=("T1", "T2"), regions=True, ignore=True, cases=3
    )
    record = json.loads((folder / "dataset.json").read_text())
    assert record["labels"] == {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    assert record["regions_class_order"] == [1, 2]
    assert len(list((folder / "imagesTr").iterdir())) == 6
    for path in (folder / "labelsTr").iterdir():
        image, labels = _read(path)
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        assert max(abs(n - m) for n, m in zip(labels.shape, (20, 24, 22), strict=True)) <= 1
        assert image.GetSpacing()[2] == pytest.approx(1.6)
    assert set(np.unique(_read(folder / "labelsTs/test_000.nii.gz")[1])) == {0, 1, 2}


@pytest.mark.parametrize("colour", [False, True])
def test_small_2d_set(tmp_path: Path, colour: bool):
    folder = make_small_dataset(tmp_path / "set", dimensions=2, colour=colour)
    record = json.loads((folder / "dataset.json").read_text())
    assert len(record["channel_names"]) == (3 if colour else 1)
    for path in (folder / "imagesTr").iterdir():
        pixels = iio.imread(path)
        labels = iio.imread(folder / "labelsTr" / path.name.replace("_0000", ""))
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*labels.shape, 3) if colour else labels.shape
        assert set(np.unique(labels)) == {0, 1, 2}


def test_other_file_endings(tmp_path: Path):
    folder = make_small_dataset(tmp_path / "set", file_ending=".nrrd", cases=1)
    assert (folder / "labelsTr/case_000.nrrd").exists()


def test_small_sets_are_quick(tmp_path: Path):
    begin = time.perf_counter()
    make_small_dataset(tmp_path / "a")
    make_small_dataset(tmp_path / "b", dimensions=2)
    assert time.perf_counter() - begin < 4  # about 0.1 s on an idle core


def test_impossible_options_are_refused(tmp_path: Path):
    with pytest.raises(UsageError):
        make_small_dataset(tmp_path / "a", dimensions=4)
    with pytest.raises(UsageError):
        make_small_dataset(tmp_path / "b", colour=True)
    with pytest.raises(UsageError):
        make_dataset(tmp_path / "c", cases=0)
    assert not list(tmp_path.iterdir())

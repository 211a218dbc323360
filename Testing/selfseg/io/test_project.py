"""The project folder: made once, opened again, found after a move, one process at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from selfseg.domain.dataset import Dataset, DatasetDescription, Split
from selfseg.domain.errors import FileFormatError, PlanError, ProjectError
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import (
    ComputeTarget,
    ConfigurationPlan,
    NetworkPlan,
    Plan,
    SpeedProfile,
    SpeedSample,
)
from selfseg.io.json_files import read_plain_json
from selfseg.io.project import Project

DESCRIPTION = DatasetDescription("Dataset001_Lights", ("CT",), LabelScheme((Label("a", (1,)),)))
INTENSITIES = IntensityProperties(1.0, 2.0, 3.0, -4.0, 5.0, -3.5, 4.5)
PLAN = Plan(
    name="plain",
    planner="plain",
    description=DESCRIPTION,
    original_median_spacing=(1.0, 1.0, 1.0),
    original_median_shape=(4, 4, 4),
    transpose_forward=(0, 1, 2),
    transpose_backward=(0, 1, 2),
    configurations={
        "3d_fullres": ConfigurationPlan(
            "3d_fullres",
            (1.0, 1.0, 1.0),
            (4, 4, 4),
            (4.0, 4.0, 4.0),
            2,
            ("ct",),
            (False,),
            False,
            NetworkPlan("plain", (8,), ((3, 3, 3),), ((1, 1, 1),), (2,), ()),
        )
    },
    foreground_intensities=(INTENSITIES,),
    target=ComputeTarget(8.0),
)


def make_dataset(folder: Path, description: DatasetDescription = DESCRIPTION) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    return Dataset(folder, description, ())


def test_create_is_idempotent_and_opens_again(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    made = Project.create(tmp_path / "deep" / "p", dataset, clock=lambda: 0.0)
    assert made.created == "1970-01-01T00:00:00+00:00"
    before = (made.folder / "project.json").read_bytes()
    assert Project.create(made.folder, dataset) == made
    assert Project.open(made.folder) == made
    assert (made.folder / "project.json").read_bytes() == before
    assert made.dataset_folder == (tmp_path / "data").resolve()
    assert made.description == DESCRIPTION
    assert read_plain_json(made.folder / "project.json")["schema"] == "selfseg.project/1"


def test_a_relative_folder_is_kept_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Project.create(Path("x/../p"), make_dataset(Path("data")))
    assert made.folder == tmp_path / "p"
    assert made.dataset_folder == (tmp_path / "data").resolve()


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    with pytest.raises(ProjectError, match="belongs to another") as caught:
        Project.create(project.folder, make_dataset(tmp_path / "other"))
    assert "-p" in caught.value.cure


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (replace(DESCRIPTION, channel_names=("CT", "PET")), "channels"),
        (replace(DESCRIPTION, labels=LabelScheme((Label("b", (1,)),))), "labels"),
    ],
)
def test_changed_channels_or_labels_are_refused(
    tmp_path: Path, changed: DatasetDescription, what: str
) -> None:
    Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    with pytest.raises(ProjectError, match=f"{what} have changed"):
        Project.create(tmp_path / "p", make_dataset(tmp_path / "data", changed))


def test_added_cases_are_welcome(tmp_path: Path) -> None:
    made = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    more = make_dataset(tmp_path / "data", replace(DESCRIPTION, case_count=7))
    again = Project.create(tmp_path / "p", more)
    assert again.description.case_count == 7
    assert again.created == made.created
    assert Project.open(tmp_path / "p") == again


def test_foreign_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    Project.create(folder, dataset)  # that file is nobody's
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.jpg").touch()
    with pytest.raises(ProjectError, match=r"photo\.jpg"):
        Project.create(other, dataset)
    assert os.listdir(other) == ["photo.jpg"]
    with pytest.raises(ProjectError, match="a file"):
        Project.create(other / "photo.jpg", dataset)


def test_opening_what_is_no_project(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ProjectError, match="no project here"):
            Project.open(folder)
    (tmp_path / "project.json").write_text("{")
    with pytest.raises(FileFormatError, match="damaged"):
        Project.open(tmp_path)


def test_moved_together_the_data_set_is_found(tmp_path: Path) -> None:
    Project.create(tmp_path / "here" / "p", make_dataset(tmp_path / "here" / "data"))
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    copied = Project.create(tmp_path / "copy" / "p", make_dataset(tmp_path / "copy" / "data"))
    assert copied.dataset_folder == (tmp_path / "copy" / "data").resolve()
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Project.open(tmp_path / "there" / "p")
    assert moved.dataset_folder == (tmp_path / "there" / "data").resolve()


def test_a_data_set_that_moved_alone_is_named_anew(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    (tmp_path / "data").rename(tmp_path / "archive")
    with pytest.raises(ProjectError, match="data set is gone"):
        _ = project.dataset_folder
    again = Project.create(tmp_path / "p", make_dataset(tmp_path / "archive"))
    assert again.dataset_folder == (tmp_path / "archive").resolve()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    assert project.read_fingerprint() is None
    assert project.read_speed_profile() is None
    assert project.read_splits() is None
    fingerprint = Fingerprint(((1.0, 1.0, 1.0),), ((4, 4, 4),), 1.0, (INTENSITIES,), ("c",))
    profile = SpeedProfile("cpu", 2, "off", (SpeedSample((8,), 3, (4, 4, 4), 2, 0.1, 1, 2, 3),))
    splits = (Split(("a", "b"), ("c",)), Split(("c",), ("a", "b")))
    project.write_fingerprint(fingerprint)
    project.write_speed_profile(profile)
    project.write_splits(splits)
    assert project.read_fingerprint() == fingerprint
    assert project.read_speed_profile() == profile
    assert project.read_splits() == splits


def test_plans_by_name(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    assert project.plan_names == ()
    with pytest.raises(PlanError, match="selfseg plan"):
        project.read_plan()
    other = replace(PLAN, name="a tenth of mine.v2")
    path = project.write_plan(PLAN)
    project.write_plan(other)
    assert project.plan_names == ("a tenth of mine.v2", "plain")
    assert project.read_plan("plain") == PLAN
    assert project.read_plan(other.name) == other
    assert project.read_plan() == other
    with pytest.raises(PlanError, match="one of a tenth of mine"):
        project.read_plan("../project")
    with pytest.raises(ProjectError, match="file's name"):
        project.write_plan(replace(PLAN, name="../project"))
    shutil.copy(path, path.with_name("copied.json"))
    with pytest.raises(PlanError, match='"name": "copied"'):
        project.read_plan("copied")


def test_trained_folds_are_those_with_final_weights(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    assert project.trained_folds("plain", "2d") == ()
    assert not project.has_runs("plain")
    for configuration, fold, file in (
        ("3d_fullres", "10", "weights_final.safetensors"),
        ("3d_fullres", "all", "weights_final.safetensors"),
        ("3d_fullres", 2, "weights_final.safetensors"),
        ("3d_fullres", "0", "weights_best.safetensors"),
        ("2d", "0", "checkpoint_latest.pt"),
    ):
        folder = project.run_folder("plain", configuration, fold)
        folder.mkdir(parents=True)
        (folder / file).touch()
    assert folder == project.folder / "runs" / "plain" / "2d" / "fold_0"
    assert project.trained_folds("plain", "3d_fullres") == ("2", "10", "all")
    assert project.trained_folds("plain", "2d") == ()
    assert project.trained_configurations("plain") == ("3d_fullres",)
    assert project.has_runs("plain")
    assert not project.has_runs("resenc_m")
    parts = project.preprocessed_folder("plain", "2d").relative_to(project.folder).parts
    assert parts == ("preprocessed", "plain", "2d")
    for bad in ("..", "a/b", "", "nul"):
        with pytest.raises(ProjectError, match="file's name"):
            project.run_folder(bad, "2d", 0)


_HOLDER = """
import sys, time
from pathlib import Path
from selfseg.io.project import Project
with Project.open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_project(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "p", make_dataset(tmp_path / "data"))
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(project.folder)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ProjectError, match="in use") as caught, project.lock():
            pass
        assert f"process {holder.pid} on " in caught.value.found
        assert ", since 2" in caught.value.found
        holder.kill()
    with project.lock():  # the killed process holds it no longer
        with pytest.raises(ProjectError, match=f"process {os.getpid()} "), project.lock():
            pass
        assert project == Project.open(project.folder)
    with project.lock():
        pass
    assert Project.create(project.folder, make_dataset(tmp_path / "data")) == project

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_examples import CASCADE, a_bundle, made_weights
from selfseg.domain.bundle import Member
from selfseg.domain.dataset import Dataset, DatasetDescription
from selfseg.domain.errors import ModelError, ProjectError
from selfseg.domain.events import Event
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.io.bundle_files import write_bundle
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.plan.planner import make_plan
from selfseg.registry.library import Library
from selfseg.stages.start import plan_to_start_from, starting_point

FINGERPRINT = Fingerprint(
    spacings=((1.0, 1.0, 1.0),) * 3,
    shapes_after_crop=((40, 50, 40),) * 3,
    median_relative_size_after_cropping=1.0,
    foreground_intensities=(IntensityProperties(1.0, 1.0, 1.0, 0.0, 2.0, 0.0, 2.0),),
)


def _project(folder: Path, name: str, *labels: str) -> Project:
    scheme = LabelScheme.from_mapping({label: i + 1 for i, label in enumerate(labels)})
    description = DatasetDescription(name, ("MR",), scheme, case_count=3)
    data = folder / f"{name}_data"
    data.mkdir()
    project = Project.create(folder / name, Dataset(data, description, ()))
    project.write_plan(make_plan(FINGERPRINT, description))
    return project


@pytest.fixture
def source(tmp_path: Path) -> Project:
    project = _project(tmp_path, "Source", "a")
    for configuration, fold in (("2d", 0), ("3d_fullres", 1), ("3d_fullres", 0)):
        folder = project.run_folder("plain", configuration, fold)
        write_weights(folder / "weights_final.safetensors", {"w": np.ones(1)}, {})
    return project


def test_a_project(source: Project) -> None:
    start = starting_point(source.folder)
    assert start.configuration == "2d"
    start = starting_point(source.folder, "3d_fullres")
    assert start.weights.parent == source.run_folder("plain", "3d_fullres", 0)
    assert start.plan == source.read_plan()
    assert start.source == "Source, 3d_fullres fold 0"


def test_a_model_of_all_cases_is_preferred(source: Project) -> None:
    folder = source.run_folder("plain", "3d_fullres", "all")
    write_weights(folder / "weights_final.safetensors", {"w": np.ones(1)}, {})
    assert starting_point(source.folder, "3d_fullres").weights.parent == folder


def test_the_folder_of_one_training(source: Project) -> None:
    folder = source.run_folder("plain", "3d_fullres", 1)
    start = starting_point(folder)
    assert (start.configuration, start.weights.parent) == ("3d_fullres", folder)
    with pytest.raises(ModelError, match="best weights"):
        starting_point(folder, checkpoint="best")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    members = (Member("plain", CASCADE, ("0", "1")), Member("plain", "3d_fullres", ("0", "all")))
    bundle = a_bundle("liver", "1.2", members)
    target = tmp_path_factory.mktemp("models") / "liver.selfseg"
    return write_bundle(target, bundle, made_weights(bundle, ("0", "1")))


def test_a_bundle_packed_or_not_or_in_the_library(packed: Path, tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    folder = library.install(packed).folder
    found = [
        starting_point(place, "3d_fullres", library=library.folder)
        for place in (packed, folder, Path("liver"), Path("liver@1.2"))
    ]
    assert len({point.weights.read_bytes() for point in found}) == 1
    for point in found:
        assert point.source == "liver@1.2, 3d_fullres fold all"
        assert point.plan.configuration("3d_fullres") == point.plan.configuration(
            point.configuration
        )
    # What was unpacked stays where it is: the training reads it later.
    assert starting_point(packed, "3d_fullres").weights == found[0].weights
    assert starting_point(packed).configuration == CASCADE
    assert starting_point(packed, "3d_lowres").weights.name == "fold_0.safetensors"
    with pytest.raises(ModelError, match="no configuration 2d"):
        starting_point(packed, "2d")


def test_a_damaged_bundle_is_refused(packed: Path, tmp_path: Path) -> None:
    folder = Library(tmp_path / "library").install(packed).folder
    path = folder / "weights" / "plain" / "3d_fullres" / "fold_all.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="fold_all"):
        starting_point(folder, "3d_fullres")


def test_neither(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "liver", Path("nobody")):
        with pytest.raises(ProjectError, match="correct --start-from"):
            starting_point(place, library=tmp_path / "library")


def test_a_plan_that_fits_is_used(source: Project, tmp_path: Path) -> None:
    project = _project(tmp_path, "New", "a", "b")
    heard: list[Event] = []
    start = starting_point(source.folder, "3d_fullres")
    plan = plan_to_start_from(project, FINGERPRINT, start, reporter=heard.append)
    assert plan.name == "plain"
    assert not heard


def test_where_none_fits_one_is_made_once(source: Project, tmp_path: Path) -> None:
    project = _project(tmp_path, "New", "a", "b")
    start = starting_point(source.folder, "3d_fullres")
    for patch, name in (((32, 48, 32), "plain_finetuned"), ((48, 48, 48), "plain_finetuned_2")):
        wide = replace(start.plan.configuration("3d_fullres"), patch_size=patch)
        source_plan = replace(start.plan, configurations={"3d_fullres": wide}, recommended=())
        other = replace(start, plan=source_plan)
        heard: list[Event] = []
        for _ in range(2):
            plan = plan_to_start_from(project, FINGERPRINT, other, reporter=heard.append)
            assert plan.name == name
            assert plan.configuration("3d_fullres").patch_size == patch
            assert plan.description == project.description
        assert len(heard) == 1
    assert project.plan_names == ("plain", "plain_finetuned", "plain_finetuned_2")

"""The real run: a model trained for a moment, from a volume node to a segmentation node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib.jobs import JobFailed
from SelfConfiguringSegmentationLib.segmentation_run import SegmentationSettings

from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled
from selfseg.io.project import Project
from slicer_module.children import real_starter
from slicer_module.conftest import OBLIQUE

SETTINGS = SegmentationSettings(device="cpu", mirror=False)


def selfseg(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "selfseg", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_dataset(tmp_path_factory.mktemp("data") / "Dataset901_Balls")


@pytest.fixture(scope="session")
def project(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one fold of a narrow network, trained until it finds something."""
    folder = tmp_path_factory.mktemp("project")
    selfseg("plan", dataset, "-p", folder)
    home = Project.open(folder)
    plan = home.read_plan(home.plan_names[0])
    full = plan.configuration("3d_fullres")
    narrow = tuple(min(8 * 2**stage, 32) for stage in range(full.network.stage_count))
    network = replace(full.network, features_per_stage=narrow)
    home.write_plan(
        replace(
            plan,
            name="narrow",
            configurations={"3d_fullres": replace(full, network=network)},
            recommended=("3d_fullres",),
        )
    )
    selfseg(
        *("train", "-p", folder, "--plan", "narrow", "-c", "3d_fullres", "-f", "0"),
        *("--epochs", "1", "--iterations", "40", "--device", "cpu"),
    )
    return folder


@pytest.fixture
def logic() -> Any:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    return SelfConfiguringSegmentationLogic(startProcess=real_starter)


def node_from_file(path: Path) -> Any:
    """A volume node of an image file, its matrix built from the file's own index transform."""
    image = sitk.ReadImage(str(path))
    corner, *steps = (
        np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    )
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([step - corner for step in steps], axis=1)
    matrix[:3, 3] = corner
    return slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(image), matrix, "scan")


def label_values(node: Any, volume: Any) -> np.ndarray:
    """The segments as one array of 1, 2, ... in their order."""
    segmentation = node.GetSegmentation()
    values = np.zeros(slicer.util.arrayFromVolume(volume).shape, dtype=int)
    for index in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(index)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
        values[mask > 0] = index + 1
    return values


def test_the_segmentation_equals_what_the_command_line_writes(
    scene: Any, dataset: Path, project: Path, logic: Any, tmp_path: Path
) -> None:
    image = next((dataset / "imagesTs").iterdir())
    selfseg(
        *("predict", "-m", project, "-i", image, "-o", tmp_path / "direct"),
        *("--device", "cpu", "--no-tta"),
    )
    (written,) = (tmp_path / "direct").glob("*.nii.gz")
    direct = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    # Found only somewhere, so that a flip or a swap of axes would show.
    assert 0 < (direct > 0).mean() < 0.9
    assert any((direct != np.flip(direct, axis)).any() for axis in range(3))

    volume = node_from_file(image)
    node = logic.segment(volume, project, settings=SETTINGS)
    np.testing.assert_array_equal(label_values(node, volume), direct)


def test_names_colours_and_events(
    scene: Any, dataset: Path, project: Path, logic: Any, tmp_path: Path
) -> None:
    volume = node_from_file(next((dataset / "imagesTs").iterdir()))
    events: list[dict[str, Any]] = []
    node = logic.segment(volume, project, settings=SETTINGS, onEvent=events.append)
    segments = [node.GetSegmentation().GetNthSegment(i) for i in range(2)]
    assert [segment.GetName() for segment in segments] == ["ball", "bud"]
    assert segments[0].GetColor() != segments[1].GetColor()
    kinds = [event["event"] for event in events]
    assert kinds[0] == "notice" or "stage_started" in kinds
    assert kinds.count("case_finished") == 1
    assert kinds[-1] == "stage_finished"


def test_a_tilted_volume_under_a_transform(scene: Any, project: Path, logic: Any) -> None:
    voxels = np.random.default_rng(1).normal(0, 50, (20, 28, 24)).astype(np.int16)
    voxels[4:12, 15:24, 3:9] += 400
    volume = slicer.util.addVolumeFromArray(voxels, OBLIQUE, "tilted")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 10, 20, 30
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node = logic.segment(volume, project, settings=SETTINGS)
    assert node.GetTransformNodeID() == transform.GetID()
    assert label_values(node, volume).shape == voxels.shape


def test_cancelling_the_real_child(
    scene: Any, dataset: Path, project: Path, logic: Any, node_ids: Callable[[], set[str]]
) -> None:
    volume = node_from_file(next((dataset / "imagesTs").iterdir()))
    before = node_ids()
    run = logic.startSegmentation(volume, project, settings=SETTINGS)
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()
    assert node_ids() == before


def test_a_project_without_weights_fails_with_the_childs_own_words(
    scene: Any, dataset: Path, logic: Any, tmp_path: Path, node_ids: Callable[[], set[str]]
) -> None:
    selfseg("plan", dataset, "-p", tmp_path / "untrained")
    volume = node_from_file(next((dataset / "imagesTs").iterdir()))
    before = node_ids()
    with pytest.raises(JobFailed, match="no trained model"):
        logic.segment(volume, tmp_path / "untrained", settings=SETTINGS)
    assert node_ids() == before

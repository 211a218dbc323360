"""The real run: a model trained for a moment, from a volume node to a segmentation node."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib.jobs import Job, JobFailed
from SelfConfiguringSegmentationLib.segment.run import SegmentationSettings

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled
from selfseg.io.project import Project
from slicer_module.children import real_starter
from slicer_module.conftest import OBLIQUE

SETTINGS = SegmentationSettings(device="cpu", mirror=False)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_dataset(tmp_path_factory.mktemp("data") / "Dataset901_Balls")


@pytest.fixture(scope="session")
def project(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one fold of a narrow network, trained until it finds something."""
    folder = tmp_path_factory.mktemp("project")
    plan = pipeline.plan(dataset, folder)
    full = plan.configuration("3d_fullres")
    narrow = tuple(min(8 * 2**stage, 32) for stage in range(full.network.stage_count))
    network = replace(full.network, features_per_stage=narrow)
    Project.open(folder).write_plan(
        replace(
            plan,
            name="narrow",
            configurations={"3d_fullres": replace(full, network=network)},
            recommended=("3d_fullres",),
        )
    )
    pipeline.train(
        folder,
        plan_name="narrow",
        configuration="3d_fullres",
        fold="0",
        epochs=1,
        iterations=40,
        device="cpu",
    )
    return folder


@pytest.fixture
def image(dataset: Path, tmp_path: Path) -> Path:
    """A test image of the data set, tilted in the world."""
    source = sitk.ReadImage(str(next((dataset / "imagesTs").iterdir())))
    rotation = OBLIQUE[:3, :3] / np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    source.SetDirection(rotation.ravel().tolist())
    source.SetOrigin((12.5, -31.25, 7.0))
    path = tmp_path / "tilted.nrrd"
    sitk.WriteImage(source, str(path))
    return path


@pytest.fixture
def volume(scene: Any, image: Path) -> Any:
    """The image as a node, its matrix built from the file's own index transform."""
    source = sitk.ReadImage(str(image))
    corner, *steps = (
        np.array(source.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    )
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([step - corner for step in steps], axis=1)
    matrix[:3, 3] = corner
    return slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(source), matrix, "scan")


@pytest.fixture
def logic() -> Any:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    return SelfConfiguringSegmentationLogic(startProcess=real_starter)


def label_values(node: Any, volume: Any) -> np.ndarray:
    """The segments as one array of 1, 2, ... in their order."""
    segmentation = node.GetSegmentation()
    values = np.zeros(slicer.util.arrayFromVolume(volume).shape, dtype=int)
    for index in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(index)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
        values[mask > 0] = index + 1
    return values


def test_a_tilted_volume_under_a_transform(
    scene: Any, image: Path, volume: Any, project: Path, logic: Any, tmp_path: Path
) -> None:
    # In a child as well: training leaves settings of torch behind that change the last bits.
    arguments = ["predict", "-m", project, "-i", image, "-o", tmp_path, "--device", "cpu"]
    job = Job([*map(str, arguments), "--no-tta"], start=real_starter)
    job.wait()
    job.raise_on_failure()
    (written,) = tmp_path.glob("tilted*.nii.gz")
    direct = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    # Found only somewhere, and differently along each axis: a flip or a swap would show.
    assert 0 < (direct > 0).mean() < 0.9
    assert all((direct != np.flip(direct, axis)).any() for axis in range(3))

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 10, 20, 30
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    events: list[dict[str, Any]] = []
    node = logic.segment(volume, project, settings=SETTINGS, onEvent=events.append)

    np.testing.assert_array_equal(label_values(node, volume), direct)
    assert node.GetTransformNodeID() == transform.GetID()
    segments = [node.GetSegmentation().GetNthSegment(index) for index in range(2)]
    assert [segment.GetName() for segment in segments] == ["ball", "bud"]
    assert segments[0].GetColor() != segments[1].GetColor()
    kinds = [event["event"] for event in events]
    assert kinds.count("case_finished") == 1
    assert kinds[-1] == "stage_finished"


def test_cancelling_the_real_child(
    volume: Any, project: Path, logic: Any, node_ids: Callable[[], set[str]]
) -> None:
    before = node_ids()
    run = logic.startSegmentation(volume, project, settings=SETTINGS)
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()
    assert node_ids() == before


def test_a_project_without_weights_fails_with_the_childs_own_words(
    volume: Any, project: Path, logic: Any, tmp_path: Path, node_ids: Callable[[], set[str]]
) -> None:
    untrained = tmp_path / "untrained"
    shutil.copytree(project, untrained, ignore=shutil.ignore_patterns("runs", "preprocessed"))
    before = node_ids()
    with pytest.raises(JobFailed, match="no trained model"):
        logic.segment(volume, untrained, settings=SETTINGS)
    assert node_ids() == before

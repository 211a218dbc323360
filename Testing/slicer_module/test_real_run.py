"""The real run: a model trained for a moment, from a volume node to a segmentation node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib.jobs import Job
from SelfConfiguringSegmentationLib.segment.settings import SegmentationSettings

from selfseg.domain.errors import Cancelled, ModelError
from slicer_module.children import real_starter
from slicer_module.conftest import OBLIQUE
from slicer_module.workers import real_segmenting

SETTINGS = SegmentationSettings(device="cpu", mirror=False)


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


@pytest.fixture(scope="module")
def logic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One worker for all stories, as in Slicer."""
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    library = tmp_path_factory.mktemp("models") / "library"
    made = SelfConfiguringSegmentationLogic(segmenting=real_segmenting(library))
    yield made
    made.close()


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
    assert kinds.count("progress") >= 1
    made_by = json.loads(node.GetAttribute("SelfConfiguringSegmentation.Provenance"))
    assert made_by


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
    with pytest.raises(ModelError, match="no trained model"):
        logic.segment(volume, untrained, settings=SETTINGS)
    assert node_ids() == before

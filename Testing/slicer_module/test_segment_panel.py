"""The page Segment: real Qt widgets, the real .ui file, the real presenter, a real child."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from slicer_module.children import write_model
from slicer_module.conftest import OBLIQUE, asymmetric_voxels
from slicer_module.windows import module_widget, picture, qt_application, spin, watchdog
from slicer_module.workers import fake_segmenting, library, page

__all__ = ["library", "module_widget", "page", "qt_application", "watchdog"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def finish(qt_application: Any, page: Any, seconds: float = 20.0) -> None:
    spin(qt_application, lambda: not page.running, seconds)


def segment_names(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [
        segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())
    ]


def mask_of(node: Any, index: int, volume: Any) -> np.ndarray:
    identifier = node.GetSegmentation().GetNthSegmentID(index)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0


def test_a_disabled_apply_says_why(
    page: Any, volume: Any, model: Path, scene: Any, tmp_path: Path
) -> None:
    ui = page.ui
    assert ui.applyButton.enabled is False
    assert ui.applyButton.toolTip == "Get a model first: press Get more."
    picture(page.widget, "segment-no-model", tmp_path)
    page.use(fake_segmenting("label", page.library), model)
    assert ui.applyButton.enabled is True
    assert ui.applyButton.toolTip == "Finds bright."
    assert ui.modelLabel.text == "1 structure · CT · licence not stated"
    ui.noneButton.click()
    assert ui.applyButton.toolTip == "Choose at least one structure (Advanced)."
    ui.allButton.click()
    scene.RemoveNode(volume)
    assert ui.applyButton.enabled is False
    assert ui.applyButton.toolTip == "Choose a volume to segment."


def test_apply_segments_and_shows_progress_and_log(
    qt_application: Any, page: Any, volume: Any, model: Path, tmp_path: Path, watchdog: Any
) -> None:
    ui = page.ui
    page.use(fake_segmenting("label", page.library), model)
    picture(page.widget, "segment-ready", tmp_path)
    ui.advancedBox.collapsed = False
    qt_application.processEvents()
    picture(page.widget, "segment-advanced", tmp_path)
    ui.advancedBox.collapsed = True
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    assert ui.inputsBox.enabled is False
    assert ui.progressBar.visible is True
    finish(qt_application, page)
    assert ui.statusLabel.text == "Done."
    assert (ui.applyButton.text, ui.applyButton.enabled) == ("Apply", True)
    assert ui.progressBar.visible is False
    assert "info: thresholded" in ui.logText.plainText
    node = ui.segmentationSelector.currentNode()
    np.testing.assert_array_equal(mask_of(node, 0, volume), asymmetric_voxels() > 1000)
    surface = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface")
    assert surface.GetNumberOfPoints() > 0
    picture(page.widget, "segment-done", tmp_path)
    # A second run fills the same node, in the same process.
    worker = page.widget.logic.segmenting.worker.process_id
    ui.applyButton.click()
    finish(qt_application, page)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert page.widget.logic.segmenting.worker.process_id == worker


def test_what_needs_a_look_is_said_and_kept(
    qt_application: Any, page: Any, volume: Any, model: Path, tmp_path: Path
) -> None:
    page.use(fake_segmenting("flag", page.library), model)
    page.ui.surfaceCheckBox.checked = False
    page.ui.applyButton.click()
    finish(qt_application, page)
    text = page.ui.statusLabel.text
    assert text == "Check this one. bright: predicted Dice 0.62, below 0.70."
    node = page.ui.segmentationSelector.currentNode()
    assert node.GetAttribute("SelfConfiguringSegmentation.Flagged") == "1"
    assert json.loads(node.GetAttribute("SelfConfiguringSegmentation.Quality"))["dice"] == 0.62
    assert node.GetAttribute("SelfConfiguringSegmentation.Model") == "Bright"
    picture(page.widget, "segment-flagged", tmp_path)


def test_the_result_of_one_volume_is_not_replaced_by_that_of_another(
    qt_application: Any, page: Any, volume: Any, model: Path
) -> None:
    page.use(fake_segmenting("label", page.library), model)
    page.ui.surfaceCheckBox.checked = False
    page.ui.applyButton.click()
    finish(qt_application, page)
    first = page.ui.segmentationSelector.currentNode()
    other = slicer.util.addVolumeFromArray(asymmetric_voxels(), OBLIQUE, "other")
    page.ui.volumeSelector.setCurrentNode(other)
    assert page.ui.segmentationSelector.currentNode() is None
    page.ui.applyButton.click()
    finish(qt_application, page)
    assert page.ui.segmentationSelector.currentNode() is not first
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_two_channels_are_matched_by_name(
    qt_application: Any, page: Any, scene: Any, tmp_path: Path
) -> None:
    half = (asymmetric_voxels() // 2).astype(np.int16)
    flair = slicer.util.addVolumeFromArray(half, OBLIQUE, "patient_flair")
    t1 = slicer.util.addVolumeFromArray(half, OBLIQUE, "patient_t1")
    page.use(fake_segmenting("sum", page.library), write_model(tmp_path / "two", ["T1", "FLAIR"]))
    assert page.ui.volumeSelectorLabel.text == "T1:"
    (first, second) = page.panel._volumes.chosen()
    assert (first.node, second.node) == (t1, flair)
    qt_application.processEvents()
    picture(page.widget, "segment-channels", tmp_path)
    page.ui.surfaceCheckBox.checked = False
    page.ui.applyButton.click()
    finish(qt_application, page)
    node = page.ui.segmentationSelector.currentNode()
    np.testing.assert_array_equal(mask_of(node, 0, t1), 2.0 * half > 1000)
    page.ui.volumeSelector.setCurrentNode(flair)
    assert page.ui.applyButton.toolTip == "patient_flair is chosen for two channels."


def test_a_channel_that_no_name_tells_is_asked_for(page: Any, volume: Any, tmp_path: Path) -> None:
    page.use(fake_segmenting("sum", page.library), write_model(tmp_path / "two", ["T1", "FLAIR"]))
    assert page.ui.applyButton.toolTip == "Choose a volume for T1"


def test_a_volume_of_vectors_gives_all_channels(
    qt_application: Any, page: Any, scene: Any, tmp_path: Path
) -> None:
    voxels = np.zeros((1, 5, 4, 3), np.uint8)
    voxels[0, 2, 1] = 200
    node = slicer.util.addVolumeFromArray(
        voxels.astype(np.int16) * 10, nodeClassName="vtkMRMLVectorVolumeNode"
    )
    three = write_model(tmp_path / "three", ["red", "green", "blue"])
    page.use(fake_segmenting("sum", page.library), three)
    page.ui.volumeSelector.setCurrentNode(node)
    assert page.ui.applyButton.enabled is True
    assert all(not selector.enabled for _, selector in page.panel._volumes._rows)
    page.ui.surfaceCheckBox.checked = False
    page.ui.applyButton.click()
    finish(qt_application, page)
    found = mask_of(page.ui.segmentationSelector.currentNode(), 0, node)
    assert np.argwhere(found).tolist() == [[0, 2, 1]]


def test_adding_keeps_what_is_there(
    qt_application: Any, page: Any, volume: Any, model: Path
) -> None:
    page.use(fake_segmenting("label", page.library), model)
    ui = page.ui
    ui.surfaceCheckBox.checked = False
    assert ui.addCheckBox.enabled is False
    ui.applyButton.click()
    finish(qt_application, page)
    assert ui.addCheckBox.enabled is True
    ui.addCheckBox.checked = True
    ui.applyButton.click()
    finish(qt_application, page)
    node = ui.segmentationSelector.currentNode()
    assert segment_names(node) == ["bright", "bright 2"]
    np.testing.assert_array_equal(mask_of(node, 1, volume), mask_of(node, 0, volume))


def test_cancel_leaves_the_scene_as_it_was(
    qt_application: Any,
    page: Any,
    volume: Any,
    model: Path,
    node_ids: Callable[[], set[str]],
    tmp_path: Path,
    watchdog: Any,
) -> None:
    page.use(fake_segmenting("wait", page.library), model)
    before = node_ids()
    page.ui.applyButton.click()
    spin(qt_application, lambda: "Segmenting" in page.ui.logText.plainText)
    picture(page.widget, "segment-running", tmp_path)
    page.ui.applyButton.click()
    assert page.ui.applyButton.enabled is False
    finish(qt_application, page)
    assert page.ui.statusLabel.text == "Stopped."
    assert node_ids() == before


def test_failure_is_shown_with_its_cure_in_the_log(
    qt_application: Any, page: Any, volume: Any, model: Path, tmp_path: Path
) -> None:
    page.use(fake_segmenting("fail", page.library), model)
    page.ui.applyButton.click()
    finish(qt_application, page)
    assert page.ui.statusLabel.text == "Failed: the model is broken"
    assert page.ui.logText.plainText.count("what to do: train it again") == 1
    assert page.ui.logBox.collapsed is False
    qt_application.processEvents()
    picture(page.widget, "segment-failed", tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_that_is_killed_is_said_and_the_next_apply_works(
    qt_application: Any,
    page: Any,
    volume: Any,
    model: Path,
    node_ids: Callable[[], set[str]],
    watchdog: Any,
) -> None:
    page.use(fake_segmenting("slow", page.library), model)
    page.ui.surfaceCheckBox.checked = False
    before = node_ids()
    page.ui.applyButton.click()
    spin(qt_application, lambda: "Segmenting" in page.ui.logText.plainText)
    os.killpg(page.widget.logic.segmenting.worker.process_id, signal.SIGKILL)
    finish(qt_application, page)
    assert page.ui.statusLabel.text == "Failed: the worker ended unexpectedly"
    assert "out of memory" in page.ui.logText.plainText
    assert node_ids() == before
    page.ui.applyButton.click()
    finish(qt_application, page)
    assert page.ui.statusLabel.text == "Done."


def test_a_volume_deleted_while_running(
    qt_application: Any, page: Any, volume: Any, model: Path, scene: Any
) -> None:
    page.use(fake_segmenting("wait", page.library), model)
    page.ui.applyButton.click()
    spin(qt_application, lambda: "Segmenting" in page.ui.logText.plainText)
    scene.RemoveNode(volume)
    finish(qt_application, page)
    assert page.ui.statusLabel.text == "Failed: the volume is no longer in the scene"
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_declined_installation_is_shown(
    page: Any, volume: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decline() -> None:
        raise RuntimeError("User declined package installation")

    page.use(fake_segmenting("label", page.library), model)
    monkeypatch.setattr(page.widget.logic, "installDependencies", decline)
    page.ui.applyButton.click()
    assert page.ui.statusLabel.text == "Failed: User declined package installation"
    assert page.ui.applyButton.enabled is True


def test_closing_the_scene_ends_the_run(
    qt_application: Any, page: Any, volume: Any, model: Path, scene: Any
) -> None:
    page.use(fake_segmenting("wait", page.library), model)
    page.ui.applyButton.click()
    spin(qt_application, lambda: "Segmenting" in page.ui.logText.plainText)
    scene.Clear(False)
    assert not page.running
    assert page.ui.applyButton.text == "Apply"
    # The worker hears of it and is free for the next volume.
    page.widget.logic.segmenting.worker.poll()
    spin(qt_application, lambda: not page.widget.logic.segmenting.worker.busy)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_region_limits_the_segmentation(
    qt_application: Any, page: Any, volume: Any, model: Path, scene: Any
) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "part")
    corner = (OBLIQUE @ [8.0, 10.0, 7.5, 1.0])[:3]
    roi.SetCenter(corner)
    roi.SetSize(8.0, 8.0, 8.0)
    page.use(fake_segmenting("label", page.library), model)
    page.ui.surfaceCheckBox.checked = False
    page.ui.roiSelector.setCurrentNode(roi)
    page.ui.applyButton.click()
    finish(qt_application, page)
    found = mask_of(page.ui.segmentationSelector.currentNode(), 0, volume)
    assert 0 < found.sum() < (asymmetric_voxels() > 1000).sum()
    roi.SetCenter(5000.0, 0.0, 0.0)
    page.ui.applyButton.click()
    assert "holds no voxel of 'scan'" in page.ui.statusLabel.text


def test_module_describes_itself(qt_application: Any) -> None:
    import types

    from SelfConfiguringSegmentation import SelfConfiguringSegmentation

    parent = types.SimpleNamespace()
    SelfConfiguringSegmentation(parent)
    assert parent.title == "Self-Configuring Segmentation"
    assert parent.categories == ["Segmentation"]
    assert "nnU-Net" in parent.acknowledgementText
    assert not parent.icon.isNull()


def test_the_adapter_refuses_what_pythonqt_does_not_have(page: Any) -> None:
    ui = page.ui
    with pytest.raises(AttributeError, match="no property 'enable' to assign"):
        ui.applyButton.enable = False
    with pytest.raises(AttributeError, match="no attribute 'setEnabledd'"):
        ui.applyButton.setEnabledd(False)
    with pytest.raises(ValueError, match="no signal"):
        ui.applyButton.connect("clicked(int)", lambda: None)
    with pytest.raises(AttributeError, match="is a signal"):
        ui.applyButton.clicked.connect(lambda: None)
    with pytest.raises(TypeError):
        ui.applyButton.text()
    ui.applyButton.enabled = True
    assert ui.applyButton.enabled is True

"""The page that segments: real Qt widgets, the real .ui file, the real presenter, a child process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer

from slicer_module.children import fake_starter, write_model
from slicer_module.windows import module_widget, picture, qt_application, spin

__all__ = ["module_widget", "qt_application"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def ui(module_widget: Any) -> Any:
    return slicer.util.childWidgetVariables(module_widget.tabs.widget(0))


def test_a_disabled_apply_says_why(ui: Any, volume: Any, model: Path, scene: Any) -> None:
    assert ui.applyButton.enabled is False
    assert ui.applyButton.toolTip == "Choose a model folder."
    ui.modelFolder.currentPath = str(model.parent)
    assert "this is no model folder" in ui.applyButton.toolTip
    ui.modelFolder.currentPath = str(model)
    assert ui.applyButton.enabled is True
    assert ui.applyButton.toolTip == "Finds bright."
    assert ui.modelLabel.text == "Bright: 1 structure"
    scene.RemoveNode(volume)
    assert ui.applyButton.enabled is False
    assert ui.applyButton.toolTip == "Choose a volume to segment."


def test_the_first_volume_is_preselected(ui: Any, volume: Any) -> None:
    assert ui.volumeSelector.currentNode() is volume
    assert ui.segmentationSelector.currentNode() is None


def test_apply_segments_and_shows_progress_and_log(
    qt_application: Any,
    module_widget: Any,
    ui: Any,
    volume: Any,
    model: Path,
    tmp_path: Path,
) -> None:
    module_widget.logic._startProcess = fake_starter("label")
    ui.modelFolder.currentPath = str(model)
    picture(module_widget, "ready", tmp_path)
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    assert ui.inputsBox.enabled is False
    assert ui.progressBar.visible is True
    spin(qt_application, lambda: not module_widget.panels["Segment"].presenter.running)
    assert ui.statusLabel.text == "Done."
    assert ui.applyButton.text == "Apply"
    assert ui.applyButton.enabled is True
    assert ui.progressBar.visible is False
    assert "info: thresholded" in ui.logText.plainText
    node = ui.segmentationSelector.currentNode()
    assert node.GetSegmentation().GetNthSegment(0).GetName() == "bright"
    # A second run fills the same node.
    ui.applyButton.click()
    spin(qt_application, lambda: not module_widget.panels["Segment"].presenter.running)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_cancel(
    qt_application: Any,
    module_widget: Any,
    ui: Any,
    volume: Any,
    model: Path,
    node_ids: Callable[[], set[str]],
    tmp_path: Path,
) -> None:
    module_widget.logic._startProcess = fake_starter("wait")
    ui.modelFolder.currentPath = str(model)
    before = node_ids()
    ui.applyButton.click()
    spin(qt_application, lambda: "predict" in ui.logText.plainText)
    picture(module_widget, "running", tmp_path)
    ui.applyButton.click()
    assert ui.applyButton.enabled is False
    spin(qt_application, lambda: not module_widget.panels["Segment"].presenter.running)
    assert ui.statusLabel.text == "Stopped."
    assert node_ids() == before


def test_failure_is_shown_with_its_cure_in_the_log(
    qt_application: Any, module_widget: Any, ui: Any, volume: Any, model: Path, tmp_path: Path
) -> None:
    module_widget.logic._startProcess = fake_starter("fail")
    ui.modelFolder.currentPath = str(model)
    ui.applyButton.click()
    spin(qt_application, lambda: not module_widget.panels["Segment"].presenter.running)
    assert ui.statusLabel.text == "Failed: the model is broken"
    assert ui.logText.plainText.count("what to do: train it again") == 1
    assert ui.logBox.collapsed is False
    qt_application.processEvents()
    picture(module_widget, "failed", tmp_path)


def test_declined_installation_is_shown(
    module_widget: Any, ui: Any, volume: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decline() -> None:
        raise RuntimeError("User declined package installation")

    monkeypatch.setattr(module_widget.logic, "installDependencies", decline)
    ui.modelFolder.currentPath = str(model)
    ui.applyButton.click()
    assert ui.statusLabel.text == "Failed: User declined package installation"
    assert ui.applyButton.enabled is True


def test_closing_the_scene_ends_the_run(
    qt_application: Any, module_widget: Any, ui: Any, volume: Any, model: Path
) -> None:
    module_widget.logic._startProcess = fake_starter("deaf")
    ui.modelFolder.currentPath = str(model)
    ui.applyButton.click()
    run = module_widget.panels["Segment"].presenter._run
    spin(qt_application, lambda: "child" in ui.logText.plainText)
    slicer.mrmlScene.Clear(False)
    assert not module_widget.panels["Segment"].presenter.running
    assert ui.applyButton.text == "Apply"
    spin(qt_application, run.poll)


def test_settings_reach_the_command_line(
    module_widget: Any, ui: Any, volume: Any, model: Path
) -> None:
    started: list[list[str]] = []

    def start(arguments: Any) -> Any:
        started.append(list(arguments))
        return fake_starter("label")(arguments)

    module_widget.logic._startProcess = start
    ui.modelFolder.currentPath = str(model)
    ui.deviceSelector.currentText = "cpu"
    ui.mirrorCheckBox.checked = False
    ui.applyButton.click()
    (arguments,) = started
    assert arguments[arguments.index("--device") + 1] == "cpu"
    assert "--no-tta" in arguments
    module_widget.panels["Segment"].close()


def test_module_describes_itself(qt_application: Any) -> None:
    import types

    from SelfConfiguringSegmentation import SelfConfiguringSegmentation

    parent = types.SimpleNamespace()
    SelfConfiguringSegmentation(parent)
    assert parent.title == "Self-Configuring Segmentation"
    assert parent.categories == ["Segmentation"]
    assert "nnU-Net" in parent.acknowledgementText
    assert not parent.icon.isNull()


def test_the_adapter_refuses_what_pythonqt_does_not_have(ui: Any) -> None:
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

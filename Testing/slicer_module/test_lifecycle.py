"""What survives: choices survive Slicer and the scene; a reload of the module leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import slicer

from slicer_module import qt_adapter
from slicer_module.windows import module_widget, open_module, qt_application

__all__ = ["module_widget", "qt_application"]


@pytest.fixture
def settings(qt_application: Any) -> Any:
    import qt
    from SelfConfiguringSegmentationLib import settings

    qt.QSettings().clear()
    return settings


def test_values_come_back_as_what_they_were(settings: Any) -> None:
    import qt

    for value in (True, False, 7, 0.25, "auto"):
        key = f"page/{value}"
        assert settings.read(key, value) == value
        settings.write(key, value)
        assert settings.read(key, type(value)()) == value
    qt.QSettings().setValue("SelfConfiguringSegmentation/page/thing", "nonsense")
    assert settings.read("page/thing", 7) == 7
    assert all(key.startswith("SelfConfiguringSegmentation/") for key in qt.QSettings().allKeys())


def test_properties_are_kept(settings: Any) -> None:
    import types

    import qt

    def widgets() -> Any:
        box = qt.QComboBox()
        box.addItems(["auto", "cpu"])
        spinner, check = qt.QDoubleSpinBox(), qt.QCheckBox()
        check.checked = True
        return types.SimpleNamespace(device=box, hours=spinner, mirror=check)

    kept = {"device": "currentText", "hours": "value", "mirror": "checked"}
    first = widgets()
    settings.keep(first, "Segment", kept)
    assert (first.device.currentText, first.hours.value, first.mirror.checked) == ("auto", 0, True)
    first.device.currentText = "cpu"
    first.hours.value = 1.5
    first.mirror.checked = False
    second = widgets()
    settings.keep(second, "Segment", kept)
    assert second.device.currentText == "cpu"
    assert second.hours.value == 1.5
    assert second.mirror.checked is False
    other = widgets()
    settings.keep(other, "Train", kept)
    assert other.device.currentText == "auto"


def test_choices_of_the_module_survive_slicer(
    module_widget: Any, qt_application: Any, tmp_path: Path
) -> None:
    module_widget.setup_panel._ui.wheelFolder.currentPath = str(tmp_path)
    with open_module() as again:
        assert again.setup_panel._ui.wheelFolder.currentPath == str(tmp_path)


def selector(widget: Any, name: str) -> Any:
    return slicer.util.findChild(widget.tabs, name)


def test_chosen_nodes_are_saved_with_the_scene(
    module_widget: Any, volume: Any, tmp_path: Path
) -> None:
    second = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume), name="second")
    selector(module_widget, "volumeSelector").setCurrentNode(second)
    path = tmp_path / "scene.mrml"
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Commit(str(path))
    slicer.mrmlScene.Clear(False)
    assert selector(module_widget, "volumeSelector").currentNode() is None
    slicer.mrmlScene.SetURL(str(path))
    slicer.mrmlScene.Import()
    assert selector(module_widget, "volumeSelector").currentNode().GetName() == "second"
    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLScriptedModuleNode")
    assert nodes.GetNumberOfItems() == 1


def test_the_module_works_again_after_the_scene_was_closed(
    module_widget: Any, qt_application: Any, volume: Any
) -> None:
    slicer.mrmlScene.Clear(False)
    slicer.mrmlScene.Clear(False)
    after = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume), name="after")
    assert selector(module_widget, "volumeSelector").currentNode() is after


def test_closing_the_module_removes_observers_and_ends_what_runs(
    qt_application: Any, volume: Any, tmp_path: Path
) -> None:
    closed: list[str] = []
    with open_module() as widget:
        observed = list(widget._observers)
        assert all(slicer.mrmlScene.HasObserver(event) for event in _events())
        for name, panel in widget.panels.items():
            panel.close = lambda name=name: closed.append(name)
        slicer.mrmlScene.InvokeEvent(slicer.vtkMRMLScene.StartCloseEvent)
        assert closed == list(widget.panels)
    assert closed == 2 * list(widget.panels)
    assert observed
    assert widget._observers == []
    slicer.mrmlScene.InvokeEvent(slicer.vtkMRMLScene.StartCloseEvent)
    assert closed == 2 * list(widget.panels)


def _events() -> tuple[int, int]:
    return slicer.vtkMRMLScene.StartCloseEvent, slicer.vtkMRMLScene.EndImportEvent


def test_pages_are_told_when_they_come_and_go(module_widget: Any) -> None:
    told: list[str] = []
    for name, panel in module_widget.panels.items():
        panel.enter = lambda name=name: told.append(f"enter {name}")
        panel.leave = lambda name=name: told.append(f"leave {name}")
    module_widget.enter()
    module_widget.enter()
    module_widget.session.show_page.tell("Train")
    module_widget.exit()
    module_widget.exit()
    module_widget.enter()
    assert told == [
        "enter Segment", "leave Segment", "enter Train", "leave Train", "enter Train",
    ]  # fmt: skip


def test_a_developers_reload_loads_the_library_again(
    qt_application: Any, volume: Any, tmp_path: Path
) -> None:
    before = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0]
        in ("SelfConfiguringSegmentation", "SelfConfiguringSegmentationLib", "selfseg")
    }
    try:
        with open_module() as widget:
            old = sys.modules["SelfConfiguringSegmentationLib.pages"]
            widget.onReload()
            with open_module() as reloaded:
                assert type(reloaded) is not type(widget)
                assert sys.modules["SelfConfiguringSegmentationLib.pages"] is not old
                assert list(reloaded.panels) == list(widget.panels)
                assert widget._observers == []
    finally:  # other tests hold on to the classes of before
        sys.modules.update(before)


def test_errors_in_receivers_fail_a_test(module_widget: Any) -> None:
    import qt

    from slicer_module import receivers

    button = qt.QPushButton("x")
    button.connect("clicked(bool)", lambda *_: 1 / 0)
    button.click()
    (error,) = receivers.errors
    assert isinstance(error, ZeroDivisionError)
    receivers.errors.clear()
    assert qt_adapter.application() is not None

"""The page Segment's models: listed, opened, checked, read ahead, used with settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slicer_module.children import write_model
from slicer_module.test_segment_panel import finish, model
from slicer_module.windows import module_widget, qt_application, spin
from slicer_module.workers import fake_segmenting, library, page

__all__ = ["library", "model", "module_widget", "page", "qt_application"]


def test_a_damaged_model_is_listed_and_says_what_is_wrong(page: Any, volume: Any) -> None:
    (page.library / "liver@1.0").mkdir(parents=True)
    (page.library / "liver@1.0" / "bundle.json").write_text("{}", encoding="utf-8")
    page.panel._list_models()
    assert page.ui.modelSelector.currentText == "liver@1.0 (damaged)"
    assert page.ui.applyButton.enabled is False
    assert "cannot be read" in page.ui.applyButton.toolTip


def test_a_project_is_opened_checked_and_taken_off_the_list(
    qt_application: Any, page: Any, volume: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    menu, ui = page.panel._menu, page.ui
    folders = [model, model.parent]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(folders.pop()))
    menu.open_folder()
    assert ui.statusLabel.text == "Failed: this is no model folder"
    menu.open_folder()
    assert ui.modelSelector.currentText == "Bright (model)"
    assert ui.applyButton.enabled is True
    menu.verify()
    finish(qt_application, page)
    assert ui.statusLabel.text == "The model is in order."
    menu.remove()
    assert ui.modelSelector.count == 0
    assert ui.applyButton.enabled is False
    assert (model / "plans").is_dir()


def test_a_model_that_is_trained_elsewhere_appears_in_the_list(
    page: Any, volume: Any, model: Path
) -> None:
    page.widget.logic.segmenting.models.add(model)
    page.widget.session.model_ready.tell(model)
    assert page.ui.modelSelector.currentText == "Bright (model)"


def test_the_model_is_read_ahead_only_where_nothing_is_missing(
    qt_application: Any, page: Any, volume: Any, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(page.widget.logic), "missingDependencies", lambda self: ("torch",))
    page.use(fake_segmenting("label", page.library), model)
    assert page.widget.logic.segmenting.worker.busy is False
    monkeypatch.setattr(type(page.widget.logic), "missingDependencies", lambda self: ())
    lines: list[str] = []
    page.ui.deviceSelector.currentText = "cpu"
    worker = page.widget.logic.segmenting.worker
    worker.on_log = lines.append
    assert worker.busy is True
    spin(qt_application, lambda: not worker.busy)
    spin(qt_application, lambda: not page.panel._timer.active)
    assert any(line.startswith("loaded ") and line.endswith("cpu") for line in lines)


def test_settings_reach_the_worker(
    qt_application: Any, page: Any, volume: Any, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model")
    for fold in "01":
        folder = model / "runs" / "plain" / "3d_fullres" / f"fold_{fold}"
        folder.mkdir(parents=True)
        (folder / "weights_final.safetensors").touch()
    page.use(fake_segmenting("label", page.library), model)
    ui = page.ui
    ui.deviceSelector.currentText = "cpu"
    ui.mirrorCheckBox.checked = False
    ui.stepSelector.value = 0.7
    assert ui.foldSelector.count == 3
    ui.foldSelector.currentIndex = 2
    ui.surfaceCheckBox.checked = False
    ui.applyButton.click()
    finish(qt_application, page)
    options = [line for line in ui.logText.plainText.splitlines() if line.startswith("options")]
    assert options[0].startswith("options False 0.7 ")
    assert "folds=('1',)" in options[0]
    assert "device='cpu'" in options[0]

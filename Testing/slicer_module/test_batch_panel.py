"""The page that segments a folder: real widgets, the real child, scans of which one is broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib import jobs, model_list
from SelfConfiguringSegmentationLib.model_list import ModelList

from slicer_module.children import fake_starter, real_starter
from slicer_module.console_snippets import run_snippets
from slicer_module.windows import module_widget, picture, qt_application, spin, watchdog

__all__ = ["module_widget", "qt_application", "watchdog"]


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "library"
    monkeypatch.setattr(model_list, "default_library", lambda *_: folder)
    return folder


@pytest.fixture
def scans(dataset: Path, tmp_path: Path) -> Path:
    """Two scans in two formats, and between them a damaged one."""
    folder = tmp_path / "Aufnahmen ü"
    folder.mkdir()
    source = next((dataset / "imagesTs").iterdir())
    shutil.copy(source, folder / "anna.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(source)), str(folder / "carl.mha"))
    (folder / "berta.nii.gz").write_bytes(b"no scan at all")
    return folder


@pytest.fixture
def page(module_widget: Any) -> Any:
    """The page's presenter and widgets; its tab is in front."""
    index = list(module_widget.panels).index("Batch")
    module_widget.tabs.currentIndex = index
    panel = module_widget.panels["Batch"]
    panel.ui = slicer.util.childWidgetVariables(module_widget.tabs.widget(index))
    return panel


def choose(page: Any, project: Path, scans: Path, output: Path) -> None:
    ModelList().add(project)
    page._list_models(project)
    page.ui.scansFolder.currentPath = str(scans)
    page.ui.outputFolder.currentPath = str(output)
    page.ui.mirrorCheckBox.checked = False
    page.ui.deviceSelector.currentText = "cpu"


def cells(page: Any) -> list[tuple[str, ...]]:
    table = page.ui.caseTable
    return [
        tuple(table.item(row, column).text() for column in range(3))
        for row in range(table.rowCount)
    ]


def test_a_disabled_button_says_what_is_missing(
    page: Any, project: Path, scans: Path, tmp_path: Path, module_widget: Any, qt_application: Any
) -> None:
    ui = page.ui
    assert ui.applyButton.enabled is False
    assert ui.applyButton.toolTip == "Choose the folder of scans."
    qt_application.processEvents()
    picture(module_widget, "batch-empty", tmp_path)
    ui.scansFolder.currentPath = str(scans / "no")
    assert ui.applyButton.toolTip == "There is no such folder of scans."
    ui.scansFolder.currentPath = str(scans)
    assert "There is no model yet" in ui.applyButton.toolTip
    choose(page, project, scans, scans)
    assert ui.applyButton.toolTip.startswith("Choose another folder")
    ui.outputFolder.currentPath = str(tmp_path / "out")
    assert ui.applyButton.enabled is True
    assert ui.modelLabel.text == "Finds ball, bud."
    assert [ui.structureList.item(row).text() for row in range(ui.structureList.count)] == [
        "ball", "bud",
    ]  # fmt: skip


def test_the_whole_story(
    qt_application: Any,
    module_widget: Any,
    page: Any,
    project: Path,
    scans: Path,
    tmp_path: Path,
    scene: Any,
    watchdog: Any,
) -> None:
    output, told = tmp_path / "Ergebnis ü", []
    module_widget.logic._startProcess = real_starter
    choose(page, project, scans, output)
    page._session.predictions_ready.connect(told.append)
    ui, shown = page.ui, []
    page._session.show_page.connect(shown.append)
    ui.advancedBox.collapsed = False
    qt_application.processEvents()
    picture(module_widget, "batch-ready", tmp_path)
    ui.advancedBox.collapsed = True
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    assert ui.inputsBox.enabled is False
    spin(qt_application, lambda: ui.caseTable.rowCount == 3, 60)
    picture(module_widget, "batch-running", tmp_path)
    spin(qt_application, lambda: not page.presenter.running.active, 120)
    assert [row[:2] for row in cells(page)] == [
        ("anna", "done"), ("berta", "failed"), ("carl", "done"),
    ]  # fmt: skip
    assert "the image cannot be read" in cells(page)[1][2]
    assert ui.statusLabel.text.startswith("2 of 3 cases are segmented, 1 failed.")
    assert "berta failed" in ui.logText.plainText
    qt_application.processEvents()
    picture(module_widget, "batch-done", tmp_path)

    table = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert [table.GetCellText(row, 0) for row in range(3)] == ["anna", "berta", "carl"]
    titles = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    found = float(table.GetCellText(0, titles.index("ball (ml)")))
    labels = sitk.ReadImage(str(output / "anna.nii.gz"))
    expected = (sitk.GetArrayFromImage(labels) == 1).sum() * np.prod(labels.GetSpacing()) / 1000
    assert found == pytest.approx(expected, abs=1e-3)

    ui.reviewButton.click()
    assert told == [output]
    assert shown == ["Review"]
    # What is done is not done again; what was mended is.
    shutil.copy(scans / "anna.nii.gz", scans / "berta.nii.gz")
    ui.applyButton.click()
    spin(qt_application, lambda: not page.presenter.running.active, 120)
    assert [row[:2] for row in cells(page)] == [
        ("anna", "done before"), ("berta", "done"), ("carl", "done before"),
    ]  # fmt: skip
    assert ui.statusLabel.text.startswith("All 3 cases are segmented.")
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    assert table.GetCellText(1, 1) == "done"


MANY = 12
"""Cases, so that some are left however fast the machine is when the user cancels."""


def test_cancel_keeps_what_is_finished(
    qt_application: Any,
    module_widget: Any,
    page: Any,
    project: Path,
    scans: Path,
    tmp_path: Path,
    node_ids: Callable[[], set[str]],
) -> None:
    (scans / "berta.nii.gz").unlink()
    for number in range(MANY - 2):
        shutil.copy(scans / "anna.nii.gz", scans / f"more_{number}.nii.gz")
    module_widget.logic._startProcess = real_starter
    choose(page, project, scans, tmp_path / "out")
    before = node_ids()
    page.ui.applyButton.click()
    spin(qt_application, lambda: any(row[1] == "done" for row in cells(page)), 120)
    page.ui.applyButton.click()
    assert page.ui.applyButton.enabled is False
    spin(qt_application, lambda: not page.presenter.running.active, 60)
    assert page.ui.statusLabel.text == "Stopped."
    assert node_ids() == before
    done = {row[0] for row in cells(page) if row[1] == "done"}
    assert done
    assert len(done) < MANY
    page.ui.applyButton.click()
    spin(qt_application, lambda: not page.presenter.running.active, 120)
    assert done <= {row[0] for row in cells(page) if row[1] == "done before"}
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == MANY


def test_settings_reach_the_command_line(
    module_widget: Any, page: Any, project: Path, scans: Path, tmp_path: Path, qt_application: Any
) -> None:
    started: list[list[str]] = []

    def start(arguments: Any) -> Any:
        started.append(list(arguments))
        return fake_starter("wait")(arguments)

    module_widget.logic._startProcess = start
    choose(page, project, scans, tmp_path / "out")
    qt = __import__("qt")
    page.ui.structureList.item(1).setCheckState(qt.Qt.Unchecked)
    page.ui.continueCheckBox.checked = False
    page.ui.applyButton.click()
    (arguments,) = started
    assert arguments[arguments.index("--structures") + 1] == "ball"
    assert arguments[arguments.index("-m") + 1] == str(project)
    assert arguments[arguments.index("-i") + 1] == str(scans)
    assert "--continue" not in arguments
    assert "--no-tta" in arguments
    page.close()
    page.close()
    assert page.ui.statusLabel.text == "Stopped."
    assert page.ui.applyButton.text == "Segment all"


def test_a_failure_of_the_whole_is_shown(
    qt_application: Any, module_widget: Any, page: Any, project: Path, scans: Path, tmp_path: Path
) -> None:
    module_widget.logic._startProcess = fake_starter("fail")
    choose(page, project, scans, tmp_path / "out")
    page.ui.applyButton.click()
    spin(qt_application, lambda: not page.presenter.running.active)
    assert page.ui.statusLabel.text == "Failed: the model is broken"
    assert page.ui.logBox.collapsed is False
    qt_application.processEvents()
    picture(module_widget, "batch-failed", tmp_path)


def test_closing_the_scene_ends_the_batch(
    qt_application: Any, module_widget: Any, page: Any, project: Path, scans: Path, tmp_path: Path
) -> None:
    module_widget.logic._startProcess = fake_starter("deaf")
    choose(page, project, scans, tmp_path / "out")
    page.ui.applyButton.click()
    spin(qt_application, lambda: "child" in page.ui.logText.plainText)
    slicer.mrmlScene.Clear(False)
    assert not page.presenter.running.active


def test_the_snippet_of_the_documentation(
    scene: Any, project: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "slicer_starter", lambda: real_starter)
    scans.rename(tmp_path / "scans")
    result = run_snippets(
        "how-to/batch.md", {'"/data': f'"{tmp_path}', '"liver-ct"': repr(str(project))}
    )["result"]
    assert result.finished == ("anna", "carl")
    assert list(result.failed) == ["berta"]
    assert result.volumes == tmp_path / "segmentations" / "volumes.csv"

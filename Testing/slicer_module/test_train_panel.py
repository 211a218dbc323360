"""The page that trains: real widgets, the real scene, real child processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import slicer
from SelfConfiguringSegmentationLib.train import known_trainings, training_folder

from slicer_module import qt_adapter, windows
from slicer_module.children import real_starter
from slicer_module.stand_ins.train_widgets import qSlicerWebWidget
from slicer_module.train_scenes import BALL, add_scan, add_segmentation, in_process_starter
from slicer_module.windows import module_widget, open_module, qt_application, spin, watchdog

__all__ = ["module_widget", "qt_application", "watchdog"]


@pytest.fixture(autouse=True)
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trainings are remembered in this test alone; set before the module's widget is."""
    path = tmp_path / "settings" / "trainings.json"
    monkeypatch.setattr("SelfConfiguringSegmentationLib.train.logic.default_path", lambda: path)
    return path


@pytest.fixture
def page(known: Path, module_widget: Any, tmp_path: Path) -> Any:
    """The page to the front, its processes started in the interpreter that runs the tests."""
    module_widget.logic._startProcess = in_process_starter
    module_widget.logic._launchProcess = launch
    module_widget.session.show_page.tell("Train")
    ui = module_widget.panels["Train"]._ui
    ui.folderPath.currentPath = str(tmp_path / "training")
    return ui


def launch(arguments: Sequence[str], output: Path) -> Any:
    import os

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return training_folder.launch_process(
        arguments, output, python=sys.executable, environment=environment
    )


@pytest.fixture
def training_ended(tmp_path: Path) -> Iterator[None]:
    """No process is left behind, also where a test fails."""
    yield
    place = training_folder.TrainingFolder(tmp_path / "training")
    if place.folder.is_dir():
        place.stop_file.touch()


def add_scans(count: int = 2) -> list[Any]:
    nodes = []
    for number in range(count):
        volume, masks = add_scan(f"scan{number}", number)
        add_segmentation(volume, masks)
        nodes.append(volume)
    return nodes


def picture(module_widget: Any, name: str, folder: Path) -> None:
    """In a window as high as all of it: Slicer's own scrolls."""
    window = module_widget.parent
    window.resize(480, 1280)
    spin(qt_adapter.application(), lambda: True)
    qt_adapter.application().processEvents()
    windows.picture(module_widget, name, folder)


def texts(table: Any, column: int) -> list[str]:
    return [table.item(row, column).text() for row in range(table.rowCount)]


def panel_of(module_widget: Any) -> Any:
    return module_widget.panels["Train"]


def idle(module_widget: Any) -> Callable[[], bool]:
    return lambda: not panel_of(module_widget).presenter.active


def test_an_empty_page_says_what_to_do(module_widget: Any, page: Any, tmp_path: Path) -> None:
    assert "No cases yet" in page.caseSummary.text
    assert page.prepareButton.enabled is False
    assert page.prepareButton.toolTip == "Add cases first."
    assert page.trainButton.enabled is False
    assert page.trainButton.toolTip == "Press Prepare first."
    assert page.planBox.visible is False
    assert "Five networks" in page.budgetText.text
    page.budgetSlider.value = 0
    assert "5 minutes" in page.budgetText.text
    assert "A first look" in page.budgetText.text
    picture(module_widget, "train-empty", tmp_path)


def test_the_scene_fills_the_table(
    qt_application: Any, module_widget: Any, page: Any, tmp_path: Path
) -> None:
    add_scans(2)
    lonely, masks = add_scan("lonely", 7)
    add_segmentation(lonely, {BALL: masks[BALL]})
    page.addSceneButton.click()
    spin(qt_application, idle(module_widget))
    assert texts(page.caseTable, 0) == ["lonely", "scan0", "scan1"]
    assert texts(page.caseTable, 1) == ["⚠ problem", "✓ ready", "✓ ready"]
    assert "bud" in page.caseTable.item(0, 2).text()
    assert "→" in page.caseTable.item(0, 0).toolTip()
    assert texts(page.structureTable, 0) == ["ball", "bud"]
    assert texts(page.structureTable, 1) == ["3 of 3", "⚠ 2 of 3"]
    assert page.missingLabel.text == "Not segmented: bud in 1"
    assert "2 of 3 cases are ready" in page.caseSummary.text
    picture(module_widget, "train-cases", tmp_path)
    # It is not there: all three can be learned from.
    page.missingSelector.currentIndex = 1
    spin(qt_application, idle(module_widget))
    assert "3 of 3 cases are ready" in page.caseSummary.text


def test_decisions_about_cases_and_structures(
    qt_application: Any, module_widget: Any, page: Any
) -> None:
    import qt

    add_scans(3)
    page.addSceneButton.click()
    spin(qt_application, idle(module_widget))
    page.caseTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    spin(qt_application, idle(module_widget))
    assert page.caseTable.item(0, 1).text() == "– left out"
    assert "2 of 3 cases" in page.caseSummary.text
    page.structureTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    spin(qt_application, idle(module_widget))
    assert texts(page.caseTable, 3)[1:] == ["ball", "ball"]
    page.clearButton.click()
    assert page.caseTable.rowCount == 0
    assert "No cases yet" in page.caseSummary.text


def test_a_double_click_shows_the_case(
    qt_application: Any, module_widget: Any, page: Any, scene: Any
) -> None:
    first, second = add_scans(2)
    view = slicer.vtkMRMLSliceCompositeNode()
    scene.AddNode(view)
    page.addSceneButton.click()
    spin(qt_application, idle(module_widget))
    panel_of(module_widget)._show_case(1, 0)
    assert view.GetBackgroundVolumeID() == second.GetID()
    shown = [
        scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode").GetDisplayVisibility()
        for index in range(2)
    ]
    assert shown == [0, 1]
    panel_of(module_widget)._show_case(0, 0)
    assert view.GetBackgroundVolumeID() == first.GetID()


def test_a_double_click_loads_files(
    qt_application: Any,
    module_widget: Any,
    page: Any,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []
    volume, masks = add_scan("loaded", 1)
    segmentation = add_segmentation(volume, masks)

    def load(node: Any) -> Callable[[str], Any]:
        return lambda path: loaded.append(Path(path).name) or node

    monkeypatch.setattr(slicer.util, "loadVolume", load(volume))
    monkeypatch.setattr(slicer.util, "loadSegmentation", load(segmentation))
    panel_of(module_widget).cases.add_path(dataset)
    spin(qt_application, idle(module_widget))
    panel_of(module_widget)._show_case(0, 0)
    case = page.caseTable.item(0, 0).text()
    assert loaded == [f"{case}_0000.nii.gz", f"{case}.nii.gz"]


def test_the_report_opens_inside_slicer(
    qt_application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SelfConfiguringSegmentationLib.train import report_view

    pages: list[Any] = []

    def make() -> Any:
        pages.append(qt_adapter.adapt(qSlicerWebWidget()))
        return pages[-1]

    monkeypatch.setattr(slicer, "qSlicerWebWidget", make, raising=False)
    report_view.show_report(tmp_path / "project" / "report.html")
    assert pages[0].url == (tmp_path / "project" / "report.html").as_uri()
    assert pages[0].visible is True
    pages[0].close()


def test_a_training_is_taken_off_the_list(
    module_widget: Any, page: Any, known: Path, tmp_path: Path
) -> None:
    place = training_folder.TrainingFolder(tmp_path / "old")
    training_folder.write_description(place, training_folder.Description("Old", ("run",)))
    known_trainings.KnownTrainings(known).remember(place.folder)
    panel_of(module_widget)._show_earlier()
    assert page.earlierSelector.count == 1
    page.forgetButton.click()
    assert page.earlierSelector.count == 0
    assert page.forgetButton.enabled is False
    assert place.description_file.exists()


def test_a_folder_fills_the_table(
    qt_application: Any, module_widget: Any, page: Any, dataset: Path
) -> None:
    page.sourcePath.currentPath = str(dataset)
    page.addFilesButton.click()
    spin(qt_application, idle(module_widget))
    assert page.caseTable.rowCount == 5
    assert set(texts(page.caseTable, 1)) == {"✓ ready"}
    page.sourcePath.currentPath = str(dataset / "nothing")
    page.addFilesButton.click()
    spin(qt_application, idle(module_widget))
    assert str(dataset / "nothing") in page.caseSummary.text


def test_reviewed_cases_come_into_the_table(
    qt_application: Any, module_widget: Any, page: Any, dataset: Path
) -> None:
    module_widget.session.cases_corrected.tell(dataset)
    spin(qt_application, idle(module_widget))
    assert page.caseTable.rowCount == 5
    assert str(dataset) in page.sourcesLabel.text


def test_closing_the_scene_takes_its_cases_away(
    qt_application: Any, module_widget: Any, page: Any
) -> None:
    add_scans(2)
    page.addSceneButton.click()
    spin(qt_application, idle(module_widget))
    slicer.mrmlScene.Clear(False)
    assert page.caseTable.rowCount == 0
    assert page.prepareButton.enabled is False


def test_a_declined_installation_is_said(
    module_widget: Any, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decline() -> None:
        raise RuntimeError("User declined package installation")

    monkeypatch.setattr(module_widget.logic, "installDependencies", decline)
    page.addSceneButton.click()
    assert page.statusLabel.text == "User declined package installation"
    assert panel_of(module_widget).cases.sources == ()


def test_from_the_scene_to_a_model(
    qt_application: Any,
    module_widget: Any,
    page: Any,
    known: Path,
    tmp_path: Path,
    watchdog: Any,
    training_ended: None,
) -> None:
    """The whole story: table, plan, start, curves, pause, Slicer closed, found again, model."""
    module_widget.logic._startProcess = real_starter
    add_scans(3)
    page.addSceneButton.click()
    spin(qt_application, idle(module_widget))
    page.nameEdit.text = "Balls"
    page.folderPath.currentPath = str(tmp_path / "training")
    page.deviceSelector.currentText = "cpu"
    page.budgetSlider.value = 0
    page.optionsEdit.text = (
        f"--epochs 10 --iterations 2 --workers 1 --library {tmp_path / 'library'}"
    )
    page.prepareButton.click()
    assert page.prepareButton.text == "Cancel"
    spin(qt_application, lambda: "voxels" in page.planText.plainText, 120)
    assert page.statusLabel.text.startswith("Prepared.")
    assert "1 network" in page.planText.plainText
    qt_application.processEvents()
    picture(module_widget, "train-plan", tmp_path)

    page.trainButton.click()
    assert page.trainButton.text == "Pause"
    assert page.casesBox.enabled is False
    charts = panel_of(module_widget)._charts
    spin(qt_application, lambda: len(charts._shown) >= 2, 120)
    table = charts.table_node.GetTable()
    assert table.GetNumberOfRows() >= 2
    assert charts.chart_node.GetTitle() == "3d_fullres fold 0"
    assert "epoch" in page.statusLabel.text
    assert "5 minutes used" in page.statusLabel.text
    picture(module_widget, "train-running", tmp_path)

    page.trainButton.click()
    assert page.trainButton.enabled is False
    spin(qt_application, lambda: page.trainButton.text == "Resume", 120)
    assert page.statusLabel.text.startswith("Paused after")
    picture(module_widget, "train-paused", tmp_path)

    page.trainButton.click()
    process = panel_of(module_widget).presenter.training._process
    spin(qt_application, lambda: "epoch" in page.statusLabel.text, 120)
    module_widget.cleanup()  # Slicer is closed; the process goes on
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0
    assert process.poll() is None

    with open_module() as again:
        again.logic._launchProcess = launch
        follow_to_the_end(qt_application, again, tmp_path)
    # Told once: the next Slicer does not speak of it again.
    assert [entry.told for entry in known_trainings.KnownTrainings(known).read()] == [True]
    process.wait(10)


def follow_to_the_end(qt_application: Any, again: Any, tmp_path: Path) -> None:
    ready: list[Path] = []
    again.session.model_ready.connect(ready.append)
    again.session.show_page.tell("Train")
    ui, presenter = again.panels["Train"]._ui, again.panels["Train"].presenter
    assert ui.trainingTitle.text == "Training of Balls"
    spin(qt_application, lambda: ui.trainButton.text == "Pause" and ui.trainButton.enabled, 30)
    spin(qt_application, lambda: bool(again.panels["Train"]._charts._shown))
    spin(qt_application, lambda: bool(ready), 120)
    spin(qt_application, lambda: not presenter.active)
    assert ready == [tmp_path / "library" / "Balls@1"]
    assert ready[0].is_dir()
    assert "Balls is ready: mean Dice" in ui.statusLabel.text
    assert ui.reportButton.enabled is True
    assert ui.trainButton.enabled is False
    picture(again, "train-finished", tmp_path)
    ui.segmentButton.click()
    assert again.tabs.currentIndex == list(again.panels).index("Segment")

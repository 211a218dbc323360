"""The tutorial, step by step: every click of docs/tutorial/slicer.md, with real children.

Its pictures are those of the documentation: SELFSEG_PICTURES=folder keeps them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib.paths import resources_folder
from SelfConfiguringSegmentationLib.samples import MADE_UP
from SelfConfiguringSegmentationLib.train import training_folder

from slicer_module import qt_adapter, windows
from slicer_module.children import real_starter
from slicer_module.windows import module_widget, qt_application, spin, watchdog
from slicer_module.workers import ENVIRONMENT, library, real_segmenting

__all__ = ["library", "module_widget", "qt_application", "watchdog"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Reader:
    """Somebody who does what the tutorial says."""

    def __init__(self, module: Any, folder: Path) -> None:
        self.module = module
        self.folder = folder

    def page(self, name: str) -> Any:
        self.module.session.show_page.tell(name)
        return slicer.util.childWidgetVariables(self.module.tabs.currentWidget())

    def wait(self, condition: Any, seconds: float = 120) -> None:
        spin(qt_adapter.application(), condition, seconds)

    def look(self, name: str, height: int = 820, **shown: str) -> None:
        """Takes a picture; `shown` stands in fields that hold a path of this machine."""
        ui = slicer.util.childWidgetVariables(self.module.tabs.currentWidget())
        fields = {qt_adapter.unwrap(getattr(ui, field)): text for field, text in shown.items()}
        real = {field: field.text() for field in fields}
        show(fields)
        self.module.parent.resize(480, height)
        for _ in range(3):
            qt_adapter.application().processEvents()
        windows.picture(self.module, f"tutorial-{name}", self.folder)
        show(real)


def show(texts: dict[Any, str]) -> None:
    """Without a signal: nobody has typed it."""
    for field, text in texts.items():
        field.blockSignals(True)
        field.setText(text)
        field.blockSignals(False)


@pytest.fixture
def reader(
    module_widget: Any, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Reader:
    def launch(arguments: Any, output: Path) -> Any:
        return training_folder.launch_process(
            arguments, output, python=sys.executable, environment=ENVIRONMENT
        )

    monkeypatch.setattr(
        "SelfConfiguringSegmentationLib.train.logic.default_path",
        lambda: tmp_path / "settings" / "trainings.json",
    )
    logic = module_widget.logic
    logic.segmenting.close()
    logic.segmenting = real_segmenting(library)
    logic._startProcess, logic._launchProcess = real_starter, launch
    return Reader(module_widget, tmp_path)


def load_sample_data(scene: Any) -> None:
    """As the module Sample Data does it."""
    for name in MADE_UP:
        segmented = name.endswith(".seg.nrrd")
        kind = "Segmentation" if segmented else "ScalarVolume"
        stem = name.split(".")[0] + (" segmentation" if segmented else "")
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", stem)
        storage = (
            slicer.vtkMRMLSegmentationStorageNode()
            if segmented
            else slicer.vtkMRMLVolumeArchetypeStorageNode()
        )
        storage.SetFileName(str(resources_folder() / "SampleData" / name))
        assert storage.ReadData(node)


def column(table: Any, number: int) -> list[str]:
    return [table.item(row, number).text() for row in range(table.rowCount)]


def test_the_tutorial(
    reader: Reader, scene: Any, library: Path, tmp_path: Path, watchdog: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    load_sample_data(scene)
    train(reader, library, tmp_path)
    segment(reader)
    review(reader, tmp_path, monkeypatch)
    batch(reader, tmp_path)
    print([(call.name, round(call.seconds, 3)) for call in watchdog.slowest(5)])


def train(reader: Reader, library: Path, folder: Path) -> None:
    ui = reader.page("Train")
    presenter = reader.module.panels["Train"].presenter
    ui.addSceneButton.click()
    reader.wait(lambda: not presenter.active)
    assert column(ui.caseTable, 1) == ["✓ ready"] * 5
    assert column(ui.structureTable, 0) == ["liver", "kidney"]
    ui.channelsEdit.text = "CT"
    qt_adapter.unwrap(ui.channelsEdit).editingFinished.emit()
    reader.wait(lambda: not presenter.active)
    ui.nameEdit.text = "abdomen"
    ui.folderPath.currentPath = str(folder / "training")
    ui.budgetSlider.value = 0
    ui.deviceSelector.currentText = "cpu"
    # The reader waits five minutes; the test is content with the 2D network for one.
    ui.optionsEdit.text = f"-c 2d --epochs 10 --iterations 20 --workers 1 --library {library}"
    ui.prepareButton.click()
    reader.wait(lambda: ui.statusLabel.text.startswith("Prepared."))
    reader.look("train", 1280, folderPath="/home/ada/abdomen", optionsEdit="")
    ready: list[Path] = []
    reader.module.session.model_ready.connect(ready.append)
    ui.trainButton.click()
    reader.wait(lambda: bool(ready), 600)
    reader.wait(lambda: not presenter.active)
    assert "abdomen is ready: mean Dice" in ui.statusLabel.text
    reader.look("trained", 1100)
    ui.segmentButton.click()


def segment(reader: Reader) -> None:
    module = reader.module
    assert module.tabs.currentIndex == 0
    ui = reader.page("Segment")
    assert "abdomen" in ui.modelSelector.currentText
    volume = slicer.util.getNode("scan-to-segment")
    ui.volumeSelector.setCurrentNode(volume)
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    reader.wait(lambda: not module.panels["Segment"].presenter.running)
    node = ui.segmentationSelector.currentNode()
    assert node is not None, ui.statusLabel.text
    values = slicer.util.arrayFromVolume(volume)
    segmentation = node.GetSegmentation()
    for name, (low, high) in {"liver": (80, 130), "kidney": (130, 190)}.items():
        identifier = segmentation.GetSegmentIdBySegmentName(name)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0
        assert mask.sum() > 300, name
        # On the anatomy, and not only somewhere: its grey values are those of the organ.
        assert low < np.median(values[mask]) < high, name
    reader.look("segment")


def review(reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    ui = reader.page("Review")
    presenter = reader.module.panels["Review"].presenter
    target = folder / "review"
    target.mkdir()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(target))
    ui.reviewerName.text = "Ada"
    ui.sceneButton.click()
    # The one that Segment made; those from files do not know their scan.
    reader.wait(lambda: not presenter.busy and ui.casesTable.rowCount == 1)
    reader.look("review", 1000)
    ui.approveButton.click()
    reader.wait(lambda: not presenter.busy)
    assert (target / "review.sqlite").is_file()
    assert len(list((target / "reviewed").glob("*.seg.nrrd"))) == 1


def batch(reader: Reader, folder: Path) -> None:
    scans = folder / "scans"
    scans.mkdir()
    for name in ("scan-to-segment.nrrd", "training-scan-1.nrrd", "training-scan-2.nrrd"):
        (scans / name).write_bytes((resources_folder() / "SampleData" / name).read_bytes())
    ui = reader.page("Batch")
    presenter = reader.module.panels["Batch"].presenter
    ui.scansFolder.currentPath = str(scans)
    ui.outputFolder.currentPath = str(folder / "segmented")
    reader.wait(lambda: ui.applyButton.enabled, 10)
    ui.applyButton.click()
    reader.wait(lambda: not presenter.running.active, 240)
    assert ui.caseTable.rowCount == 3, ui.statusLabel.text
    reader.look("batch", scansFolder="/home/ada/scans", outputFolder="/home/ada/segmented")
    ui.reviewButton.click()
    reviewing = reader.module.panels["Review"].presenter
    listed = reader.page("Review").casesTable
    reader.wait(lambda: not reviewing.busy and listed.rowCount == 3)

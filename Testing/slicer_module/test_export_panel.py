"""The page that exports: real widgets, the real .ui file, real child processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib import child_run, jobs

from selfseg.domain.geometry import Geometry
from selfseg.domain.segments import Segment, SegmentsInPlace
from selfseg.io.seg_nrrd_files import write_seg_nrrd
from selfseg.review.decisions import Decision
from selfseg.review.log import ReviewLog
from slicer_module.children import fake_starter, real_starter
from slicer_module.conftest import OBLIQUE
from slicer_module.console_snippets import run_snippets
from slicer_module.in_process import InProcessJob
from slicer_module.made_segmentations import make_segmentation
from slicer_module.windows import module_widget, picture, qt_application, spin, watchdog

__all__ = ["module_widget", "qt_application", "watchdog"]

MASK = np.zeros((12, 20, 16), np.uint8)
MASK[2:5, 3:9, 4:10] = 1


@pytest.fixture
def page(module_widget: Any, tmp_path: Path) -> Any:
    index = list(module_widget.panels).index("Export")
    module_widget.tabs.currentIndex = index
    panel = module_widget.panels["Export"]
    panel.ui = slicer.util.childWidgetVariables(module_widget.tabs.widget(index))
    module_widget.logic._startProcess = real_starter
    return panel


def choose_format(page: Any, key: str) -> None:
    page.ui.formatSelector.currentIndex = [one.key for one in page._formats].index(key)


@pytest.fixture
def reviewed(tmp_path: Path) -> Path:
    """A reviewed folder: two approved cases, one rejected, one approved whose file is damaged."""
    folder = tmp_path / "predictions"
    (folder / "reviewed").mkdir(parents=True)
    grid = Geometry(MASK.shape, (2.5, 0.9, 0.7), (1.0, 2.0, 3.0))
    log = ReviewLog.of(folder)
    verdicts = {"anna": "approved", "berta": "edited", "carl": "rejected", "dora": "approved"}
    for case, verdict in verdicts.items():
        file = f"{case}.seg.nrrd"
        place = SegmentsInPlace(grid, 1, (Segment("ball", 0, 1, (255, 0, 0)),))
        write_seg_nrrd(folder / "reviewed" / file, place, [MASK])
        log.add(Decision(case, verdict, "me", "2026-01-01T00:00:00+00:00", file=file))
    (folder / "reviewed" / "dora.seg.nrrd").write_bytes(b"NRRD0004\n")
    return folder


def test_a_disabled_button_says_what_is_missing(
    page: Any, scene: Any, volume: Any, tmp_path: Path, module_widget: Any, qt_application: Any
) -> None:
    ui = page.ui
    assert ui.applyButton.toolTip == "Choose a segmentation to export."
    node = make_segmentation(scene, volume, {"ball": MASK})
    assert ui.segmentationSelector.currentNode() is node
    assert ui.applyButton.toolTip == "Choose a folder to write to."
    ui.outputFolder.currentPath = str(tmp_path / "out")
    assert ui.applyButton.enabled is True
    qt_application.processEvents()
    picture(module_widget, "export-ready", tmp_path)
    choose_format(page, "dicom-seg")
    assert "DICOM series" in ui.applyButton.toolTip
    assert ui.dicomFolder.visible is True
    qt_application.processEvents()
    picture(module_widget, "export-dicom", tmp_path)
    ui.reviewedButton.click()
    assert ui.applyButton.toolTip == "Choose the folder that was reviewed."
    ui.reviewedFolder.currentPath = str(tmp_path)
    assert ui.applyButton.toolTip == "Nothing in this folder was reviewed yet."
    assert ui.segmentationSelector.visible is False
    ui.sceneButton.click()
    scene.RemoveNode(node)
    assert ui.applyButton.toolTip == "Choose a segmentation to export."


def test_exporting_what_is_in_the_scene(
    qt_application: Any,
    module_widget: Any,
    page: Any,
    scene: Any,
    volume: Any,
    tmp_path: Path,
    node_ids: Callable[[], set[str]],
    watchdog: Any,
) -> None:
    make_segmentation(scene, volume, {"ball": MASK, "Größe": np.roll(MASK, 6, axis=1)})
    before, ui = node_ids(), page.ui
    ui.outputFolder.currentPath = str(tmp_path / "raus ü.nrrd")  # a folder, whatever its name
    choose_format(page, "nifti")
    assert "colour table" in ui.hintLabel.text
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    spin(qt_application, lambda: not page.presenter.running.active, 60)
    written = tmp_path / "raus ü.nrrd" / "segmentation.nii.gz"
    assert ui.statusLabel.text == f"Written: {written}"
    assert ui.openButton.enabled is True
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    np.testing.assert_array_equal(labels, MASK + 2 * np.roll(MASK, 6, axis=1))
    assert node_ids() == before
    qt_application.processEvents()
    picture(module_widget, "export-done", tmp_path)


def test_exporting_all_reviewed_cases_goes_past_a_failing_one(
    qt_application: Any, module_widget: Any, page: Any, reviewed: Path, tmp_path: Path
) -> None:
    ui = page.ui
    page._session.cases_corrected.tell(reviewed / "reviewed")
    ui.reviewedButton.click()
    assert ui.reviewedFolder.currentPath == str(reviewed / "reviewed")
    ui.outputFolder.currentPath = str(tmp_path / "out")
    choose_format(page, "masks")
    ui.applyButton.click()
    spin(qt_application, lambda: not page.presenter.running.active, 60)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anna", "berta"]
    assert "1 of 3 cases failed; the others are done" in ui.statusLabel.text
    assert "dora failed" in ui.logText.plainText
    assert ui.logBox.collapsed is False
    assert ui.openButton.enabled is True
    qt_application.processEvents()
    picture(module_widget, "export-reviewed-failed", tmp_path)


def test_cancel(
    qt_application: Any, module_widget: Any, page: Any, scene: Any, volume: Any, tmp_path: Path
) -> None:
    module_widget.logic._startProcess = fake_starter("wait")
    make_segmentation(scene, volume, {"ball": MASK})
    page.ui.outputFolder.currentPath = str(tmp_path / "out")
    page.ui.applyButton.click()
    spin(qt_application, lambda: page.presenter.running.run._job is not None)
    picture(module_widget, "export-running", tmp_path)
    page.ui.applyButton.click()
    assert page.ui.applyButton.enabled is False
    spin(qt_application, lambda: not page.presenter.running.active)
    assert page.ui.statusLabel.text == "Stopped."
    assert list((tmp_path / "out").iterdir()) == []


def test_the_segmentation_is_deleted_while_it_is_exported(
    qt_application: Any, page: Any, scene: Any, volume: Any, tmp_path: Path
) -> None:
    node = make_segmentation(scene, volume, {"ball": MASK})
    page.ui.outputFolder.currentPath = str(tmp_path / "out")
    page.ui.applyButton.click()
    scene.RemoveNode(node)
    scene.RemoveNode(volume)
    spin(qt_application, lambda: not page.presenter.running.active, 60)
    assert (tmp_path / "out" / "segmentation.seg.nrrd").is_file()


def test_closing_the_scene_ends_the_export(
    qt_application: Any, module_widget: Any, page: Any, scene: Any, volume: Any, tmp_path: Path
) -> None:
    module_widget.logic._startProcess = fake_starter("deaf")
    make_segmentation(scene, volume, {"ball": MASK})
    page.ui.outputFolder.currentPath = str(tmp_path / "out")
    page.ui.applyButton.click()
    spin(qt_application, lambda: page.presenter.running.run._job is not None)
    slicer.mrmlScene.Clear(False)
    assert not page.presenter.running.active
    assert page.ui.applyButton.toolTip == "Choose a segmentation to export."


def test_from_the_console(
    scene: Any, volume: Any, reviewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    monkeypatch.setattr(child_run, "Job", InProcessJob)
    logic = SelfConfiguringSegmentationLogic(startProcess=real_starter)
    node = make_segmentation(scene, volume, {"ball": MASK})
    assert logic.exportSegmentation(node, tmp_path / "a.nii.gz") == (tmp_path / "a.nii.gz",)
    (reviewed / "reviewed" / "dora.seg.nrrd").write_bytes(
        (reviewed / "reviewed" / "anna.seg.nrrd").read_bytes()
    )
    written = logic.exportReviewed(reviewed, tmp_path / "t", "report")
    assert set(written) == {tmp_path / "t" / "volumes.csv"}
    table = (tmp_path / "t" / "volumes.csv").read_text(encoding="utf-8-sig")
    assert [line.split(",")[0] for line in table.splitlines()] == ["case", "anna", "berta", "dora"]


def test_the_snippet_of_the_documentation(
    scene: Any, volume: Any, reviewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_examples import write_series

    monkeypatch.setattr(jobs, "slicer_starter", lambda: real_starter)
    monkeypatch.setattr(child_run, "Job", InProcessJob)
    (reviewed / "reviewed" / "dora.seg.nrrd").write_bytes(
        (reviewed / "reviewed" / "anna.seg.nrrd").read_bytes()
    )
    reviewed.rename(tmp_path / "segmentations")
    node = make_segmentation(scene, volume, {"ball": MASK}, name="Segmentation")
    corner = (OBLIQUE @ [-5, -5, -5, 1])[:3] * [-1, -1, 1]
    write_series(tmp_path / "series", np.zeros((60, 60, 60), np.int16), origin=tuple(corner - 30))
    run_snippets("how-to/export.md", {'"/data': f'"{tmp_path}'})
    assert node.GetName() == "Segmentation"
    made = {path.name for path in tmp_path.iterdir()}
    assert {"liver.nii.gz", "liver.ctbl", "liver.dcm", "meshes", "out"} <= made
    assert (tmp_path / "meshes" / "Segmentation" / "ball.stl").is_file()
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3

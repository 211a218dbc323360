"""What can go wrong on the page that reviews, and what it says then."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib.review import folder as folder_module
from SelfConfiguringSegmentationLib.review import saving
from SelfConfiguringSegmentationLib.review.seg_nrrd import read_segments

from selfseg.review.log import ReviewLog
from slicer_module.review_folders import REGIONS, SCHEME, label_map, write_image, write_predictions
from slicer_module.review_page import Page, folder, page
from slicer_module.windows import module_widget, qt_application, spin, watchdog

__all__ = ["folder", "module_widget", "page", "qt_application", "watchdog"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_missing_image_is_asked_for(page: Page, folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (tmp_path / "scans").rename(moved)
    page.open(folder)
    assert "the image of case_b was not found" in page.ui.statusLabel.text
    assert "choose the folder that holds the images" in page.ui.statusLabel.text
    assert page.ui.approveButton.enabled is False
    assert page.ui.rejectButton.enabled is True
    page.look("no-image", tmp_path)
    page.ui.imagesFolder.currentPath = str(moved)
    page.press("openButton")
    assert page.ui.caseTitle.text == "case_b: as predicted"
    # The next time it is found without asking.
    page.open(folder)
    assert page.ui.caseTitle.text == "case_b: as predicted"


def test_another_grid_is_refused_and_can_be_rejected(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    write_image(tmp_path / "scans" / "case_b_0000.nii.gz", np.zeros((10, 14, 12), np.int16), 2.0)
    page.open(folder)
    assert "does not lie on the grid of its image" in page.ui.statusLabel.text
    assert page.ui.approveButton.enabled is False
    page.ui.commentEdit.text = "other scan"
    page.press("rejectButton")
    assert page.current == "case_c"
    (found,) = ReviewLog.of(folder).decisions()
    assert (found.case, found.verdict, found.comment) == ("case_b", "rejected", "other scan")


def test_a_case_that_was_removed_meanwhile(page: Page, folder: Path) -> None:
    page.open(folder)
    (folder / "case_c.nii.gz").unlink()
    page.press("nextButton")
    assert "not there any more" in page.ui.statusLabel.text
    page.press("nextButton")
    assert page.current == "case_a"
    (folder / "case_a.nii.gz").unlink()
    page.press("approveButton")
    assert "changed or removed while it was reviewed" in page.ui.statusLabel.text
    assert page.current == "case_a"
    assert ReviewLog.of(folder).decisions() == ()


def test_nodes_that_were_removed_by_somebody_else(page: Page, folder: Path, scene: Any) -> None:
    page.open(folder)
    scene.RemoveNode(page.segmentation)
    page.press("approveButton")
    assert "removed from the scene" in page.ui.statusLabel.text
    page.ui.casesTable.selectRow(0)
    page.settle()
    assert page.ui.caseTitle.text == "case_b: as predicted"


def test_two_reviewers(page: Page, folder: Path) -> None:
    page.open(folder)
    page.draw("tumour", np.zeros((10, 14, 12), bool))
    other = saving.Reviewer("Bo", "test")
    loaded = page.panel.presenter.loaded
    saving.approve(folder, loaded, loaded.shown, "fine", other, None)
    page.press("approveButton")
    assert page.ui.statusLabel.text.startswith("Bo had decided about case_b meanwhile.")
    first, second = ReviewLog.of(folder).decisions()
    assert (first.reviewer, second.reviewer) == ("Bo", "Ada")
    # The log counts the last one, and the files of both are there.
    kept = folder / "reviewed" / "earlier" / f"case_b.{first.sha256_after[:12]}.seg.nrrd"
    assert digest(kept) == first.sha256_after
    assert digest(folder / "reviewed" / "case_b.seg.nrrd") == second.sha256_after


def test_regions_overlap(page: Page, tmp_path: Path) -> None:
    folder = write_predictions(tmp_path, {"glioma": 0.8}, scheme=REGIONS, channels=2)
    page.open(folder)
    labels = label_map(0, (1, 2, 3))
    np.testing.assert_array_equal(page.mask("whole tumour"), labels > 0)
    np.testing.assert_array_equal(page.mask("core"), labels > 1)
    assert [node.GetName() for node in page.panel.desk.nodes.volumes] == [
        "glioma: glioma_0000.nii.gz",
        "glioma: glioma_0001.nii.gz",
    ]
    core = labels > 1
    core[2:5, 3:5, 3:5] = True
    page.draw("core", core)
    np.testing.assert_array_equal(page.mask("whole tumour"), labels > 0)
    page.press("approveButton")
    (found,) = ReviewLog.of(folder).decisions()
    assert set(found.changes) == {"core"}
    stored = read_segments(folder / "reviewed" / "glioma.seg.nrrd")
    assert len(stored.layers) > 1
    masks = {segment.name: stored.mask(segment) for segment in stored.segments}
    np.testing.assert_array_equal(masks["core"], core)
    np.testing.assert_array_equal(masks["whole tumour"], labels > 0)
    np.testing.assert_array_equal(masks["enhancing"], labels == 3)


def test_overlaps_of_plain_structures_are_not_approved(page: Page, folder: Path) -> None:
    page.open(folder)
    segmentation = page.segmentation.GetSegmentation()
    segmentation.SeparateSegmentLabelmap("Segment_2")
    image = segmentation.GetSegment("Segment_2").GetRepresentation("Binary labelmap")
    from vtk.util.numpy_support import vtk_to_numpy

    vtk_to_numpy(image.GetPointData().GetScalars())[:] = segmentation.GetSegment(
        "Segment_2"
    ).GetLabelValue()
    image.Modified()
    page.press("approveButton")
    assert "liver and tumour overlap" in page.ui.statusLabel.text
    assert "Overwrite all" in page.ui.statusLabel.text
    assert page.current == "case_b"
    assert ReviewLog.of(folder).decisions() == ()


def test_a_folder_that_cannot_be_written_to(
    page: Page, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "is_writable", lambda place: False)
    page.open(folder)
    assert page.ui.statusLabel.text.startswith("This folder cannot be written to")
    assert page.ui.caseTitle.text == "case_b: as predicted"
    assert page.ui.approveButton.enabled is False
    assert "copy it" in page.ui.approveButton.toolTip
    page.look("read-only", tmp_path)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == []


def test_a_damaged_log_is_said_and_left_alone(page: Page, folder: Path, tmp_path: Path) -> None:
    log = folder / "review.sqlite"
    log.write_bytes(b"no database at all, really not" * 100)
    before = log.read_bytes()
    page.open(folder)
    assert "the review log is damaged" in page.ui.statusLabel.text
    assert page.ui.casesBox.visible is False
    page.look("damaged-log", tmp_path)
    assert log.read_bytes() == before


def test_without_a_name_nothing_is_decided(page: Page, folder: Path) -> None:
    page.ui.reviewerName.text = " "
    page.open(folder)
    assert page.ui.approveButton.enabled is False
    assert page.ui.approveButton.toolTip.startswith("Enter your name first")
    page.ui.reviewerName.text = "Ada"
    assert page.ui.approveButton.enabled is True


def test_keys(page: Page, folder: Path) -> None:
    page.open(folder)
    keys = {
        name: getattr(page.ui, name).shortcut.toString()
        for name in ("previousButton", "nextButton", "approveButton")
    }
    page.draw("tumour", np.zeros((10, 14, 12), bool))
    assert page.ui.approveButton.text == "Approve with edits"
    assert page.ui.approveButton.shortcut.toString() == keys["approveButton"] == "Alt+Return"
    assert (keys["previousButton"], keys["nextButton"]) == ("Alt+Left", "Alt+Right")


def test_segmentations_of_the_scene(
    page: Page, volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt
    from SelfConfiguringSegmentationLib.segment.placing import add_segmentation

    labels = np.zeros((12, 20, 16), np.uint8)
    labels[2:5, 3:9, 4:8] = 1
    add_segmentation(labels, SCHEME, volume, name="my: liver")
    target = tmp_path / "from scene"
    target.mkdir()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(target))
    page.press("sceneButton")
    page.settle()
    assert page.column(0) == ["my_ liver"]
    assert page.ui.caseTitle.text == "my_ liver: as predicted"
    np.testing.assert_array_equal(page.mask("liver"), labels == 1)
    shown = page.panel.desk.nodes.volumes[0]
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(shown), slicer.util.arrayFromVolume(volume)
    )
    page.press("approveButton")
    assert (target / "reviewed" / "my_ liver.seg.nrrd").is_file()
    page.press("sceneButton")
    assert "is in this folder already" in page.ui.statusLabel.text


def test_export(page: Page, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    page.open(folder)
    page.press("approveButton")
    path = tmp_path / "log.csv"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(path))
    page.press("exportButton")
    (row,) = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
    assert (row["case"], row["decision"], row["reviewer"]) == ("case_b", "approved", "Ada")
    assert page.ui.statusLabel.text == f"The log was written to {path}."


def test_many_cases_are_listed_without_holding_up_the_interface(
    page: Page, tmp_path: Path, watchdog: Any
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1500):
        (folder / f"case {number:04d}.nii.gz").touch()
    page.open(folder)
    spin(page.application, lambda: len(page.panel._written) == 1500, 60)
    assert page.column(0)[-1] == "case 1499"


def test_the_editor_has_the_views_only_while_its_page_is_in_front(
    page: Page, folder: Path, scene: Any
) -> None:
    page.open(folder)
    assert page.editor.observes_views
    assert page.editor.has_shortcuts
    page.module.exit()
    assert not page.editor.observes_views
    assert not page.editor.has_shortcuts
    page.press("nextButton")  # a case that is opened meanwhile does not take them back
    assert not page.editor.observes_views
    page.module.enter()
    assert page.editor.observes_views
    scene.Clear(False)
    assert not page.editor.observes_views
    assert page.editor.segmentationNode() is None


def test_closing_twice_and_an_empty_page(page: Page) -> None:
    page.panel.close()
    page.panel.close()
    page.press("openButton")
    assert page.panel.presenter.opened is None

"""The page that reviews: real Qt widgets, the real .ui file, real nodes, real files."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib.review import saving
from SelfConfiguringSegmentationLib.review.seg_nrrd import read_segments

from selfseg.domain.errors import ProjectError
from selfseg.review.log import ReviewLog
from slicer_module.review_folders import label_map
from slicer_module.review_page import Page, folder, page
from slicer_module.windows import module_widget, qt_application, spin, watchdog

__all__ = ["folder", "module_widget", "page", "qt_application", "watchdog"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def originals(folder: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in folder.glob("*.nii.gz")}


def test_the_whole_story(
    page: Page, folder: Path, tmp_path: Path, node_ids: Callable[[], set[str]], watchdog: Any
) -> None:
    page.look("empty", tmp_path)
    before = originals(folder)
    page.open(folder)
    # The worst first, and it is the one that is shown.
    assert page.column(0) == ["case_b", "case_c", "case_a"]
    assert page.column(1) == ["⚠ look at it", "○ open", "○ open"]
    assert page.column(2) == ["0.55", "0.78", "0.91"]
    assert page.current == "case_b"
    assert "tumour: predicted Dice 0.55, below 0.70" in page.ui.caseDetails.text
    assert "0 of 3 reviewed" in page.ui.tallyLabel.text
    assert page.ui.trainButton.enabled is False
    np.testing.assert_array_equal(page.mask("tumour"), label_map(1) == 5)
    np.testing.assert_array_equal(page.mask("liver"), label_map(1) == 1)
    liver = page.segmentation.GetSegmentation().GetNthSegment(0)
    assert tuple(round(part * 255) for part in liver.GetColor()) == (200, 100, 50)
    assert "SCT^10200004" in liver.GetTerminology()
    assert page.editor.currentSegmentID() == "Segment_2"  # the structure that is worst
    assert page.ui.casesTable.currentRow() == 0
    page.look("opened", tmp_path)
    shown = len(node_ids())

    page.press("nextButton")
    assert page.current == "case_c"
    assert len(node_ids()) == shown  # the scene does not grow
    page.press("previousButton")
    assert page.current == "case_b"

    # Correct, with one step too far and back.
    corrected = label_map(1) == 5
    corrected[6:9, 4:9, 8:11] = True
    page.draw("tumour", corrected)
    assert page.ui.approveButton.text == "Approve with edits"
    page.draw("tumour", np.ones_like(corrected))
    page.editor.undo()
    np.testing.assert_array_equal(page.mask("tumour"), corrected)
    page.ui.commentEdit.text = "the tumour was cut off"
    page.look("edited", tmp_path)
    page.press("approveButton")
    assert page.current == "case_c"  # the next open one
    assert page.ui.commentEdit.text == ""
    assert page.column(1)[0] == "✓ edited"

    page.press("approveButton")
    assert page.current == "case_a"
    page.ui.commentEdit.text = "wrong patient"
    page.press("rejectButton")
    assert page.ui.statusLabel.text == "Every case is reviewed."
    assert "3 of 3 reviewed: 1 approved, 1 edited, 1 rejected." in page.ui.tallyLabel.text
    assert "33%" in page.ui.tallyLabel.text
    assert "worth it" in page.ui.tallyLabel.text
    page.look("reviewed", tmp_path)

    b, c, a = ReviewLog.of(folder).decisions()
    assert (b.verdict, c.verdict, a.verdict) == ("edited", "approved", "rejected")
    assert b.comment == "the tumour was cut off"
    assert b.reviewer == "Ada"
    assert b.time.endswith("+00:00")
    assert b.software.startswith("SelfConfiguringSegmentation ")
    reviewed = folder / "reviewed"
    assert b.sha256_before == before["case_b.nii.gz"]
    assert b.sha256_after == digest(reviewed / "case_b.seg.nrrd")
    overlap = 2 * np.sum(label_map(1) == 5) / (np.sum(label_map(1) == 5) + corrected.sum())
    changed_liver = (label_map(1) == 1) & ~corrected
    both = changed_liver.sum() + np.sum(label_map(1) == 1)
    expected = {"tumour": overlap}
    if changed_liver.sum() < np.sum(label_map(1) == 1):
        expected["liver"] = 2 * changed_liver.sum() / both
    assert b.changes == pytest.approx(expected, abs=1e-6)
    assert (c.changes, a.sha256_after) == ({}, None)
    assert originals(folder) == before

    page.press("trainButton")
    (table,) = page.trainable
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["case"] for row in rows] == ["case_b", "case_c"]
    assert all(Path(row["image"]).is_file() for row in rows)
    found = {row["case"]: table.parent / row["segmentation"] for row in rows}
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(found["case_c"])))
    np.testing.assert_array_equal(labels, label_map(2))
    expected_b = label_map(1)
    expected_b[expected_b == 5] = 0
    expected_b[corrected] = 5
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(found["case_b"]))), expected_b
    )
    image = sitk.ReadImage(rows[0]["image"])
    written = sitk.ReadImage(str(found["case_b"]))
    assert np.allclose(image.GetDirection(), written.GetDirection())
    assert np.allclose(image.GetOrigin(), written.GetOrigin())
    assert np.allclose(image.GetSpacing(), written.GetSpacing())
    assert page.module.tabs.currentIndex == list(page.module.panels).index("Train")


def test_decisions_are_there_when_the_module_is_opened_again(
    page: Page, folder: Path, scene: Any
) -> None:
    page.open(folder)
    corrected = label_map(1) == 1
    corrected[0] = True
    page.draw("liver", corrected)
    page.ui.commentEdit.text = "top"
    page.press("approveButton")
    page.module.cleanup()
    scene.Clear(False)
    page.panel.open(folder)
    page.settle()
    assert page.column(1) == ["✓ edited", "○ open", "○ open"]
    assert page.current == "case_c"
    page.press("previousButton")
    assert page.current == "case_b"
    assert page.ui.caseTitle.text == "case_b: as reviewed"
    assert "✓ edited by Ada" in page.ui.caseDetails.text
    assert ": top" in page.ui.caseDetails.text
    np.testing.assert_array_equal(page.mask("liver"), corrected)


def test_edits_are_kept_when_a_case_is_left_and_can_be_discarded(
    page: Page, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.open(folder)
    drawn = label_map(1) == 5
    drawn[:, 0] = True
    page.draw("tumour", drawn)
    page.press("nextButton")
    assert page.current == "case_c"
    assert page.column(1)[0] == "⚠ ✎ draft"
    page.press("previousButton")
    assert page.ui.caseTitle.text == "case_b: your draft"
    assert page.ui.approveButton.text == "Approve with edits"
    np.testing.assert_array_equal(page.mask("tumour"), drawn)
    page.look("draft", tmp_path)
    questions: list[str] = []

    def answer(question: str, *_: object, **__: object) -> bool:
        questions.append(question)
        return len(questions) > 1

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answer)
    page.press("discardButton")
    assert page.ui.caseTitle.text == "case_b: your draft"
    page.press("discardButton")
    assert questions == ["Forget the edits of case_b?"] * 2
    assert page.ui.caseTitle.text == "case_b: as predicted"
    np.testing.assert_array_equal(page.mask("tumour"), label_map(1) == 5)
    assert not list((folder / "reviewed" / "drafts").iterdir())


def test_edits_survive_a_closed_scene(page: Page, folder: Path, scene: Any) -> None:
    page.open(folder)
    drawn = label_map(1) == 5
    drawn[:, 0] = True
    page.draw("tumour", drawn)
    scene.Clear(False)
    assert page.panel.presenter.loaded is None
    assert page.ui.approveButton.enabled is False
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    page.ui.casesTable.selectRow(0)
    page.settle()
    assert page.ui.caseTitle.text == "case_b: your draft"
    np.testing.assert_array_equal(page.mask("tumour"), drawn)


def test_edits_are_saved_now_and_then(
    page: Page, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.open(folder)
    drawn = label_map(1) == 5
    drawn[:, 0] = True
    page.draw("tumour", drawn)
    draft = saving.draft_file(folder, "case_b", "Ada")
    assert not draft.exists()
    monkeypatch.setattr("SelfConfiguringSegmentationLib.review.desk.AUTOSAVE_SECONDS", 0.0)
    spin(page.application, draft.exists)
    page.settle()
    stored = read_segments(draft)
    np.testing.assert_array_equal(stored.mask(stored.segments[1]), drawn)
    assert page.ui.segmentEditor.enabled is True
    written = draft.stat().st_mtime_ns
    for _ in range(20):
        page.application.processEvents()
    assert draft.stat().st_mtime_ns == written  # once is enough


def test_the_user_is_asked_before_edits_are_lost(
    page: Page, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.open(folder)
    page.draw("tumour", np.ones((10, 14, 12), bool))

    def full(*_: object) -> Path:
        raise ProjectError("the file cannot be written", found="No space left on device")

    monkeypatch.setattr(saving, "save_draft", full)
    answers = iter([False, True])
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_, **__: next(answers))
    page.press("nextButton")
    assert page.current == "case_b"
    assert page.mask("tumour").all()
    page.press("nextButton")
    assert page.current == "case_c"


def test_filter(page: Page, folder: Path, tmp_path: Path) -> None:
    page.open(folder)
    page.press("approveButton")
    selector = page.ui.filterSelector
    selector.currentIndex = 1
    assert page.column(0) == ["case_c", "case_a"]
    selector.currentIndex = 2
    assert page.column(0) == ["case_b"]
    page.look("flagged", tmp_path)
    selector.currentIndex = 3
    assert page.column(0) == ["case_b"]
    assert page.ui.nextButton.enabled is False
    page.press("previousButton")
    assert page.current == "case_b"
    selector.currentIndex = 0
    assert page.column(0) == ["case_b", "case_c", "case_a"]
    assert page.ui.casesTable.currentRow() == 0

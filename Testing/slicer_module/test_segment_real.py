"""The page Segment with real processes and a model that was really trained, for a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

from slicer_module.windows import module_widget, picture, qt_application, spin, watchdog
from slicer_module.workers import library, page, real_segmenting

__all__ = ["library", "module_widget", "page", "qt_application", "watchdog"]


def test_import_segment_and_remove(
    qt_application: Any,
    page: Any,
    scene: Any,
    dataset: Path,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    watchdog: Any,
) -> None:
    import qt

    ui = page.ui
    source = sitk.ReadImage(str(next((dataset / "imagesTs").iterdir())))
    volume = slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(source), name="scan")
    page.use(real_segmenting(page.library))
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(project))
    page.panel._menu.import_folder()
    assert ui.statusLabel.text == "Importing project ..."
    assert ui.applyButton.text == "Cancel"
    spin(qt_application, lambda: not page.running, 60.0)
    assert ui.statusLabel.text.startswith("Imported ")
    assert "2 structures" in ui.modelLabel.text
    assert [entry.in_library for entry in page.widget.logic.models()] == [True]
    qt_application.processEvents()
    picture(page.widget, "segment-imported", tmp_path)

    ui.mirrorCheckBox.checked = False
    ui.deviceSelector.currentText = "cpu"
    ui.applyButton.click()
    spin(qt_application, lambda: not page.running, 60.0)
    node = ui.segmentationSelector.currentNode()
    segmentation = node.GetSegmentation()
    names = [segmentation.GetNthSegment(index).GetName() for index in range(2)]
    assert names == ["ball", "bud"]
    identifier = segmentation.GetNthSegmentID(0)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
    assert 0 < np.mean(found > 0) < 0.9

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: "Delete" in text)
    page.panel._menu.remove()
    spin(qt_application, lambda: not page.running, 60.0)
    assert page.widget.logic.models() == ()
    assert ui.applyButton.toolTip == "Get a model first: press Get more."

"""The interface is never held up: a large volume, a sequence, in real widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from slicer_module.children import write_model
from slicer_module.test_segment_scene import sequence_of, sequences
from slicer_module.windows import module_widget, picture, qt_application, spin, watchdog
from slicer_module.workers import fake_segmenting, library, page

__all__ = ["library", "module_widget", "page", "qt_application", "sequences", "watchdog"]


def test_a_large_volume_never_blocks_the_interface(
    qt_application: Any, page: Any, scene: Any, tmp_path: Path, watchdog: Any
) -> None:
    voxels = np.zeros((256, 256, 256), dtype=np.int16)
    z, y, x = np.ogrid[:256, :256, :256]
    voxels[(z - 128) ** 2 + (y - 120) ** 2 + (x - 130) ** 2 < 80**2] = 2000
    volume = slicer.util.addVolumeFromArray(voxels)
    page.use(fake_segmenting("label", page.library), write_model(tmp_path / "model"))
    page.ui.applyButton.click()
    spin(qt_application, lambda: not page.running, 60.0)
    assert page.ui.statusLabel.text == "Done."
    node = page.ui.segmentationSelector.currentNode()
    identifier = node.GetSegmentation().GetNthSegmentID(0)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
    assert int(found.sum()) == int((voxels > 1000).sum())
    surface = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface")
    assert surface.GetNumberOfPoints() > 10_000
    print("slowest:", watchdog.slowest(5))
    # Done in steps, not in one go.
    assert len([call for call in watchdog.calls if "timeout" in call.name]) > 10


@pytest.mark.parametrize("all_frames", [True, False])
def test_frames_of_a_sequence(
    qt_application: Any,
    page: Any,
    scene: Any,
    sequences: Any,
    tmp_path: Path,
    watchdog: Any,
    all_frames: bool,
) -> None:
    browser, proxy = sequence_of(scene, 3)
    page.use(fake_segmenting("label", page.library), write_model(tmp_path / "model"))
    page.ui.volumeSelector.setCurrentNode(proxy)
    page.panel._choose()
    assert page.ui.framesCheckBox.visible is True
    assert page.ui.framesCheckBox.text == "All 3 frames"
    page.ui.framesCheckBox.checked = all_frames
    page.ui.surfaceCheckBox.checked = False
    assert page.ui.segmentationSelector.enabled is not all_frames
    qt_application.processEvents()
    picture(page.widget, f"segment-frames-{all_frames}", tmp_path)
    page.ui.applyButton.click()
    spin(qt_application, lambda: not page.running)
    assert page.ui.statusLabel.text == "Done."
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert len(nodes) == 1
    assert browser.IsProxyNodeID(nodes[0].GetID()) is all_frames

"""The page that reviews, and what a user does on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk.util.numpy_support  # noqa: F401 - in Slicer it is in memory from the start

from slicer_module.review_folders import write_predictions
from slicer_module.windows import picture, spin


class Page:
    """The page and what a user does on it."""

    def __init__(self, module_widget: Any, application: Any) -> None:
        self.module = module_widget
        self.application = application
        self.panel = module_widget.panels["Review"]
        module_widget.session.show_page.tell("Review")
        self.ui = slicer.util.childWidgetVariables(module_widget.tabs.currentWidget())
        self.trainable: list[Path] = []
        module_widget.session.cases_corrected.connect(self.trainable.append)
        self.ui.reviewerName.text = "Ada"

    def settle(self) -> None:
        spin(self.application, lambda: not self.panel.presenter.busy)
        self.application.processEvents()

    def open(self, folder: Path) -> None:
        self.module.session.predictions_ready.tell(folder)
        self.settle()

    def press(self, button: str) -> None:
        getattr(self.ui, button).click()
        self.settle()

    def column(self, number: int) -> list[str]:
        table = self.ui.casesTable
        return [table.item(row, number).text() for row in range(table.rowCount)]

    @property
    def current(self) -> str:
        return self.panel.presenter.view().current

    @property
    def segmentation(self) -> Any:
        return self.panel.desk.nodes.segmentation

    def mask(self, name: str) -> np.ndarray:
        identifier = self.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        volume = self.panel.desk.nodes.volumes[0]
        return slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, identifier, volume) > 0

    def draw(self, name: str, mask: np.ndarray) -> None:
        """As an effect of the Segment Editor does it: a step to undo, then voxels."""
        from SelfConfiguringSegmentationLib.review.case_nodes import _layer

        self.editor.saveStateForUndo()
        segmentation = self.segmentation.GetSegmentation()
        parameters = self.editor.mrmlSegmentEditorNode()
        chosen = segmentation.GetSegmentIdBySegmentName(name)
        others = [
            segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())
        ]
        overwrites = parameters.GetOverwriteMode() == parameters.OverwriteAllSegments
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.SetBinaryLabelmapToSegment(
            _layer(mask.astype(np.uint8), self.panel.presenter.loaded.images[0].grid),
            self.segmentation,
            chosen,
            logic.MODE_REPLACE,
            None,
            False,
            [other for other in others if other != chosen] if overwrites else [],
        )
        spin(self.application, lambda: self.ui.approveButton.text == "Approve with edits")

    @property
    def editor(self) -> Any:
        from slicer_module import qt_adapter

        return qt_adapter.unwrap(self.ui.segmentEditor)

    def look(self, name: str, folder: Path) -> None:
        for _ in range(3):
            self.application.processEvents()
        picture(self.module, f"review-{name}", folder)


@pytest.fixture
def page(module_widget: Any, qt_application: Any) -> Page:
    return Page(module_widget, qt_application)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_predictions(tmp_path)

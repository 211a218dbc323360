"""The page that exports: shows the presenter's view and passes on what the user does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from selfseg.domain.errors import SelfsegError
from selfseg.domain.segments import ALGORITHM_NAME_TAG

from ..child_run import EventTaker, LineTaker
from ..run_panel import RunPanel
from ..scene import tag_of
from ..session import Session
from . import dicom
from .formats import file_formats
from .presenter import REVIEWED_FOLDER, Choices, ExportPresenter
from .run import ExportSettings

POLL_MILLISECONDS = 50


class ExportPanel(RunPanel):
    """Connects the widgets of ExportPanel.ui with a presenter.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    KEPT: ClassVar = {"outputFolder": "currentPath", "formatSelector": "currentIndex"}

    def __init__(self, ui: Any, session: Session) -> None:
        super().__init__(ui, session)
        self._formats = file_formats()
        self.presenter = ExportPresenter(self._start, on_change=self._show, on_log=self._log)
        ui.formatSelector.addItems([one.title for one in self._formats])
        for selector in (ui.segmentationSelector, ui.volumeSelector):
            selector.setMRMLScene(session.scene)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose)
        for line in (ui.reviewedFolder, ui.outputFolder, ui.dicomFolder):
            line.connect("currentPathChanged(QString)", self._choose)
        ui.sceneButton.connect("toggled(bool)", self._choose)
        ui.formatSelector.connect("currentIndexChanged(int)", self._choose)
        ui.openButton.connect("clicked(bool)", self._open_folder)
        self._connect_run(self.presenter.tick, POLL_MILLISECONDS)
        session.cases_corrected.connect(self._offer_reviewed)
        self._choose()

    def _start(self, choices: Choices, on_event: EventTaker, on_log: LineTaker) -> Any:
        logic = self._session.logic
        logic.installDependencies()
        settings = ExportSettings(
            format=choices.format,
            volume=choices.volume,
            dicom_folder=Path(choices.dicom_folder) if choices.dicom_folder else None,
            model=self._model_of(choices) if choices.format == "report" else None,
        )
        if choices.reviewed:
            return logic.startExportReviewed(
                choices.folder, choices.output, settings=settings, onEvent=on_event, onLog=on_log
            )
        # A folder of that name may not be there yet, and its name may end like a file's.
        Path(choices.output).mkdir(parents=True, exist_ok=True)
        return logic.startExportSegmentation(
            choices.segmentation,
            choices.output,
            settings=settings,
            onEvent=on_event,
            onLog=on_log,
        )

    def _model_of(self, choices: Choices) -> Path | None:
        """The model that made what is exported, where it is known and still there."""
        maker = (
            model_of_folder(Path(choices.folder))
            if choices.reviewed
            else program_of(choices.segmentation)
        )
        known = (entry for entry in self._session.logic.models() if entry.model is not None)
        names = ((entry, str(entry.model.name)) for entry in known)
        return next((entry.path for entry, name in names if name and name in maker), None)

    def _choose(self, *_: object) -> None:
        ui = self._ui
        segmentation, volume = (
            ui.segmentationSelector.currentNode(),
            ui.volumeSelector.currentNode(),
        )
        scan = volume
        if scan is None and segmentation is not None:
            role = segmentation.GetReferenceImageGeometryReferenceRole()
            scan = segmentation.GetNodeReference(role)
        self.presenter.choose(
            Choices(
                reviewed=not ui.sceneButton.checked,
                segmentation=segmentation,
                volume=volume,
                folder=ui.reviewedFolder.currentPath,
                format=self._formats[max(0, ui.formatSelector.currentIndex)].key,
                dicom_folder=ui.dicomFolder.currentPath,
                loaded_as_dicom=bool(dicom.source_files(scan)),
                output=ui.outputFolder.currentPath,
            )
        )

    def _offer_reviewed(self, folder: Path) -> None:
        self._ui.reviewedFolder.currentPath = str(folder)

    def _open_folder(self, *_: object) -> None:
        import qt

        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._ui.outputFolder.currentPath))

    def _show(self) -> None:
        ui, view = self._ui, self.presenter.view()
        self._show_run(view, (ui.inputsBox, ui.outputsBox))
        scene = ui.sceneButton.checked
        for widget in (
            ui.segmentationSelector, ui.segmentationSelectorLabel, ui.volumeSelector,
            ui.volumeSelectorLabel,
        ):  # fmt: skip
            widget.visible = scene
        for widget in (ui.reviewedFolder, ui.reviewedFolderLabel):
            widget.visible = not scene
        for widget in (ui.dicomFolder, ui.dicomFolderLabel):
            widget.visible = view.asks_for_dicom
        ui.hintLabel.text = view.hint
        ui.openButton.enabled = bool(view.written)
        self._keep_time(view.running)


def program_of(segmentation_node: Any) -> str:
    """What drew the first segment, as it is written there."""
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        return ""
    return tag_of(segmentation.GetNthSegment(0), ALGORITHM_NAME_TAG)


def model_of_folder(folder: Path) -> str:
    """The model that made the predictions of a folder, or of the one that was reviewed."""
    from selfseg.review.cases import read_review_folder

    try:
        return read_review_folder(folder.parent if folder.name == REVIEWED_FOLDER else folder).model
    except SelfsegError:
        return ""

"""The page that reviews: shows the presenter's view and passes on what the user does."""

from __future__ import annotations

import contextlib
import getpass
import time
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

import selfseg

from ..model_list import ModelList
from ..session import Session
from .editor_desk import EditorDesk
from .presenter import ReviewPresenter
from .view import FILTERS, Row, filter_title

POLL_MILLISECONDS = 50
ROWS_AT_ONCE = 25
"""Lines written into the list per poll: thousands at once would hold up the interface."""

STATE_COLUMN = 1
APPROVE_KEYS = "Alt+Return"


class ReviewPanel:
    """Connects the widgets of ReviewPanel.ui with a presenter.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    KEPT: ClassVar = {"predictionsFolder": "currentPath", "reviewerName": "text"}

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui = ui
        self._session = session
        self._timer = session.new_timer()
        self._models = ModelList()
        self._model_keys: list[str] = []
        self._commented = ("", 0)
        self._at_work = False
        self._rows: tuple[Row, ...] = ()
        self._written: list[Row] = []
        self._showing = False
        self.desk = EditorDesk(ui.segmentEditor, session.scene)
        self.presenter = ReviewPresenter(
            self.desk,
            software=f"SelfConfiguringSegmentation {selfseg.__version__}",
            clock=time.monotonic,
            ask=_ask,
            models=self._models,
            on_change=self._show,
            on_trainable=self._train,
        )
        _lay_out(ui.casesTable)
        ui.filterSelector.addItems([filter_title(name) for name in FILTERS])
        self._list_models()
        ui.reviewerName.text = _user()
        ui.openButton.connect("clicked(bool)", self._open)
        ui.sceneButton.connect("clicked(bool)", self._take_scene)
        ui.reviewerName.connect("textChanged(QString)", self.presenter.name_reviewer)
        ui.filterSelector.connect("currentIndexChanged(int)", self._filter)
        ui.casesTable.connect("itemSelectionChanged()", self._choose)
        ui.previousButton.connect("clicked(bool)", lambda *_: self.presenter.go(-1))
        ui.nextButton.connect("clicked(bool)", lambda *_: self.presenter.go(1))
        ui.approveButton.connect("clicked(bool)", self._approve)
        ui.rejectButton.connect("clicked(bool)", self._reject)
        ui.discardButton.connect("clicked(bool)", lambda *_: self.presenter.discard())
        ui.trainButton.connect("clicked(bool)", lambda *_: self.presenter.train())
        ui.exportButton.connect("clicked(bool)", self._export)
        session.predictions_ready.connect(self.open)
        session.model_ready.connect(self._list_models)
        self._timer.interval = POLL_MILLISECONDS
        self._timer.connect("timeout()", self._tick)
        self.presenter.name_reviewer(ui.reviewerName.text)  # which shows everything

    def open(self, folder: Path) -> None:
        """Opens a folder of segmentations and looks for their images by itself."""
        self._ui.predictionsFolder.currentPath = str(folder)
        self._ui.imagesFolder.currentPath = ""
        self._open()

    def close(self) -> None:
        """Keeps what was edited; called when the module is unloaded or the scene is closed."""
        self._timer.stop()
        self.presenter.close()

    def enter(self) -> None:
        """The page comes to the front."""
        self.desk.enter()

    def leave(self) -> None:
        """The page goes to the back."""
        self.desk.leave()

    def _open(self, *_: object) -> None:
        ui = self._ui
        images = ui.imagesFolder.currentPath.strip()
        folder = ui.predictionsFolder.currentPath.strip()
        if folder:
            self.presenter.open(
                Path(folder), Path(images) if images else None, self._chosen_model()
            )

    def _take_scene(self, *_args: object) -> None:
        import qt

        folder = qt.QFileDialog.getExistingDirectory(
            None, _("An empty folder for the segmentations of the scene")
        )
        if folder:
            self._ui.predictionsFolder.currentPath = folder
            self._ui.imagesFolder.currentPath = ""
            self.presenter.take_scene(Path(folder))

    def _filter(self, index: int) -> None:
        self.presenter.choose_filter(FILTERS[index])

    def _choose(self, *_: object) -> None:
        row = self._ui.casesTable.currentRow()
        if not self._showing and 0 <= row < len(self._written):
            self.presenter.choose(self._written[row].case)
            self._show()  # where the choice was not possible, the list shows what is

    def _approve(self, *_: object) -> None:
        self.presenter.approve(self._ui.commentEdit.text)

    def _reject(self, *_: object) -> None:
        self.presenter.reject(self._ui.commentEdit.text)

    def _export(self, *_args: object) -> None:
        import qt

        opened = self.presenter.opened
        if opened is None:
            return
        path = qt.QFileDialog.getSaveFileName(
            None, _("Write the review log"), str(opened.folder / "review.csv"), "CSV (*.csv)"
        )
        if path:
            self.presenter.export(Path(path))

    def _train(self, table: Path) -> None:
        self._session.cases_corrected.tell(table)
        self._session.show_page.tell("Train")

    def _tick(self) -> None:
        self.presenter.tick()
        if len(self._written) != len(self._rows) or self._written[-1:] != list(self._rows[-1:]):
            self._write_rows()

    def _list_models(self, *_args: object) -> None:
        """The models that may say what the structures are called."""
        selector = self._ui.modelSelector
        chosen = self._chosen_model()
        entries = [entry for entry in self._models.entries() if entry.model is not None]
        selector.clear()
        selector.addItems([_("as the folder says"), *(entry.title for entry in entries)])
        self._model_keys = [entry.key for entry in entries]
        if chosen in self._model_keys:
            selector.currentIndex = self._model_keys.index(chosen) + 1

    def _chosen_model(self) -> str:
        index = self._ui.modelSelector.currentIndex - 1
        return self._model_keys[index] if 0 <= index < len(self._model_keys) else ""

    def _show(self) -> None:
        ui, view = self._ui, self.presenter.view()
        ui.casesBox.visible = ui.caseBox.visible = view.folder_open
        ui.tallyLabel.text = view.tally
        ui.caseTitle.text = view.title
        ui.caseDetails.text = view.details
        ui.statusLabel.text = view.status
        ui.statusLabel.styleSheet = "font-weight: bold" if view.failed else ""
        ui.segmentEditor.enabled = view.editor_enabled
        if ui.approveButton.text != view.approve_text and view.approve_text:
            ui.approveButton.text = view.approve_text
            _set_keys(ui.approveButton, APPROVE_KEYS)  # a new text takes them away
        ui.approveButton.toolTip = view.approve_tooltip
        ui.trainButton.toolTip = view.train_tooltip
        for button, enabled in (
            (ui.approveButton, view.approve_enabled),
            (ui.rejectButton, view.reject_enabled),
            (ui.discardButton, view.discard_enabled),
            (ui.nextButton, view.next_enabled),
            (ui.previousButton, view.previous_enabled),
            (ui.trainButton, view.train_enabled),
            (ui.openButton, not view.busy),
            (ui.sceneButton, not view.busy),
            (ui.exportButton, not view.busy),
        ):
            button.enabled = enabled
        if self._commented != (view.current, view.decision):
            self._commented = (view.current, view.decision)
            ui.commentEdit.text = ""
        if self._at_work != (at_work := view.folder_open and not view.failed):
            self._at_work = at_work
            ui.folderBox.collapsed = at_work
        if self._rows is not view.rows:
            self._rows = view.rows
            self._write_rows()
        self._select(view.current)
        if (view.folder_open or view.busy) and not self._timer.active:
            self._timer.start()

    def _write_rows(self) -> None:
        """Brings the list up to date, a part of it at a time."""
        import qt

        table, left = self._ui.casesTable, ROWS_AT_ONCE
        if len(self._written) > len(self._rows):
            del self._written[len(self._rows) :]
        if table.rowCount != len(self._rows):
            table.setRowCount(len(self._rows))
        self._showing = True
        try:
            for index, row in enumerate(self._rows):
                if index < len(self._written) and self._written[index] == row:
                    continue
                if left == 0:
                    return
                left -= 1
                tooltip = self.presenter.details(row.case)
                for column, text in enumerate((row.case, row.state, row.dice, row.hd95)):
                    item = qt.QTableWidgetItem(text)
                    item.setToolTip(tooltip)
                    table.setItem(index, column, item)
                self._written[index : index + 1] = [row]
        finally:
            self._showing = False

    def _select(self, case: str) -> None:
        table = self._ui.casesTable
        index = next((i for i, row in enumerate(self._written) if row.case == case), -1)
        if index == table.currentRow():
            return
        self._showing = True
        try:
            if index < 0:
                table.clearSelection()
                table.setCurrentCell(-1, -1)
            else:
                table.selectRow(index)
        finally:
            self._showing = False


def _ask(question: str) -> bool:
    import slicer

    return bool(slicer.util.confirmOkCancelDisplay(question, _("Review")))


def _user() -> str:
    """The name that the computer knows; "" where it knows none."""
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return ""


def _set_keys(button: Any, keys: str) -> None:
    import qt

    button.shortcut = qt.QKeySequence(keys)


def _lay_out(table: Any) -> None:
    """The states take the room that the other columns leave."""
    import qt

    # Widths that follow the content would be computed anew with every row.
    table.horizontalHeader().setSectionResizeMode(STATE_COLUMN, qt.QHeaderView.Stretch)
    for column in range(STATE_COLUMN + 1, table.columnCount):
        table.resizeColumnToContents(column)

"""The page that segments a folder: shows the presenter's view, passes on what the user does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError

from ..child_run import EventTaker, LineTaker
from ..model_list import ModelEntry
from ..run_panel import DEVICES, RunPanel
from ..session import Session
from .presenter import BatchPresenter, CaseRow, Choices
from .run import BatchResult, BatchSettings
from .table import add_table, show_table

POLL_MILLISECONDS = 100


class BatchPanel(RunPanel):
    """Connects the widgets of BatchPanel.ui with a presenter.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    KEPT: ClassVar = {
        "scansFolder": "currentPath",
        "outputFolder": "currentPath",
        "deviceSelector": "currentIndex",
        "mirrorCheckBox": "checked",
        "continueCheckBox": "checked",
    }

    def __init__(self, ui: Any, session: Session) -> None:
        super().__init__(ui, session)
        self._entries: tuple[ModelEntry, ...] = ()
        self._shown: tuple[CaseRow, ...] = ()
        self._structures_of = ""
        self.presenter = BatchPresenter(
            self._start,
            on_change=self._show,
            on_log=self._log,
            on_done=self._done,
            quality=reasons_in,
        )
        ui.deviceSelector.addItems(list(DEVICES))
        ui.caseTable.setHorizontalHeaderLabels([_("Case"), _("State"), _("Note")])
        ui.caseTable.horizontalHeader().setStretchLastSection(True)
        for line in (ui.scansFolder, ui.outputFolder):
            line.connect("currentPathChanged(QString)", self._choose)
        ui.modelSelector.connect("currentIndexChanged(int)", self._choose)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._choose)
        for box in (ui.mirrorCheckBox, ui.continueCheckBox):
            box.connect("toggled(bool)", self._choose)
        ui.structureList.connect("itemChanged(QListWidgetItem*)", self._choose)
        ui.reviewButton.connect("clicked(bool)", self._review)
        ui.tableButton.connect("clicked(bool)", self._show_table)
        self._connect_run(self.presenter.tick, POLL_MILLISECONDS)
        session.model_ready.connect(self._list_models)
        self._list_models()

    def _start(self, choices: Choices, on_event: EventTaker, on_log: LineTaker) -> Any:
        assert choices.model is not None  # noqa: S101 - the presenter starts nothing without one
        logic = self._session.logic
        logic.installDependencies()
        return logic.startSegmentFolder(
            choices.scans,
            choices.model.path,
            choices.output,
            settings=choices.settings,
            onEvent=on_event,
            onLog=on_log,
        )

    def _list_models(self, ready: Path | None = None) -> None:
        """Reads the list again; a model that is ready now is chosen, otherwise the one before."""
        selector = self._ui.modelSelector
        before = self._chosen_model()
        wanted = str(ready) if ready is not None else "" if before is None else before.key
        self._entries = self._session.logic.models()
        selector.blockSignals(True)
        selector.clear()
        selector.addItems([entry.title for entry in self._entries])
        for index, entry in enumerate(self._entries):
            if wanted in (entry.key, str(entry.path)):
                selector.currentIndex = index
        selector.blockSignals(False)
        self._choose()

    def _chosen_model(self) -> ModelEntry | None:
        index = self._ui.modelSelector.currentIndex
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def _choose(self, *_: object) -> None:
        ui, entry = self._ui, self._chosen_model()
        self._list_structures(entry)
        self.presenter.choose(
            Choices(
                scans=ui.scansFolder.currentPath,
                model=entry,
                output=ui.outputFolder.currentPath,
                settings=BatchSettings(
                    device=ui.deviceSelector.currentText,
                    mirror=ui.mirrorCheckBox.checked,
                    structures=self._chosen_structures(),
                    go_on=ui.continueCheckBox.checked,
                ),
            )
        )

    def _list_structures(self, entry: ModelEntry | None) -> None:
        """All structures of another model, all of them chosen."""
        import qt

        key = "" if entry is None or entry.model is None else entry.key
        if key == self._structures_of:
            return
        self._structures_of = key
        listed = self._ui.structureList
        listed.blockSignals(True)
        listed.clear()
        for name in () if entry is None or entry.model is None else entry.model.structure_names:
            item = qt.QListWidgetItem(name)
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            item.setCheckState(qt.Qt.Checked)
            listed.addItem(item)
        listed.blockSignals(False)

    def _chosen_structures(self) -> tuple[str, ...]:
        """Names; none where all are chosen, or no one is."""
        import qt

        listed = self._ui.structureList
        items = [listed.item(index) for index in range(listed.count)]
        chosen = tuple(item.text() for item in items if item.checkState() == qt.Qt.Checked)
        return () if len(chosen) == len(items) else chosen

    def _review(self, *_: object) -> None:
        folder = self.presenter.reviewable
        if folder is not None:
            self._session.predictions_ready.tell(folder)
            self._session.show_page.tell("Review")

    def _show_table(self, *_: object) -> None:
        result = self.presenter.result
        if result is None:
            return
        try:
            name = _name_of_table(result.folder)
            show_table(add_table(self._session.scene, result.volumes, name))
        except SelfsegError as error:
            self.presenter.running.log(str(error))

    def _done(self, result: BatchResult) -> None:
        self._show_table()

    def _show(self) -> None:
        ui, view = self._ui, self.presenter.view()
        self._show_run(view, (ui.inputsBox, ui.outputsBox, ui.advancedBox))
        ui.modelLabel.text = view.model_text
        ui.reviewButton.enabled = view.review_enabled
        ui.tableButton.enabled = view.table_enabled
        self._show_rows(view.rows)
        self._keep_time(view.running)

    def _show_rows(self, rows: tuple[CaseRow, ...]) -> None:
        """Writes the rows that changed: a folder may hold thousands."""
        import qt

        table = self._ui.caseTable
        if table.rowCount != len(rows):
            table.rowCount = len(rows)
        for index, row in enumerate(rows):
            if index < len(self._shown) and self._shown[index] == row:
                continue
            for column, text in enumerate((row.case, row.state_text, row.note)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(index, column, item)
        self._shown = rows


def reasons_in(folder: Path) -> Mapping[str, str]:
    """Of a folder of predictions: why somebody should look at a case; nothing where all is well."""
    from selfseg.review.cases import read_review_folder

    try:
        cases = read_review_folder(folder).cases
    except SelfsegError:
        return {}
    return {case.identifier: "; ".join(case.reasons) for case in cases if case.reasons}


def _name_of_table(folder: Path) -> str:
    return _("{folder} volumes").format(folder=folder.name)

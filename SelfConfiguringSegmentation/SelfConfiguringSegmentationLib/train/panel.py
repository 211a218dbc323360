"""The page that trains: shows what the presenter says and passes on what the user does."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from slicer.i18n import tr as _

from ..run_panel import DEVICES, emphasis, show_progress
from ..session import Session
from . import case_views, tables
from .budget import DEFAULT_LEVEL, LEVELS
from .case_table import CaseTable
from .charts import TrainingCharts
from .collecting import Source
from .logic import known_trainings, open_training, start_preparing, start_survey
from .preparing import TrainingSettings
from .presenter import TrainPresenter, cases_of
from .progress import FinishedModel
from .report_view import show_report
from .survey import MISSING

POLL_MILLISECONDS = 100
DEFAULT_NAME = "MyModel"


class TrainPanel:
    """Connects the widgets of TrainPanel.ui with the case table and a presenter.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    KEPT: ClassVar = {
        "budgetSlider": "value",
        "chartsCheckBox": "checked",
        "deviceSelector": "currentText",
    }
    """Widgets whose property is remembered; see `settings.keep`."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui = ui
        self._session = session
        self._logic = session.logic
        self._charts = TrainingCharts(session.scene)
        self._drawn: tuple[Any, ...] = ()
        self._filled = -1
        self._plan_shown = ""
        self._was_following = False
        self.cases = CaseTable(
            lambda sources, choices, on_log: start_survey(
                self._logic, sources, choices, on_log=on_log
            ),
            on_change=self._show,
            on_log=self._log,
        )
        self.presenter = TrainPresenter(
            self.cases,
            prepare=self._prepare,
            open_training=lambda *given: open_training(self._logic, *given),
            known=known_trainings(),
            on_change=self._show,
            on_log=self._log,
            on_model=self._take_model,
        )
        self._timer = session.new_timer()
        self._timer.interval = POLL_MILLISECONDS
        self._fill_choices()
        self._connect()
        session.cases_corrected.connect(self.cases.add_path)
        self._choose()
        self._show_earlier()
        self.presenter.find_again()
        self._show()

    def close(self) -> None:
        """The module is unloaded or the scene closed; a training goes on in its own process."""
        self.presenter.close()
        self._charts.remove()
        self._drawn = ()
        closing = bool(self._session.scene.IsClosing())
        if closing:
            self.cases.drop_scene()
        else:
            self._timer.stop()

    def _fill_choices(self) -> None:
        ui = self._ui
        tables.set_up(ui.caseTable, ui.structureTable)
        ui.sceneFolder.setMRMLScene(self._session.scene)
        ui.missingSelector.addItems(
            [
                _("a problem: tell me which cases"),
                _("the structure is not there"),
                _("nobody looked: ignore the case for it"),
                _("leave the case out"),
            ]
        )
        ui.deviceSelector.addItems(list(DEVICES))
        ui.budgetSlider.maximum = len(LEVELS) - 1
        ui.budgetSlider.value = DEFAULT_LEVEL
        ui.nameEdit.text = DEFAULT_NAME
        ui.folderPath.currentPath = str(_documents() / "SelfConfiguringSegmentation" / DEFAULT_NAME)

    def _connect(self) -> None:
        ui = self._ui
        ui.addSceneButton.connect("clicked(bool)", self._add_scene)
        ui.addFilesButton.connect("clicked(bool)", self._add_files)
        ui.clearButton.connect("clicked(bool)", lambda *_: self.cases.clear())
        ui.caseTable.connect("itemChanged(QTableWidgetItem*)", self._case_changed)
        ui.caseTable.connect("cellDoubleClicked(int,int)", self._show_case)
        ui.structureTable.connect("itemChanged(QTableWidgetItem*)", self._structure_changed)
        ui.missingSelector.connect("currentIndexChanged(int)", self._choose_missing)
        ui.channelsEdit.connect("editingFinished()", self._choose_channels)
        ui.nameEdit.connect("textChanged(QString)", self._choose_name)
        ui.folderPath.connect("currentPathChanged(QString)", self._choose)
        ui.budgetSlider.connect("valueChanged(int)", self._choose)
        ui.deviceSelector.connect("currentTextChanged(QString)", self._choose)
        ui.optionsEdit.connect("textChanged(QString)", self._choose)
        ui.prepareButton.connect("clicked(bool)", self._press_prepare)
        ui.trainButton.connect("clicked(bool)", self._press_train)
        ui.chartsCheckBox.connect("toggled(bool)", self._toggle_charts)
        ui.reportButton.connect("clicked(bool)", self._show_report)
        ui.segmentButton.connect(
            "clicked(bool)", lambda *_: self._session.show_page.tell("Segment")
        )
        ui.openButton.connect("clicked(bool)", self._open_earlier)
        ui.forgetButton.connect("clicked(bool)", self._forget_earlier)
        self._timer.connect("timeout()", self._tick)

    def _prepare(
        self,
        cases: CaseTable,
        settings: TrainingSettings,
        on_event: Callable[[dict[str, Any]], None],
        on_log: Callable[[str], None],
    ) -> Any:
        return start_preparing(
            self._logic, cases.sources, cases.found, cases.choices, settings, on_event, on_log
        )

    def _add_scene(self, *_: object) -> None:
        self._ask_for_packages(lambda: self.cases.add(self._scene_source()))

    def _scene_source(self) -> Source:
        item = int(self._ui.sceneFolder.currentItem())
        hierarchy = self._ui.sceneFolder.subjectHierarchyNode()
        name = hierarchy.GetItemName(item) if item and hierarchy is not None else _("whole scene")
        return Source(str(name), None, item)

    def _add_files(self, *_: object) -> None:
        path = self._ui.sourcePath.currentPath
        if path:
            self._ask_for_packages(lambda: self.cases.add_path(Path(path)))

    def _ask_for_packages(self, go_on: Callable[[], None]) -> None:
        """The child process needs packages; the user is asked before any is installed."""
        try:
            self._logic.installDependencies()
        except RuntimeError as error:
            self._ui.statusLabel.text = str(error)
            self._log(str(error))
            return
        go_on()

    def _case_changed(self, item: Any) -> None:
        if item.column() == tables.CASE_COLUMN:
            self.cases.use(item.text(), tables.is_checked(item))

    def _structure_changed(self, item: Any) -> None:
        structures = self.cases.structures()
        if item.column() != 0 or item.row() >= len(structures):
            return
        structure, used = structures[item.row()]
        if item.text() != structure.name:
            self.cases.rename(structure.name, item.text())
        elif tables.is_checked(item) != used:
            self.cases.use_structure(structure.name, not used)

    def _show_case(self, row: int, column: int) -> None:
        rows = self.cases.survey.rows
        if row >= len(rows):
            return
        pair = self.cases.found.pair_of(rows[row].case)
        if pair is not None:
            case_views.show_pair(pair)
            return
        try:
            shown = case_views.show_files(rows[row])
        except RuntimeError as error:
            shown = False
            self._log(str(error))
        if not shown:
            self._ui.statusLabel.text = _(
                "{case} lies inside {source}: load that to see it."
            ).format(case=rows[row].case, source=rows[row].source)

    def _choose_missing(self, index: int) -> None:
        self.cases.choose(missing=MISSING[index])

    def _choose_channels(self, *_: object) -> None:
        names = [name.strip() for name in self._ui.channelsEdit.text.split(",")]
        self.cases.choose(channels=tuple(name for name in names if name))

    def _choose_name(self, name: str) -> None:
        folder = Path(self._ui.folderPath.currentPath)
        if folder.name == self.presenter.settings.name and name.strip():
            # The folder follows the name as long as the user has not chosen another.
            self._ui.folderPath.currentPath = str(folder.with_name(_folder_name(name)))
        self._choose()

    def _choose(self, *_: object) -> None:
        ui = self._ui
        self.cases.choices = self.cases.choices.named(ui.nameEdit.text.strip())
        self.presenter.choose(
            TrainingSettings(
                folder=Path(ui.folderPath.currentPath),
                name=ui.nameEdit.text.strip(),
                seconds=LEVELS[ui.budgetSlider.value],
                device=ui.deviceSelector.currentText,
                options=_words(ui.optionsEdit.text),
            )
        )

    def _press_prepare(self, *_: object) -> None:
        if self.presenter.preparing:
            self.presenter.press_prepare()
        else:
            self._ui.logText.clear()
            self._ask_for_packages(self.presenter.press_prepare)

    def _press_train(self, *_: object) -> None:
        self.presenter.press_train()
        self._show_earlier()

    def _open_earlier(self, *_: object) -> None:
        earlier = self.presenter.earlier()
        index = self._ui.earlierSelector.currentIndex
        if 0 <= index < len(earlier):
            self._ui.logText.clear()
            self.presenter.attach(earlier[index][0])

    def _forget_earlier(self, *_: object) -> None:
        earlier = self.presenter.earlier()
        index = self._ui.earlierSelector.currentIndex
        if 0 <= index < len(earlier):
            self.presenter.forget(earlier[index][0])
            self._show_earlier()

    def _show_earlier(self) -> None:
        earlier = self.presenter.earlier()
        self._ui.earlierSelector.clear()
        self._ui.earlierSelector.addItems([f"{name}  ({folder})" for folder, name in earlier])
        self._ui.openButton.enabled = self._ui.forgetButton.enabled = bool(earlier)

    def _take_model(self, model: FinishedModel) -> None:
        self._session.model_ready.tell(Path(model.folder))
        self._show_earlier()

    def _show_report(self, *_: object) -> None:
        report = self.presenter.view().report
        if report is not None:
            show_report(report)

    def _toggle_charts(self, on: bool) -> None:
        self._drawn = ()
        if on:
            self._draw()
        else:
            self._charts.remove()

    def _tick(self) -> None:
        self.presenter.tick()
        self._show()

    def _show(self) -> None:
        ui, view = self._ui, self.presenter.view()
        self._show_tables()
        ui.prepareButton.text = view.prepare_text
        ui.prepareButton.enabled = view.prepare_enabled
        ui.prepareButton.toolTip = view.prepare_tooltip
        ui.casesBox.enabled = ui.trainingBox.enabled = view.inputs_enabled
        if self.presenter.following and not self._was_following:
            # What cannot be changed now makes room for the progress.
            ui.casesBox.collapsed = ui.trainingBox.collapsed = True
        self._was_following = self.presenter.following
        ui.budgetText.text = view.budget_text
        if view.plan_html != self._plan_shown:
            self._plan_shown = view.plan_html
            ui.planText.html = view.plan_html
        ui.planBox.visible = bool(view.plan_html)
        ui.trainingTitle.visible = bool(view.training_title)
        ui.trainButton.text = view.train_text
        ui.trainButton.enabled = view.train_enabled
        ui.trainButton.toolTip = view.train_tooltip
        show_progress(ui, view.progress_shown, view.percent)
        ui.statusLabel.text = view.status
        ui.statusLabel.styleSheet = emphasis(view.failed)
        ui.trainingTitle.text = view.training_title
        ui.reportButton.enabled = view.report is not None
        ui.segmentButton.enabled = view.model is not None
        if view.failed:
            ui.logBox.collapsed = False
        self._draw()
        if self.presenter.active and not self._timer.active:
            self._timer.start()
        elif not self.presenter.active and self._timer.active:
            self._timer.stop()

    def _show_tables(self) -> None:
        ui = self._ui
        if self._filled == self.cases.version:
            return
        self._filled = self.cases.version
        ui.sourcesLabel.text = cases_of(self.cases.sources)
        ui.caseSummary.text = self.cases.summary()
        tables.fill_cases(ui.caseTable, self.cases.rows())
        tables.fill_structures(
            ui.structureTable, self.cases.structures(), len(self.cases.survey.rows)
        )
        ui.missingLabel.text = self.cases.missing_text()

    def _draw(self) -> None:
        """Draws the epochs that came since; only a new training brings the plot to the front."""
        training = self.presenter.training
        if training is None or not self._ui.chartsCheckBox.checked or not training.is_read:
            return
        progress = training.progress
        last = progress.epochs[-1] if progress.epochs else None
        drawn = (training.place.folder, progress.curves_title, last)
        if last is None or drawn == self._drawn:
            return
        is_new = not self._drawn or self._drawn[0] != drawn[0]
        self._drawn = drawn
        self._charts.draw(progress.curves_title, progress.epochs)
        if is_new:
            self._charts.show()

    def _log(self, line: str) -> None:
        self._ui.logText.appendPlainText(line)


def _documents() -> Path:
    import qt

    place = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
    return Path(str(place)) if place else Path.home()


def _folder_name(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_. " else "_" for sign in name).strip(". ")


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError:  # a quotation mark without its partner: it is still being typed
        return tuple(text.split())

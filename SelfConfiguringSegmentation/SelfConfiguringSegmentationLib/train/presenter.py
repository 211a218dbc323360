"""State and decisions of the page that trains; knows neither Qt nor the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled, SelfsegError

from ..child_run import EventTaker, LineTaker
from ..running import EXPECTED, Run, failure
from . import training_folder
from .budget import level_in_words, meaning
from .case_table import CaseTable
from .known_trainings import KnownTrainings
from .preparing import TrainingSettings, description_of
from .progress import FinishedModel
from .state_words import percent_of, plan_html, state_in_words
from .training import Training
from .training_folder import TrainingFolder


@dataclass(frozen=True)
class View:
    """What the panel shows beside the case table."""

    prepare_text: str
    prepare_enabled: bool
    prepare_tooltip: str
    inputs_enabled: bool
    budget_text: str
    plan_html: str
    train_text: str
    train_enabled: bool
    train_tooltip: str
    progress_shown: bool
    percent: int | None
    status: str
    training_title: str
    failed: bool = False
    report: Path | None = None
    model: FinishedModel | None = None


StartPrepare = Callable[[CaseTable, TrainingSettings, EventTaker, LineTaker], Run]
OpenTraining = Callable[[Path, EventTaker, LineTaker], Training]


class TrainPresenter:
    """Decides what the page shows and what its buttons do.

    Args:
        cases: the case table.
        prepare: starts collecting and planning.
        open_training: opens a training folder.
        known: the trainings this user has started.
        on_change: is called after each change of the view.
        on_log: takes lines for the log.
        on_model: takes the model of a finished training, once.
    """

    def __init__(
        self,
        cases: CaseTable,
        *,
        prepare: StartPrepare,
        open_training: OpenTraining,
        known: KnownTrainings,
        on_change: Callable[[], None] = lambda: None,
        on_log: LineTaker = lambda line: None,
        on_model: Callable[[FinishedModel], None] = lambda model: None,
    ) -> None:
        self.cases = cases
        self._prepare = prepare
        self._open = open_training
        self._known = known
        self._on_change = on_change
        self._on_log = on_log
        self._on_model = on_model
        self._settings = TrainingSettings(Path(), "")
        self._run: Run | None = None
        self._cancelling = False
        self._prepared: tuple[Any, ...] = ()
        self._explained: dict[str, Any] | None = None
        self._percent: int | None = None
        self._status = ""
        self._failed = False
        self.training: Training | None = None
        self._following = False

    @property
    def active(self) -> bool:
        """Whether `tick` has something to do."""
        return self._run is not None or self._following or self.cases.looking

    @property
    def following(self) -> bool:
        """Whether a training runs, or is read to see whether it does."""
        return self._following

    @property
    def preparing(self) -> bool:
        """Whether cases are being collected or a plan is made."""
        return self._run is not None

    @property
    def settings(self) -> TrainingSettings:
        """What the user chose about the training."""
        return self._settings

    def choose(self, settings: TrainingSettings) -> None:
        """Takes what the user chose."""
        if settings != self._settings:
            self._settings = settings
            self._on_change()

    def view(self) -> View:
        """What to show now."""
        training = self.training
        running = self._following
        reading = training is not None and running and not training.is_read
        obstacle = self._obstacle()
        percent = self._percent if self._run is not None else self._percent_trained()
        return View(
            prepare_text=_("Cancel") if self._run is not None else _("Prepare"),
            prepare_enabled=not self._cancelling if self._run is not None else not obstacle,
            prepare_tooltip=_("Stops preparing; what is done is kept.")
            if self._run is not None
            else obstacle
            or _("Makes a data set of the cases, measures it and plans the training."),
            inputs_enabled=self._run is None and not running,
            budget_text=f"<b>{escape(level_in_words(self._settings.seconds))}</b>: "
            + escape(meaning(self._settings.seconds)),
            plan_html=plan_html(self._explained, self._settings.seconds),
            train_text=self._train_text(),
            train_enabled=self._can_press_train() and not reading,
            train_tooltip=self._train_tooltip(),
            progress_shown=self._run is not None or running,
            percent=percent,
            status=self._status_text(),
            training_title=_("Training of {name}").format(name=training.description.name)
            if training is not None
            else "",
            failed=self._failed or bool(training is not None and training.failure),
            report=training.place.report
            if training is not None and training.place.report.is_file()
            else None,
            model=training.model if training is not None else None,
        )

    def press_prepare(self) -> None:
        """Starts preparing, or asks it to stop."""
        if self._run is not None:
            self._cancelling = True
            self._status = _("Stopping ...")
            self._run.cancel()
        elif not self._obstacle():
            self.training = None
            self._status, self._percent, self._failed = _("Preparing ..."), None, False
            self._explained = None
            try:
                self._run = self._prepare(
                    self.cases, self._settings, self._take_event, self._on_log
                )
                self._prepared = self._inputs()
            except EXPECTED as error:
                self._fail(error)
        self._on_change()

    def press_train(self) -> None:
        """Starts, pauses or goes on."""
        if not self._can_press_train():
            return
        try:
            if self.training is not None and self._following:
                self.training.pause()
            elif self.training is not None:
                self._go_on(self.training)
            else:
                self._begin()
        except EXPECTED as error:
            self._fail(error)
        self._on_change()

    def attach(self, folder: Path) -> None:
        """Follows a training that was started before, by this Slicer or an earlier one."""
        try:
            self.training = self._open(folder, lambda event: None, self._on_log)
        except SelfsegError as error:
            self._fail(error)
            return
        self._explained, self._prepared = None, ()
        self._following, self._failed, self._status = True, False, ""
        self._on_change()

    def find_again(self) -> None:
        """Attaches to the latest training whose end the user has not been told."""
        for known in self._known.read():
            if not known.told:
                self.attach(known.folder)
                return

    def forget(self, folder: Path) -> None:
        """Takes a training off the list; pauses it where it runs. Its files stay."""
        try:
            training = self._open(folder, lambda event: None, lambda line: None)
            training.read_all()
            if training.is_running:
                training.pause()
        except SelfsegError:
            pass  # there is nothing that could run
        self._known.forget(folder)
        if self.training is not None and self.training.place.folder == folder:
            self.training, self._following, self._status = None, False, ""
        self._on_change()

    def earlier(self) -> list[tuple[Path, str]]:
        """Trainings that can be attached to: folder and name."""
        found = []
        for known in self._known.read():
            description = training_folder.read_description(TrainingFolder(known.folder))
            if description is not None:
                found.append((known.folder, description.name))
        return found

    def tick(self) -> None:
        """Called by a timer while active."""
        if self.cases.looking:
            self.cases.tick()
        if self._run is not None and self._run.poll():
            self._end_preparing(self._run)
        if self._following and self.training is not None:
            self._follow(self.training)

    def close(self) -> None:
        """Ends what belongs to this Slicer; a training goes on."""
        self.cases.close()
        if self._run is not None:
            self._run.end_now()
            self._run = None
            self._cancelling = False
            self._status = _("Stopped.")
        self._on_change()

    def _begin(self) -> None:
        assert self._explained is not None  # noqa: S101 - the button is enabled with a plan
        names = [str(entry["name"]) for entry in self._explained["configurations"]]
        place = TrainingFolder(self._settings.folder)
        training_folder.write_description(place, description_of(self._settings, names))
        self._known.remember(self._settings.folder)
        self._go_on(self._open(self._settings.folder, lambda event: None, self._on_log))

    def _go_on(self, training: Training) -> None:
        training.start()
        self.training, self._following, self._failed, self._status = training, True, False, ""
        self._known.remember(training.place.folder)

    def _follow(self, training: Training) -> None:
        ended = training.poll()
        if ended:
            self._following = False
            model = training.model
            if model is not None:
                self._known.remember(training.place.folder, told=True)
                self._on_model(model)
            elif training.failure:
                self._on_log(training.failure)
        self._on_change()

    def _end_preparing(self, run: Run) -> None:
        self._run = None
        try:
            self._explained = run.finish()
        except EXPECTED as error:
            self._fail(error)
        else:
            self._status = _("Prepared. Read the plan, then start the training.")
        finally:
            self._cancelling = False
        self._on_change()

    def _fail(self, error: BaseException) -> None:
        self._run = None
        self._failed = not isinstance(error, Cancelled)
        self._status = failure(error) if self._failed else _("Stopped.")
        if self._failed:
            self._on_log(str(error))

    def _inputs(self) -> tuple[Any, ...]:
        return (self.cases.sources, self.cases.choices, self._settings)

    @property
    def _plan_is_current(self) -> bool:
        return self._explained is not None and self._prepared == self._inputs()

    def _obstacle(self) -> str:
        if self._following:
            return _("A training is running; pause it first.")
        if obstacle := self.cases.obstacle():
            return obstacle
        if not self._settings.name.strip():
            return _("Give the model a name.")
        if not str(self._settings.folder).strip() or self._settings.folder == Path():
            return _("Choose a folder for the training.")
        if TrainingFolder(self._settings.folder).description_file.is_file():
            return _(
                "This folder holds a training already: open it under Earlier trainings, or give "
                "another name."
            )
        return ""

    def _can_press_train(self) -> bool:
        if self._run is not None:
            return False
        if self.training is not None:
            return not self.training.is_stopping and not self.training.is_finished
        return self._plan_is_current

    def _train_text(self) -> str:
        if self._following:
            return _("Pause")
        if self.training is None or self.training.is_finished:
            return _("Start training")
        return _("Resume")

    def _train_tooltip(self) -> str:
        if self._following:
            return _("Saves and stops; Resume goes on from there.")
        if self.training is not None:
            if self.training.is_finished:
                return _("This training is finished; Prepare begins another one.")
            return _("Goes on where the training stopped.")
        if self._run is not None:
            return _("Wait until the plan is made.")
        if self._explained is not None and not self._plan_is_current:
            return _("Something was changed since: press Prepare again.")
        if self._explained is None:
            return _("Press Prepare first.")
        return _("The training goes on when Slicer is closed.")

    def _percent_trained(self) -> int | None:
        return percent_of(self.training) if self.training is not None and self._following else None

    def _status_text(self) -> str:
        if self.training is None or self._run is not None or self._failed:
            return self._status
        return state_in_words(self.training, following=self._following)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        if self._cancelling:
            return
        kind = event.get("event")
        if kind == "progress" and event.get("total"):
            self._percent = round(100 * min(1.0, event["done"] / event["total"]))
            self._status = f"{event['stage']}: {self._percent}%"
        elif kind == "stage_started":
            self._percent = None
            self._status = f"{event['stage']} ..."
            self._on_log(self._status)
        elif kind == "notice":
            self._on_log(str(event["text"]))
        self._on_change()


def cases_of(sources: Sequence[Any]) -> str:
    """The sources in a line."""
    return ", ".join(source.title for source in sources)

"""From cases to a plan: a data set is made of them, measured, and every setting decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError

from ..child_run import ChildRun, EventTaker, LineTaker
from ..jobs import ProcessStarter
from .budget import FOLDS, strategy_for
from .collecting import CollectRun, Found, Source
from .survey import Choices
from .training_folder import Description, TrainingFolder


@dataclass(frozen=True)
class TrainingSettings:
    """What the user decides about the training.

    Args:
        folder: of the training.
        name: of the model.
        seconds: the budget; None without limit.
        device: "auto", "cpu", "cuda", "mps".
        options: further words for `selfseg run`.
        library: folder of the models; the user's own otherwise.
    """

    folder: Path
    name: str
    seconds: float | None = None
    device: str = "auto"
    options: tuple[str, ...] = ()
    library: Path | None = None


def description_of(settings: TrainingSettings, configurations: Sequence[str]) -> Description:
    """The command that trains.

    Args:
        settings: what the user decided.
        configurations: that the plan recommends.
    """
    place = TrainingFolder(settings.folder)
    words = ["run", str(place.dataset), "-p", str(place.project), "--device", settings.device]
    words += [*strategy_for(settings.seconds).words(tuple(configurations)), "--install"]
    words += ["--model-name", settings.name, "--progress", "json"]
    if settings.library is not None:
        words += ["--library", str(settings.library)]
    return Description(settings.name, (*words, *settings.options), settings.seconds)


class PlanRun(ChildRun):
    """`selfseg plan --explain` on a training folder's data set."""

    def __init__(
        self,
        settings: TrainingSettings,
        *,
        start: ProcessStarter,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        self._explained: dict[str, Any] | None = None
        self._on_event = on_event
        place = TrainingFolder(settings.folder)
        words = ["plan", str(place.dataset), "-p", str(place.project), "--explain"]
        words += ["--device", settings.device]
        if settings.seconds is not None:
            # The share that one of the networks will have, as far as it is known now.
            networks = FOLDS if strategy_for(settings.seconds).folds == "cv" else 1
            words += ["--time-budget", f"{settings.seconds / networks:.0f}"]
        super().__init__(words, start=start, on_event=self._take, on_log=on_log)

    def finish(self) -> dict[str, Any]:
        """The `plan_explained` event.

        Raises:
            Cancelled: the run was cancelled.
            JobFailed: the child failed.
        """
        super().finish()
        if self._explained is None:
            raise SelfsegError(
                "the plan was not explained",
                expected="an event plan_explained",
                found="none",
                cure="read the log",
            )
        return self._explained

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "plan_explained":
            self._explained = event
        else:
            self._on_event(event)


class PrepareRun:
    """Collects, then plans.

    Args:
        sources: of the cases.
        found: what was found in them.
        choices: about the cases.
        settings: about the training.
        start: starts the child processes.
        on_event: takes their events.
        on_log: takes their other lines.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        found: Found,
        choices: Choices,
        settings: TrainingSettings,
        *,
        start: ProcessStarter,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        self._settings = settings
        self._talk = {"start": start, "on_event": on_event, "on_log": on_log}
        place = TrainingFolder(settings.folder)
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SelfsegError(
                _("the folder of the training cannot be made"),
                expected=_("a place with the right to write"),
                found=error.strerror or str(error),
                cure=_("choose another folder"),
                path=settings.folder,
            ) from error
        self._collect: CollectRun | None = CollectRun(
            sources,
            found,
            choices,
            place.dataset,
            scratch=settings.folder / "from-scene",
            **self._talk,
        )
        self._plan: PlanRun | None = None
        self._error: BaseException | None = None

    def poll(self) -> bool:
        """Works for a moment; True once `finish` may be called."""
        if self._plan is not None:
            return self._plan.poll()
        if self._collect is None or not self._collect.poll():
            return self._collect is None
        collect, self._collect = self._collect, None
        try:
            collect.finish()
            self._plan = PlanRun(self._settings, **self._talk)
        except Exception as error:
            self._error = error
            return True
        return False

    def cancel(self) -> None:
        """Asks for a stop; go on polling."""
        for part in (self._collect, self._plan):
            if part is not None:
                part.cancel()

    def end_now(self) -> None:
        """Ends the child by force."""
        for part in (self._collect, self._plan):
            if part is not None:
                part.end_now()

    def finish(self) -> dict[str, Any]:
        """The plan in words, see `PlanRun.finish`."""
        if self._error is not None:
            raise self._error
        assert self._plan is not None  # noqa: S101 - `poll` said that it has ended
        return self._plan.finish()

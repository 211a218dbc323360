"""State and decisions of the panel that segments; knows neither Qt nor the scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from selfseg.domain.errors import Cancelled, SelfsegError

from ..models import Model, read_model
from .run import SegmentationSettings

RECENT_LINES = 100
"""Log lines remembered, so that an error which the child printed is not shown twice."""

EventTaker = Callable[[dict[str, Any]], None]
LineTaker = Callable[[str], None]


class Run(Protocol):
    """Work in the background, as `SegmentationRun` does it."""

    def poll(self) -> bool:
        """Hands on what arrived; True at the end."""

    def cancel(self) -> None:
        """Asks for a stop."""

    def end_now(self) -> None:
        """Stops by force."""

    def finish(self) -> Any:
        """The result, or the error."""


@dataclass(frozen=True)
class Choices:
    """What the user chose: opaque nodes, a model folder as text, settings."""

    volume: Any = None
    model: str = ""
    output: Any = None
    settings: SegmentationSettings = field(default_factory=SegmentationSettings)


@dataclass(frozen=True)
class View:
    """What the panel shows; `percent` is None where the share of work done is unknown."""

    apply_text: str
    apply_enabled: bool
    apply_tooltip: str
    choices_enabled: bool
    running: bool
    percent: int | None
    status: str
    failed: bool = False
    """The log is worth opening."""


StartRun = Callable[[Choices, EventTaker, LineTaker], Run]


class SegmentPresenter:
    """Decides what the panel shows and what its button does.

    Args:
        start: starts a segmentation.
        on_change: is called after each change of the view.
        on_log: takes lines for the log.
        on_done: takes the result of a run that went well.
    """

    def __init__(
        self,
        start: StartRun,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_log: LineTaker = lambda line: None,
        on_done: Callable[[Any], None] = lambda result: None,
    ) -> None:
        self._start = start
        self._on_change = on_change
        self._show_line = on_log
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)
        self._on_done = on_done
        self._choices = Choices()
        self._model: Model | None = None
        self._model_problem = "Choose a model folder."
        self._run: Run | None = None
        self._stopping = False
        self._failed = False
        self._percent: int | None = None
        self._status = ""

    @property
    def running(self) -> bool:
        """True from Apply until the result is there, or the error."""
        return self._run is not None

    @property
    def model(self) -> Model | None:
        """The chosen model, where it can be read."""
        return self._model

    def view(self) -> View:
        """What to show now."""
        if self.running:
            return View(
                apply_text="Cancel",
                apply_enabled=not self._stopping,
                apply_tooltip="Stops the segmentation; the scene stays as it is.",
                choices_enabled=False,
                running=True,
                percent=self._percent,
                status=self._status,
            )
        problem = self._problem()
        return View(
            apply_text="Apply",
            apply_enabled=not problem,
            apply_tooltip=problem or self._promise(),
            choices_enabled=True,
            running=False,
            percent=None,
            status=self._status,
            failed=self._failed,
        )

    def choose(self, choices: Choices) -> None:
        """Takes what the user chose; a run that goes on keeps what it was started with."""
        if choices.model != self._choices.model:
            self._read_model(choices.model)
        self._choices = choices
        self._on_change()

    def press_apply(self) -> None:
        """Starts, or asks the running segmentation to stop."""
        if self._run is not None:
            self._stopping = True
            self._status = "Stopping ..."
            self._run.cancel()
        elif not self._problem():
            self._status, self._percent = "Preparing ...", None
            self._stopping = self._failed = False
            try:
                self._run = self._start(self._choices, self._take_event, self._on_log)
            except (SelfsegError, RuntimeError, OSError) as error:
                self._fail(error)
            except BaseException as error:
                self._fail(error)
                self._on_change()
                raise
        self._on_change()

    def tick(self) -> None:
        """Called by a timer while running."""
        if self._run is None or not self._run.poll():
            return
        run, self._run = self._run, None
        try:
            result = run.finish()
        except (SelfsegError, RuntimeError, OSError) as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            self._on_change()
            raise
        else:
            self._status = "Done."
            self._on_done(result)
        self._on_change()

    def close(self) -> None:
        """Ends a running segmentation, for when the module or the application closes."""
        if self._run is not None:
            self._run.end_now()
            self._run = None
            self._status = "Stopped."
            self._on_change()

    def _problem(self) -> str:
        if self._choices.volume is None:
            return "Choose a volume to segment."
        if self._model is None:
            return self._model_problem
        return ""

    def _promise(self) -> str:
        if self._model is None:
            return ""
        return f"Finds {', '.join(label.name for label in self._model.labels.foreground)}."

    def _read_model(self, folder: str) -> None:
        self._model, self._model_problem = None, "Choose a model folder."
        if folder:
            try:
                self._model = read_model(Path(folder))
            except SelfsegError as error:
                self._model_problem = str(error)

    def _fail(self, error: BaseException) -> None:
        self._run = None
        self._failed = not isinstance(error, Cancelled)
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        self._status = f"Failed: {first_line}" if self._failed else "Stopped."
        if str(error) not in "\n".join(self._recent):
            self._on_log(str(error))

    def _on_log(self, line: str) -> None:
        self._recent.append(line)
        self._show_line(line)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        if self._stopping:
            return
        kind = event.get("event")
        if kind == "progress" and event["total"]:
            self._percent = round(100 * min(1.0, event["done"] / event["total"]))
            left = event.get("eta_seconds")
            self._status = f"{event['stage']}: {self._percent}%" + (
                f", {_duration(left)} left" if left else ""
            )
        elif kind == "stage_started":
            self._percent = None
            self._status = f"{event['stage']} ..."
            self._on_log(self._status)
        elif kind == "stage_finished":
            self._on_log(f"{event['stage']}: {_duration(event.get('seconds', 0.0))}")
        elif kind == "notice":
            self._on_log(f"{event.get('level', 'info')}: {event['text']}")
        self._on_change()


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"

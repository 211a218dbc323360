"""A run in the background as a page shows it: how far it is, what it says, how it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled, SelfsegError

Chosen = TypeVar("Chosen")

RECENT_LINES = 100
"""Log lines remembered, so that an error which the child printed is not shown twice."""

EXPECTED = (SelfsegError, RuntimeError, OSError)
"""What a run may fail of; anything else is a fault of the program, and is raised on."""


class Run(Protocol):
    """Work that is polled."""

    def poll(self) -> bool:
        """Hands on what arrived; True at the end."""

    def cancel(self) -> None:
        """Asks for a stop."""

    def end_now(self) -> None:
        """Stops by force."""

    def finish(self) -> Any:
        """The result, or the error."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What a page with one run shows; `percent` is None where the share of work is unknown."""

    apply_text: str
    apply_enabled: bool
    apply_tooltip: str
    choices_enabled: bool
    running: bool
    percent: int | None
    status: str
    failed: bool
    """The log is worth opening."""


class Running:
    """At most one run at a time.

    Args:
        on_change: is called after each change.
        on_log: takes lines for the log.
        on_done: takes the result of a run that went well.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        on_log: Callable[[str], None],
        on_done: Callable[[Any], None],
    ) -> None:
        self._on_change, self._show_line = on_change, on_log
        self._on_done = self._finished = on_done
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)
        self.run: Any = None
        """The `Run` that is under way."""
        self.stopping = False
        self.failed = False
        self.percent: int | None = None
        """None where the share of the work that is done is unknown."""
        self.status = ""

    @property
    def active(self) -> bool:
        """True from the start until the result is there, or the error."""
        return self.run is not None

    def shown(self, *, start: str, problem: str, hint: str = "", stop: str) -> dict[str, Any]:
        """The words of a `RunView`.

        Args:
            start: text of the button.
            problem: why nothing can be started, "" where it can.
            hint: tooltip of the button where it can.
            stop: its tooltip while something runs.
        """
        return {
            "apply_text": _("Cancel") if self.active else start,
            "apply_enabled": not self.stopping if self.active else not problem,
            "apply_tooltip": stop if self.active else problem or hint,
            "choices_enabled": not self.active,
            "running": self.active,
            "percent": self.percent if self.active else None,
            "status": self.status,
            "failed": self.failed,
        }

    def start(
        self,
        make: Callable[[], Run],
        *,
        on_done: Callable[[Any], None] | None = None,
        text: str = "",
    ) -> None:
        """Starts a run; what goes wrong in `make` is shown as its failure.

        Args:
            make: gives the run.
            on_done: takes its result, instead of what was given when this was made.
            text: the first status.
        """
        self.status, self.percent = text or _("Preparing ..."), None
        self.stopping = self.failed = False
        self._finished = on_done or self._on_done
        try:
            self.run = make()
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, EXPECTED):
                raise
        else:
            self._on_change()

    def cancel(self) -> None:
        """Asks the run to stop."""
        if self.run is not None and not self.stopping:
            self.stopping, self.status = True, _("Stopping ...")
            self.run.cancel()
            self._on_change()

    def tick(self) -> None:
        """Called by a timer while something runs."""
        run = self.run
        if run is None:
            return
        try:
            if not run.poll() or self.run is None:
                # Nothing new, or the scene was closed by what the run told us.
                return
            self.run = None
            result = run.finish()
        except BaseException as error:
            if self.run is not None:
                run.end_now()
            self.fail(error)
            if not isinstance(error, EXPECTED):
                raise
        else:
            self.status = _("Done.")
            self._ended(run, result)
            self._on_change()

    def close(self) -> None:
        """Ends what runs, at once."""
        run, self.run = self.run, None
        if run is not None:
            run.end_now()
            self.status = _("Stopped.")
            self._on_change()

    def log(self, line: str) -> None:
        """Shows a line."""
        self._recent.append(line)
        self._show_line(line)

    def say(self, text: str) -> None:
        """Shows a status."""
        self.status, self.failed = text, False
        self._on_change()

    def fail(self, error: BaseException) -> None:
        """Shows an error, of the run or of something else."""
        self.run = None
        self.failed = not isinstance(error, Cancelled)
        self.status = failure(error) if self.failed else _("Stopped.")
        if self._is_news(error) and str(error) not in "\n".join(self._recent):
            self.log(str(error))
        self._on_change()

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of the child's: progress and notices."""
        if self.stopping:
            return
        if event.get("event") == "progress" and event["total"]:
            self.percent = round(100 * min(1.0, event["done"] / event["total"]))
            self.status = self._progress(event, self.percent)
        else:
            self._take_other(event)
        self._on_change()

    def _progress(self, event: Mapping[str, Any], percent: int) -> str:
        left = event.get("eta_seconds")
        return (
            _("{percent} % done, {left} left").format(percent=percent, left=duration(left))
            if left
            else _("{percent} % done").format(percent=percent)
        )

    def _take_other(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "notice":
            self.log(str(event["text"]))

    def _is_news(self, error: BaseException) -> bool:
        """Whether it goes into the log."""
        return self.failed

    def _ended(self, run: Run, result: Any) -> None:
        self._finished(result)


class RunPresenter(ABC, Generic[Chosen]):
    """State and decisions of a page whose one button starts a run and stops it.

    Args:
        choices: nothing chosen yet.
        running: the page's one run.
        on_change: is called after each change of the view.
    """

    def __init__(self, choices: Chosen, running: Running, on_change: Callable[[], None]) -> None:
        self._choices, self._running, self._on_change = choices, running, on_change

    def choose(self, choices: Chosen) -> None:
        """Takes what the user chose; a run that goes on keeps what it was started with."""
        self._choices = choices
        self._on_change()

    def press_apply(self) -> None:
        """Starts, or asks what runs to stop."""
        if self._running.active:
            self._running.cancel()
        elif not self._problem():
            self._begin()

    def tick(self) -> None:
        """Called by a timer while something runs."""
        self._running.tick()

    def close(self) -> None:
        """Ends what runs, at once."""
        self._running.close()

    @abstractmethod
    def _problem(self) -> str:
        """Why nothing can be started; "" where it can."""

    @abstractmethod
    def _begin(self) -> None:
        """Starts the page's run."""


def failure(error: BaseException) -> str:
    """An error in one line."""
    what = error.what if isinstance(error, SelfsegError) else str(error)
    return _("Failed: {reason}").format(
        reason=what.splitlines()[0] if what else type(error).__name__
    )


def duration(seconds: float) -> str:
    """For people."""
    whole = round(seconds)
    if whole < 60:
        return _("{seconds} s").format(seconds=whole)
    if whole < 3600:
        return _("{minutes} min {seconds:02d} s").format(minutes=whole // 60, seconds=whole % 60)
    return _("{hours} h {minutes:02d} min").format(hours=whole // 3600, minutes=whole // 60 % 60)

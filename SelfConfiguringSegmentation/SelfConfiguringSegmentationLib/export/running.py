"""A run in the background as a panel shows it: how far it is, what it says, how it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled, SelfsegError

RECENT_LINES = 100
"""Log lines remembered, so that an error which the child printed is not shown twice."""


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
        self._on_change, self._show_line, self._on_done = on_change, on_log, on_done
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)
        self._run: Run | None = None
        self.stopping = False
        self.failed = False
        self.percent: int | None = None
        """None where the share of the work that is done is unknown."""
        self.status = ""

    @property
    def active(self) -> bool:
        """True from the start until the result is there, or the error."""
        return self._run is not None

    def start(self, make: Callable[[], Run]) -> None:
        """Starts a run; what goes wrong in `make` is shown as its failure."""
        self.status, self.percent = _("Preparing ..."), None
        self.stopping = self.failed = False
        try:
            self._run = make()
        except (SelfsegError, RuntimeError, OSError) as error:
            self._fail(error)
        self._on_change()

    def cancel(self) -> None:
        """Asks the run to stop."""
        if self._run is not None and not self.stopping:
            self.stopping, self.status = True, _("Stopping ...")
            self._run.cancel()
            self._on_change()

    def tick(self) -> None:
        """Called by a timer while something runs."""
        if self._run is None:
            return
        try:
            if not self._run.poll():
                return
            run, self._run = self._run, None
            result = run.finish()
        except (SelfsegError, RuntimeError, OSError) as error:
            if self._run is not None:
                self._run.end_now()
            self._fail(error)
        else:
            self.status = _("Done.")
            self._on_done(result)
        self._on_change()

    def close(self) -> None:
        """Ends what runs, at once."""
        if self._run is not None:
            self._run.end_now()
            self._run = None
            self.status = _("Stopped.")
            self._on_change()

    def log(self, line: str) -> None:
        """Shows a line."""
        self._recent.append(line)
        self._show_line(line)

    def take(self, event: Mapping[str, Any]) -> None:
        """An event of the child's: progress and notices."""
        if self.stopping:
            return
        kind = event.get("event")
        if kind == "progress" and event["total"]:
            self.percent = round(100 * min(1.0, event["done"] / event["total"]))
            left = event.get("eta_seconds")
            self.status = (
                _("{percent} % done, {left} left").format(percent=self.percent, left=duration(left))
                if left
                else _("{percent} % done").format(percent=self.percent)
            )
        elif kind == "notice":
            self.log(str(event["text"]))
        self._on_change()

    def _fail(self, error: BaseException) -> None:
        self._run = None
        self.failed = not isinstance(error, Cancelled)
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        self.status = (
            _("Failed: {reason}").format(reason=first_line) if self.failed else _("Stopped.")
        )
        if self.failed and str(error) not in "\n".join(self._recent):
            self.log(str(error))


def duration(seconds: float) -> str:
    """For people."""
    whole = round(seconds)
    if whole < 60:
        return _("{seconds} s").format(seconds=whole)
    if whole < 3600:
        return _("{minutes} min {seconds:02d} s").format(minutes=whole // 60, seconds=whole % 60)
    return _("{hours} h {minutes:02d} min").format(hours=whole // 3600, minutes=whole // 60 % 60)

"""Work that is one command of selfseg in a child process: watched, stopped, and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled, ImageError

from .jobs import Job, ProcessStarter

COPY_SECONDS = 0.03
"""Of each poll spent on copying voxels; the rest of the time belongs to the user."""

POLL_SECONDS = 0.02

EventTaker = Callable[[dict[str, Any]], None]
LineTaker = Callable[[str], None]


class ChildRun:
    """One command, perhaps after voxels of the scene were copied to where it finds them.

    Args:
        arguments: of `selfseg`, the verb first; none where nothing is left for a child.
        start: starts the child process.
        on_event: takes its events.
        on_log: takes its other lines.
        copying: copies voxels in small steps; the child starts after the last one.
        on_copied: takes the share that is copied.
        clock: seconds.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        start: ProcessStarter,
        on_event: EventTaker = lambda event: None,
        on_log: LineTaker = lambda line: None,
        copying: Iterator[float] | None = None,
        on_copied: Callable[[float], None] = lambda share: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = lambda: Job(arguments, start=start, on_event=on_event, on_log=on_log)
        self._copying, self._on_copied, self._clock = copying, on_copied, clock
        self._cancelled = False
        self._job = self._begin() if arguments and copying is None else None

    def poll(self) -> bool:
        """Copies for a moment, or hands on what the child says; True once it has ended."""
        if self._cancelled and self._job is None:
            return True
        if self._copying is not None:
            self._copy_for_a_moment(self._copying)
            return False
        return self._job is None or self._job.poll()

    def wait(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Polls until the end; on an exception (Ctrl-C too) ends the child."""
        try:
            while not self.poll():
                while_waiting()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.end_now()
            raise

    def cancel(self) -> None:
        """Asks for a stop; what is done stays. Go on polling."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()

    def end_now(self) -> None:
        """Ends the child by force."""
        self._cancelled = True
        if self._job is not None:
            self._job.end_now()
        self._clean_up()

    def finish(self) -> Any:
        """What it has led to.

        Raises:
            Cancelled: it was stopped.
            JobFailed: it failed.
        """
        try:
            if self._job is not None:
                self._job.raise_on_failure()
            elif self._cancelled:
                raise Cancelled(_("stopped; nothing was written"))
            return None
        finally:
            self._clean_up()

    def _copy_for_a_moment(self, copying: Iterator[float]) -> None:
        end = self._clock() + COPY_SECONDS
        try:
            for share in copying:
                self._on_copied(share)
                if self._clock() >= end:
                    return
        except OSError as error:
            raise ImageError(
                _("the voxels cannot be handed over"),
                expected=_("room for a copy of them, and the right to write"),
                found=error.strerror or str(error),
                cure=_("free some space, or set the environment variable TMPDIR to another disk"),
                path=error.filename,
            ) from error
        self._copying = None
        self._job = self._begin()

    def _clean_up(self) -> None:
        """Removes what was there for the child alone."""

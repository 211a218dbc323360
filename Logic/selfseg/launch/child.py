"""One selfseg process of a job: started, asked to stop, ended by force."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ..domain.errors import Cancelled

SELFSEG = (sys.executable, "-m", "selfseg")

STOP_SECONDS = 60.0
"""A training that was asked to stop may take so long to finish its step and to save."""

KILLED = -9
"""The exit status of what was ended by force."""

_POLL_SECONDS = 0.05
_KILL_SECONDS = 5.0


class Child:
    """A process that prints its events into a log and stops when its standard input closes.

    It ends by itself when we die, because that closes its standard input too.

    Args:
        arguments: of selfseg, the verb first.
        log: file that everything it prints is appended to.
        environment: variables that differ from ours.
        program: what is started with the arguments.
        ignore_warnings: leaves the signals USR1 and USR2, with which a cluster announces the
            end of a job's time to all its processes, to us. It would die of them.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = SELFSEG,
        ignore_warnings: bool = False,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [*program, *arguments, "--progress", "json", "--stop-on-stdin-close"]
        # A process group of its own: Ctrl-C in a terminal reaches us alone, and we decide.
        grouping: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            grouping = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        if ignore_warnings:
            grouping["preexec_fn"] = _ignore_warning_signals
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUTF8": "1", **(environment or {})},
                **grouping,
            )

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, None while it runs; negative: the signal that killed it."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """Closes its standard input: it saves and ends."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def wait(self) -> int:
        """Waits for the end and says the exit status."""
        # Not Popen.wait: a signal's reaction that calls `end` meanwhile would wait for itself.
        while (status := self.poll()) is None:
            time.sleep(_POLL_SECONDS)
        return status

    def end(self, grace_seconds: float = STOP_SECONDS) -> int:
        """Asks it to stop, and ends it with all it has started when the time is over.

        Returns:
            The exit status.
        """
        self.ask_to_stop()
        status = self._wait_until(time.monotonic() + grace_seconds)
        if status is not None:
            return status
        with suppress(psutil.NoSuchProcess):
            tree = psutil.Process(self._process.pid)
            for process in (*tree.children(recursive=True), tree):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        status = self._wait_until(time.monotonic() + _KILL_SECONDS)
        return KILLED if status is None else status

    def _wait_until(self, end: float) -> int | None:
        while (status := self.poll()) is None and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        return status


def was_stopped(status: int) -> bool:
    """Whether that exit status says that the process ended because it was asked to."""
    return status == Cancelled.exit_code


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    if sys.platform != "win32" and -status == signal.SIGKILL:
        return "killed by signal 9: most often the machine had no memory left"
    return f"killed by signal {-status}"


def _ignore_warning_signals() -> None:
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

"""Long work in a child process: `python -m selfseg ... --progress json`.

The process of the application never imports torch, cannot be blocked and cannot be taken down by
the work. Reader threads put lines into a queue; `poll`, called by a timer in the main thread,
hands them on. Cancelling asks first (standard input is closed) and ends the process tree of
a child that does not listen.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any

from selfseg.domain.errors import Cancelled, SelfsegError
from selfseg.domain.events import as_event

from .paths import logic_folder

ProcessStarter = Callable[[Sequence[str]], "subprocess.Popen[str]"]
"""Starts `selfseg` with these arguments; passed in, so that tests need no PythonSlicer."""

KEPT_ERROR_LINES = 40
"""Lines of standard error kept for the message of a failure."""


class JobFailed(SelfsegError):
    """The child process ended with an error."""


def own_group() -> dict[str, Any]:
    """How `Popen` starts a process in a group of its own, without a console window."""
    return (
        {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        if os.name == "nt"
        else {"start_new_session": True}
    )


def open_process(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Starts a child in a process group of its own, with pipes and without a console window.

    Raises:
        JobFailed: the program is not there, or may not be started.
    """
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "PYTHONUTF8": "1"},
            encoding="utf-8",
            errors="replace",
            **own_group(),
        )
    except OSError as error:
        raise JobFailed(
            "selfseg cannot be started",
            expected="a Python that can be started outside the application",
            found=error.strerror or str(error),
            cure="install Slicer again, or correct what starts the process",
            path=command[0],
        ) from error


def start_selfseg(
    arguments: Sequence[str], *, python: str, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Starts `python -m selfseg ARGUMENTS` with events as JSON lines, stopping with its parent."""
    return open_process(
        [python, "-u", "-m", "selfseg", *arguments, "--progress", "json", "--stop-on-stdin-close"],
        {**environment, "PYTHONPATH": str(logic_folder())},
    )


def slicer_python() -> tuple[str, Mapping[str, str]]:
    """Slicer's own Python, outside the application, and the environment of its processes.

    Raises:
        SelfsegError: this is not a Slicer installation.
    """
    import slicer

    python = shutil.which("PythonSlicer")
    if python is None:
        raise SelfsegError(
            "Slicer's Python was not found",
            expected="the program PythonSlicer on the PATH, as in every Slicer installation",
            found="no such program",
            cure="do this inside Slicer, or pass startProcess, launchProcess and workerCommand "
            "to the logic",
        )
    return python, slicer.util.startupEnvironment()


def slicer_starter() -> ProcessStarter:
    """Starts selfseg in Slicer's own Python.

    Raises:
        SelfsegError: this is not a Slicer installation.
    """
    python, environment = slicer_python()
    return lambda arguments: start_selfseg(arguments, python=python, environment=environment)


class Job:
    """One child process, its events and its end.

    Args:
        arguments: of `selfseg`, the verb first.
        start: starts the process.
        on_event: takes each event, a dict with the key "event".
        on_log: takes each other line of standard output, and each of standard error.
        grace_seconds: how long a cancelled child may take to stop by itself.
        clock: seconds.

    `on_event` and `on_log` are called within `poll` or `wait`, in the caller's thread.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        start: ProcessStarter,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
        grace_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verb = arguments[0]
        self._on_event = on_event
        self._on_log = on_log
        self._grace = grace_seconds
        self._clock = clock
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        self._end_by: float | None = None
        self._cancelled = False
        self._process = start(arguments)
        self._readers = [
            threading.Thread(target=self._read, args=(stream, name), daemon=True)
            for stream, name in ((self._process.stdout, "out"), (self._process.stderr, "err"))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def process_id(self) -> int:
        """Of the child."""
        return self._process.pid

    def poll(self) -> bool:
        """Hands on what arrived since the last call.

        Returns:
            True once the child has ended and every line was handed on.
        """
        ended = self._process.poll() is not None
        if self._end_by is not None and self._clock() >= self._end_by:
            # A grandchild that outlives the child keeps the pipes open: it must go too.
            self._end_tree()
            self._end_by = None
        reading = any(reader.is_alive() for reader in self._readers)
        if ended and reading and self._end_by is None:
            self._end_by = self._clock() + self._grace
        self._deliver()
        return ended and not reading

    def wait(
        self, *, while_waiting: Callable[[], None] = lambda: None, interval: float = 0.05
    ) -> None:
        """Polls until the child has ended."""
        while not self.poll():
            while_waiting()
            time.sleep(interval)

    def cancel(self) -> None:
        """Asks the child to stop; `poll` ends it by force once the time of grace is over."""
        if self._cancelled or self._process.poll() is not None:
            return
        self._cancelled = True
        self._end_by = self._clock() + self._grace
        with contextlib.suppress(OSError):
            self._stream(self._process.stdin).close()

    def end_now(self) -> None:
        """Ends the child and its children by force, for when the application closes."""
        self._cancelled = True
        self._end_tree()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace)

    def raise_on_failure(self) -> None:
        """Says how it went, once `poll` returned True.

        Raises:
            Cancelled: the user stopped it.
            JobFailed: it failed; the message is the child's own.
        """
        code = self._process.returncode
        if self._cancelled or code == Cancelled.exit_code:
            raise Cancelled("stopped; the scene is unchanged")
        if code == 0:
            return
        message = _last_message(self._errors)
        if code in (1, 2) and message:
            raise JobFailed(message)
        raise JobFailed(
            f"selfseg {self._verb} ended unexpectedly",
            expected="exit code 0",
            found=f"exit code {code}" + (f"\n{message}" if message else ""),
            cure="read the log; a child that was killed has most often run out of memory",
        )

    def _read(self, stream: IO[str], name: str) -> None:
        with stream:
            for line in stream:
                self._lines.put((name, line.rstrip("\r\n")))

    def _deliver(self) -> None:
        while True:
            try:
                name, line = self._lines.get_nowait()
            except queue.Empty:
                return
            event = as_event(line) if name == "out" else None
            if event is not None:
                self._on_event(event)
            else:
                if name == "err":
                    self._errors.append(line)
                self._on_log(line)

    def _end_tree(self) -> None:
        # PythonSlicer is a launcher: killing only it would leave the real Python running.
        if os.name == "nt":
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(self._process.pid)],
                capture_output=True,
                check=False,
            )
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise ValueError("the process was started without pipes")
        return stream


def _last_message(lines: Iterable[str]) -> str:
    """The last line that begins at the margin, with the indented lines that belong to it.

    That is how errors of selfseg look, and the end of a traceback; what libraries printed
    before it stays in the log.
    """
    message: list[str] = []
    for line in lines:
        if line and not line[0].isspace():
            message = [line]
        elif line.strip() and message:
            message.append(line)
    return "\n".join(message)

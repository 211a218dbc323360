"""A child process with pipes: started, listened to without waiting, ended with all its children.

Threads move bytes between the pipes and queues, so that the caller (a user interface) is never
blocked, not even by a child that neither reads nor writes.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from .lines import bounded_lines

KEPT_ERROR_LINES = 40
"""Lines of standard error kept for the message of a failure."""

_MAX_LOG_LINE = 20_000
_JOIN_SECONDS = 1.0


class ChildProcess:
    """A running child.

    Args:
        command: program and arguments.
        environment: of the child; ours otherwise.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        # A group of its own: Ctrl-C in a terminal reaches us alone, and all of it can be ended.
        grouping: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            no_window = subprocess.CREATE_NO_WINDOW  # type: ignore[attr-defined]
            new_group = subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined]
            grouping = {"creationflags": no_window | new_group}
        given = os.environ if environment is None else environment
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**given, "PYTHONUTF8": "1"},
            **grouping,
        )
        self._received: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._logged: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.last_errors: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        source, errors, sink = self._process.stdout, self._process.stderr, self._process.stdin
        self._threads = [
            threading.Thread(target=work, args=(stream, items), daemon=True)
            for work, stream, items in (
                (_read, source, self._received),
                (_read, errors, self._logged),
                (_write, sink, self._to_send),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def process_id(self) -> int:
        """Of the child."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Sends a line, soon; a child that has ended does not get it."""
        self._to_send.put(line)

    def close_input(self) -> None:
        """Closes its standard input after what was sent."""
        self._to_send.put(None)

    def receive(self) -> bytes | None:
        """The next line of its standard output, None where there is none yet.

        Of a line that is too long only an empty one remains.
        """
        try:
            return self._received.get_nowait() or b""
        except queue.Empty:
            return None

    def logged_lines(self) -> list[str]:
        """What it has printed to standard error since the last call."""
        lines = []
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._logged.get_nowait() or b"(a very long line)"
                lines.append(line.decode("utf-8", "replace").rstrip("\r"))
        self.last_errors.extend(lines)
        return lines

    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that killed it."""
        return self._process.poll()

    def has_said_all(self) -> bool:
        """Whether it has ended and every line can be received."""
        ended = self._process.poll() is not None
        return ended and not any(thread.is_alive() for thread in self._threads[:2])

    def end_tree(self) -> None:
        """Ends it and what it has started by force, and frees its pipes."""
        # PythonSlicer is a launcher: killing only it would leave the real Python running.
        if os.name == "nt":
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(self.process_id)],
                capture_output=True,
                check=False,
            )
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process_id, signal.SIGKILL)
        self.close_input()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_JOIN_SECONDS)
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def wait(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> bool:
        """Waits for its end; whether it came in time."""
        end = clock() + seconds
        while self._process.poll() is None:
            if clock() >= end:
                return False
            time.sleep(0.01)
        return True


def _read(stream: IO[bytes], items: queue.SimpleQueue[bytes | None]) -> None:
    with stream, contextlib.suppress(OSError, ValueError):
        for line in bounded_lines(stream.read1):  # type: ignore[attr-defined]
            items.put(line)


def _write(stream: IO[bytes], items: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        while (line := items.get()) is not None:
            stream.write(line)
            stream.flush()

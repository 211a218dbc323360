"""A child process with pipes: started, listened to and ended without waiting.

Threads start it, move bytes between the pipes and queues, and end it with all its children, so
that the caller (a user interface) is never blocked: not by a system that starts programs slowly,
not by a child that neither reads nor writes, not by one that takes its time to die.
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

_JOIN_SECONDS = 1.0
_DEATH_SECONDS = 10.0
_POLL_SECONDS = 0.01


class ChildProcess:
    """A child that is being started, runs, or has ended.

    Args:
        command: program and arguments.
        environment: of the child; ours otherwise.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self.start_error: OSError | ValueError | None = None
        """Why it could not be started; None where it was, or is not yet."""
        self.last_errors: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._received: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._logged: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads: tuple[threading.Thread, ...] = ()
        given = os.environ if environment is None else environment
        work = (list(command), {**given, "PYTHONUTF8": "1"})
        self._starter = threading.Thread(target=self._start, args=work, daemon=True)
        self._starter.start()
        self._ender: threading.Thread | None = None

    @property
    def process_id(self) -> int | None:
        """Of the child; None where it is not started yet."""
        return None if self._process is None else self._process.pid

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

    def logged_lines(self, most: int | None = None) -> list[str]:
        """What it has printed to standard error since the last call, or the first of it."""
        lines: list[str] = []
        with contextlib.suppress(queue.Empty):
            while most is None or len(lines) < most:
                line = self._logged.get_nowait() or b"(a very long line)"
                lines.append(line.decode("utf-8", "replace").rstrip("\r"))
        self.last_errors.extend(lines)
        return lines

    def exit_status(self) -> int | None:
        """None while it starts or runs; negative: the signal that killed it."""
        return None if self._process is None else self._process.poll()

    @property
    def gone(self) -> bool:
        """Whether `end_now` has done its work: nothing of it runs, every line can be received."""
        return self._ender is not None and not self._ender.is_alive()

    def end_now(self, then: Callable[[], None] = lambda: None) -> None:
        """Ends it and what it has started by force, and frees its pipes, in the background.

        Args:
            then: called when it is dead, in another thread.
        """
        if self._ender is None:
            # No daemon: an interpreter that exits at this moment still kills it.
            self._ender = threading.Thread(target=self._end, args=(then,))
            self._ender.start()

    def wait_until_gone(self, seconds: float) -> None:
        """Waits for what `end_now` does."""
        if self._ender is not None:
            self._ender.join(seconds)

    def wait(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> bool:
        """Waits for its end; whether it came in time."""
        end = clock() + seconds
        while self.start_error is None and self.exit_status() is None:
            if clock() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _start(self, command: list[str], environment: dict[str, str]) -> None:
        # A group of its own: Ctrl-C in a terminal reaches us alone, and all of it can be ended.
        grouping: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            no_window = subprocess.CREATE_NO_WINDOW  # type: ignore[attr-defined]
            new_group = subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined]
            grouping = {"creationflags": no_window | new_group}
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, **grouping
            )
        except (OSError, ValueError) as error:
            self.start_error = error
            return
        source, errors, sink = process.stdout, process.stderr, process.stdin
        threads = [
            threading.Thread(target=work, args=(stream, items), daemon=True)
            for work, stream, items in (
                (_read, source, self._received),
                (_read, errors, self._logged),
                (_write, sink, self._to_send),
            )
        ]
        for thread in threads:
            thread.start()
        self._threads = tuple(threads)
        self._process = process

    def _end(self, then: Callable[[], None]) -> None:
        self._starter.join()
        if self._process is not None:
            _kill_tree(self._process.pid)
            self.close_input()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_DEATH_SECONDS)
            for thread in self._threads:
                thread.join(_JOIN_SECONDS)
        then()


def _kill_tree(process_id: int) -> None:
    # PythonSlicer is a launcher: killing only it would leave the real Python running.
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(process_id)],
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,  # type: ignore[attr-defined]
        )
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process_id, signal.SIGKILL)


def _read(stream: IO[bytes], items: queue.SimpleQueue[bytes | None]) -> None:
    with stream, contextlib.suppress(OSError, ValueError):
        for line in bounded_lines(stream.read1):  # type: ignore[attr-defined]
            items.put(line)


def _write(stream: IO[bytes], items: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        while (line := items.get()) is not None:
            stream.write(line)
            stream.flush()

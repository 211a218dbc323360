"""Standard input and output kept for the protocol alone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from .messages import Answer
from .wire import write_line


def take_standard_streams() -> tuple[int, int]:
    """Keeps the pipes to our parent for ourselves.

    What libraries print then goes to standard error, and what they read is empty, in Python
    and below it. Processes that are started get neither pipe, so they cannot keep it open.

    Returns:
        The file descriptors to read from and to write to.
    """
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if os.name == "nt":
        import msvcrt

        for descriptor in (source, sink):
            msvcrt.setmode(descriptor, os.O_BINARY)  # type: ignore[attr-defined]
    return source, sink


class AnswerPipe:
    """Writes answers, whole lines from any thread.

    Args:
        descriptor: of the pipe.
        on_broken: called once when nobody reads any more; what is sent later is dropped.
    """

    def __init__(self, descriptor: int, on_broken: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._lock = threading.Lock()
        self._broken = False

    def __call__(self, answer: Answer) -> None:
        """Sends an answer."""
        line = memoryview(write_line(answer))
        with self._lock:
            if self._broken:
                return
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
                return
            except OSError:
                self._broken = True
        self._on_broken()

"""Work that nobody waits for: its events in a file, and a file that asks it to stop.

A program that starts a long training and may be closed meanwhile (3D Slicer) has no pipe to
listen to. It reads the file of events as it grows, and says stop by making the other one.
docs/reference/progress-file.md describes both.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..domain.errors import ProjectError
from ..domain.events import Event, IterationFinished, Reporter

ITERATION_SECONDS = 1.0
"""Iterations come to the file no more often: the training's own log holds every one."""

SIGN_OF_LIFE_SECONDS = 5.0
"""The file is touched this often, so that a reader can tell a silent process from a dead one."""


class ProgressFile:
    """Appends events to a file, one per line, between the lines `run_started` and `run_ended`.

    Args:
        path: the file; what earlier runs wrote stays.
        arguments: of the command line, kept in the first line.
        clock: seconds.

    Raises:
        ProjectError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        arguments: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._iteration_at = -ITERATION_SECONDS
        self._began = clock()
        self._ended = threading.Event()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._end_half_line()
            self._write(
                event="run_started",
                process=os.getpid(),
                host=platform.node(),
                time=time.time(),
                arguments=list(arguments),
            )
        except OSError as error:
            raise ProjectError(
                "the file of events cannot be written",
                expected="a folder with the right to write and enough free space",
                found=error.strerror or str(error),
                cure="free some space, or give another --progress-file",
                path=path,
            ) from error
        threading.Thread(target=self._show_life, daemon=True).start()

    def __call__(self, event: Event) -> None:
        """Appends the event; where the disk is full it is lost, and the work goes on."""
        if isinstance(event, IterationFinished):
            now = self._clock()
            if now - self._iteration_at < ITERATION_SECONDS:
                return
            self._iteration_at = now
        with suppress(OSError):
            self._write(**event.as_dict())

    def end(self, status: int, message: str = "") -> None:
        """Writes how it went.

        Args:
            status: the exit status.
            message: of the error.
        """
        self._ended.set()
        with suppress(OSError):
            self._write(
                event="run_ended",
                status=status,
                message=message,
                time=time.time(),
                seconds=self._clock() - self._began,
            )

    def _write(self, **content: Any) -> None:
        line = json.dumps(content, allow_nan=False, default=str) + "\n"
        with self._path.open("ab") as stream:
            stream.write(line.encode())

    def _end_half_line(self) -> None:
        """A run that was killed may have left one."""
        with self._path.open("a+b") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")

    def _show_life(self) -> None:
        while not self._ended.wait(SIGN_OF_LIFE_SECONDS):
            with suppress(OSError):
                os.utime(self._path)


def told_to(path: Path | None, arguments: Sequence[str] | None) -> ProgressFile | None:
    """The file that was asked for on the command line."""
    words = sys.argv[1:] if arguments is None else arguments
    return None if path is None else ProgressFile(path, words)


def both(display: Reporter, file: Reporter) -> Reporter:
    """A reporter that tells the screen and the file."""

    def report(event: Event) -> None:
        file(event)
        display(event)

    return report

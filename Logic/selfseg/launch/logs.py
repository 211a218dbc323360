"""The jobs' logs: each job prints into a file, and whoever launched it reads along.

A file works alike for a child on this machine and for one on another node of a cluster with a
common file system, and it is still there when everything else has died.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..domain.events import as_event
from ..io.file_names import as_file_name

LOG_FOLDER = "launch"
"""In the project folder."""

SHOWN_LINES = 12
"""Of the end of the log of a job that failed."""


def log_path(folder: Path, job: str) -> Path:
    """Where a job of that name prints to."""
    return folder / as_file_name(re.sub(r"\W+", "_", job) + ".log", "job")


class LogReader:
    """Reads the events that have been added to a log since the last look.

    Args:
        path: of the log; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._rest = b""

    def events(self) -> Iterator[dict[str, Any]]:
        """The events of the lines that are complete, each once."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                text = file.read()
                self._position = file.tell()
        except FileNotFoundError:
            return
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            event = as_event(line.decode("utf-8", errors="replace"))
            if event is not None:
                yield event


def end_of_log(path: Path, lines: int = SHOWN_LINES) -> str:
    """The last lines of a log that are no events."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            last = deque((line.rstrip() for line in file if as_event(line) is None), maxlen=lines)
    except FileNotFoundError:
        return ""
    return "\n".join(last).strip()

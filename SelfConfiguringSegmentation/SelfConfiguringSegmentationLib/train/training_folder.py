"""One training on disk, and the process that works on it and outlives Slicer.

<folder>/training.json    how it was started
         dataset/         what `selfseg collect` wrote
         project/         what `selfseg run` makes of it
         progress.jsonl   events of the run (docs/reference/progress-file.md)
         messages.txt     what the process printed beside them
         stop             asks the process to save and end
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfseg.domain.events import as_event

from ..jobs import own_group, slicer_python
from ..paths import logic_folder

SCHEMA = "selfseg.slicer-training/1"

SILENT_SECONDS = 60.0
"""A process touches its progress file every 5 s. One that was silent for so long is dead, also
where nobody can ask for its process: on another machine, or after a restart."""

READ_BYTES = 2**20
"""Read at a time, so that a file of days is no reason to stand still."""

LEAST_SHARE = 0.1
"""Of the budget that a resumed run gets in any case."""

Launcher = Callable[[Sequence[str], Path], "subprocess.Popen[bytes]"]
"""Starts `selfseg` with these arguments so that it outlives us; prints into the file."""

_ITERATION = b'{"event": "iteration_finished"'


@dataclass(frozen=True)
class TrainingFolder:
    """Where the parts of a training lie."""

    folder: Path

    @property
    def description_file(self) -> Path:
        """How it was started."""
        return self.folder / "training.json"

    @property
    def dataset(self) -> Path:
        """The data set."""
        return self.folder / "dataset"

    @property
    def project(self) -> Path:
        """The project."""
        return self.folder / "project"

    @property
    def progress_file(self) -> Path:
        """Events of its runs."""
        return self.folder / "progress.jsonl"

    @property
    def messages_file(self) -> Path:
        """What its processes printed."""
        return self.folder / "messages.txt"

    @property
    def stop_file(self) -> Path:
        """Its presence asks the process to save and end."""
        return self.folder / "stop"

    @property
    def report(self) -> Path:
        """The page that shows everything, once it is written."""
        return self.project / "report.html"


@dataclass(frozen=True)
class Description:
    """`training.json`: what is needed to go on.

    Args:
        name: of the model.
        arguments: of `selfseg`, without the budget.
        seconds: the budget, None without limit.
    """

    name: str
    arguments: tuple[str, ...]
    seconds: float | None = None


def read_description(place: TrainingFolder) -> Description | None:
    """How the training was started; None where the file is missing or no longer whole."""
    try:
        content = json.loads(place.description_file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            return None
        seconds = content["seconds"]
        return Description(
            str(content["name"]),
            tuple(map(str, content["arguments"])),
            None if seconds is None else float(seconds),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_description(place: TrainingFolder, description: Description) -> None:
    """Keeps how the training is started."""
    place.folder.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": SCHEMA,
        "name": description.name,
        "arguments": list(description.arguments),
        "seconds": description.seconds,
    }
    part = place.description_file.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(place.description_file)


def start(
    place: TrainingFolder, description: Description, used_seconds: float, launch: Launcher
) -> subprocess.Popen[bytes]:
    """Starts the training, or goes on with it.

    Args:
        place: the training.
        description: how.
        used_seconds: of the budget, by earlier runs.
        launch: starts the process.
    """
    place.stop_file.unlink(missing_ok=True)
    words = list(description.arguments)
    if description.seconds is not None:
        left = max(description.seconds - used_seconds, LEAST_SHARE * description.seconds)
        words += ["--time-budget", f"{left:.0f}"]
    words += ["--progress-file", str(place.progress_file), "--stop-file", str(place.stop_file)]
    return launch(words, place.messages_file)


def launch_process(
    arguments: Sequence[str], output: Path, *, python: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts `python -m selfseg` in a session of its own, without a pipe that leads to us."""
    with output.open("ab") as stream:
        return subprocess.Popen(
            [python, "-u", "-m", "selfseg", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**environment, "PYTHONPATH": str(logic_folder()), "PYTHONUTF8": "1"},
            **own_group(),
        )


def slicer_launcher() -> Launcher:
    """Starts selfseg in Slicer's own Python so that it outlives the application.

    Raises:
        SelfsegError: this is not a Slicer installation.
    """
    python, environment = slicer_python()
    return lambda arguments, output: launch_process(
        arguments, output, python=python, environment=environment
    )


def is_alive(place: TrainingFolder, began: Mapping[str, Any] | None, now: float) -> bool:
    """Whether the process that wrote `run_started` still works.

    Args:
        place: the training.
        began: its `run_started` event; None where it has not come that far.
        now: seconds since 1970.
    """
    try:
        silent = now - place.progress_file.stat().st_mtime
    except OSError:
        return False
    if silent > SILENT_SECONDS:
        return False
    if began is not None and os.name == "posix" and began.get("host") == platform.node():
        try:
            os.kill(int(began["process"]), 0)
        except ProcessLookupError:
            return False
        except (PermissionError, ValueError, KeyError, TypeError, OverflowError):
            return True
    return True


class ProgressReader:
    """Reads a growing file of events from where it stopped the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""

    @property
    def at_end(self) -> bool:
        """True where everything in the file was read."""
        try:
            return self._position >= self._path.stat().st_size
        except OSError:
            return True

    def read(self) -> list[dict[str, Any]]:
        """The events that came since, of at most a megabyte; of its iterations only the last."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                data = stream.read(READ_BYTES)
        except OSError:
            return []
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        last = max((i for i, line in enumerate(lines) if line.startswith(_ITERATION)), default=-1)
        events = []
        for index, line in enumerate(lines):
            if line.startswith(_ITERATION) and index != last:
                continue
            event = as_event(line.decode("utf-8", "replace"))
            if event is not None:
                events.append(event)
        return events


def now_seconds() -> float:
    """Seconds since 1970."""
    return time.time()

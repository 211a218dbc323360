"""A training as the panel and scripts see it: started, followed, paused, gone on with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled, SelfsegError

from . import training_folder
from .progress import FinishedModel, TrainingProgress
from .training_folder import Launcher, ProgressReader, TrainingFolder


class TrainingFailed(SelfsegError):
    """The training ended with an error; the message is its own."""


class Training:
    """One training folder; the process may be ours, of an earlier Slicer, or not there.

    Args:
        folder: the training's.
        launch: starts the process.
        on_event: takes each event of the file, as a dict.
        on_log: takes lines for people.
        clock: seconds since 1970.

    Raises:
        SelfsegError: there is no training in the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        launch: Callable[[], Launcher],
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = training_folder.now_seconds,
    ) -> None:
        self.place = TrainingFolder(folder)
        description = training_folder.read_description(self.place)
        if description is None:
            raise SelfsegError(
                "there is no training here",
                expected="a folder with training.json",
                found="none, or a damaged one",
                cure="choose another folder, or prepare the training again",
                path=folder,
            )
        self.description = description
        self.progress = TrainingProgress(on_log)
        self._launch = launch
        self._on_event, self._on_log = on_event, on_log
        self._clock = clock
        self._reader = ProgressReader(self.place.progress_file)
        self._process: subprocess.Popen[bytes] | None = None
        self._damage_told = False
        self._runs_before = 0
        self._runs = 0

    @property
    def is_running(self) -> bool:
        """Whether its process works."""
        if self._process is not None:
            return self._process.poll() is None
        if self.progress.status is not None or self.progress.began is None:
            return False
        return training_folder.is_alive(self.place, self.progress.began, self._clock())

    @property
    def is_read(self) -> bool:
        """Whether every event that is in the file was taken."""
        return self._reader.at_end

    @property
    def is_stopping(self) -> bool:
        """Whether the process was asked to save and end."""
        return self.is_running and self.place.stop_file.exists()

    @property
    def is_finished(self) -> bool:
        """Whether its model is in the library."""
        done = self.progress.model is not None and self.progress.status == 0
        return done and not self.is_running

    @property
    def model(self) -> FinishedModel | None:
        """The finished model."""
        return self.progress.model if self.is_finished else None

    @property
    def used_seconds(self) -> float:
        """Of the budget."""
        return self.progress.used_seconds(self._clock(), running=self.is_running)

    def start(self) -> None:
        """Starts the process, or goes on where an earlier one stopped.

        Raises:
            SelfsegError: it runs already.
        """
        self.read_all()
        if self.is_running:
            raise SelfsegError(
                "the training is running already",
                expected="one process at a time",
                found="a process that shows signs of life",
                cure="wait until it has ended, or pause it",
                path=self.place.folder,
            )
        self._runs_before = self._runs
        used = self.used_seconds
        self._process = training_folder.start(self.place, self.description, used, self._launch())

    def pause(self) -> None:
        """Asks the process to save and end; `start` goes on from there."""
        self.place.stop_file.touch()

    def poll(self) -> bool:
        """Takes what has come since; True once the process has ended and all was taken."""
        # Asked before reading: what it writes in between is taken below.
        ended = not self.is_running
        try:
            seen_at = self.place.progress_file.stat().st_mtime
        except OSError:
            seen_at = self._clock()
        events = self._reader.read()
        for event in events:
            try:
                self.progress.take(event, seen_at=seen_at)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                self._tell_damage()
                continue
            self._runs += event["event"] == "run_started"
            self._on_event(event)
        # Events may say that it runs: then, and while there are more, the next call decides.
        return ended and not events and self.is_read

    def _tell_damage(self) -> None:
        if not self._damage_told:
            self._damage_told = True
            self._on_log(
                _("the progress file {path} is damaged: some of its lines are left out").format(
                    path=self.place.progress_file
                )
            )

    def read_all(self) -> None:
        """Takes everything that is in the file."""
        while not self.is_read:
            self.poll()

    def wait(
        self,
        *,
        interval_seconds: float = 0.1,
        while_waiting: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None],
    ) -> None:
        """Polls until the process has ended; on an exception (Ctrl-C too) pauses it."""
        try:
            while not self.poll():
                while_waiting()
                sleep(interval_seconds)
        except BaseException:
            self.pause()
            raise

    def result(self) -> FinishedModel:
        """The finished model.

        Raises:
            Cancelled: it was paused.
            TrainingFailed: it failed; the message is the child's own.
        """
        progress = self.progress
        if self.is_finished and progress.model is not None:
            return progress.model
        if progress.status == Cancelled.exit_code:
            raise Cancelled("paused", cure="start the training again to go on from here")
        raise TrainingFailed(self.failure or "the training has not finished")

    @property
    def failure(self) -> str:
        """Why the latest run ended without a model; "" where it did not, or was paused."""
        progress = self.progress
        if self.is_running or self.is_finished or progress.status == Cancelled.exit_code:
            return ""
        if progress.status is not None and progress.message:
            return progress.message
        if self._process is not None and self._runs == self._runs_before:
            return _last_lines(self.place.messages_file)
        if progress.began is not None and progress.status is None:
            return "the process was ended from outside; start the training again to go on"
        return ""


def _last_lines(path: Path, most: int = 2000) -> str:
    """What a process printed that did not come as far as its first event."""
    try:
        text = path.read_bytes()[-most:].decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return text or "the process ended without a word"

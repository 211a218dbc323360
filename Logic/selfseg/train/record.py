"""Everything that a training leaves about itself: log, picture, TensorBoard, and its reporter."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from ..domain.errors import Cancelled, FileFormatError, ProjectError
from ..domain.events import EpochFinished, Event, Notice, Reporter, ValidationFinished
from .log import TrainingLog, read_events
from .picture import ProgressPicture
from .tensorboard import TensorBoard

LOG, PICTURE, TENSORBOARD = "log.jsonl", "progress.png", "tensorboard"


class RunRecord:
    """Takes the events of a training and hands each to all who keep or show it.

    Use it in a `with` block: what still waits is written, and the last picture drawn, when the
    training ends or is stopped.

    Args:
        folder: the run's.
        title: of the picture.
        reporter: is told everything as well.
        position: of the log in the checkpoint that the training goes on from, else 0.
        iterations_done: those of the checkpoint.
        tensorboard: whether TensorBoard's files are wanted.
        clock: seconds.

    Raises:
        ProjectError: the log cannot be written.
        TrainingError: TensorBoard is wanted and not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        title: str,
        reporter: Reporter,
        position: int = 0,
        iterations_done: int = 0,
        tensorboard: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._log_failed = False
        self._board = TensorBoard(folder / TENSORBOARD, iterations_done) if tensorboard else None
        self.log = TrainingLog(folder / LOG, position, clock=clock)
        self._picture = ProgressPicture(
            folder / PICTURE,
            earlier=_earlier(folder / LOG, reporter),
            title=title,
            reporter=reporter,
            clock=clock,
        )

    def __call__(self, event: Event) -> None:
        """Keeps and shows one event.

        A log that cannot be written is told once, as a warning: its lines wait, and come with
        the next event or checkpoint that can be written.
        """
        try:
            self.log.write(event)
            self._log_failed = False
        except ProjectError as error:
            if not self._log_failed:
                text = f"{error.what} ({error.found}); the training goes on, please {error.cure}"
                self._reporter(Notice(text, level="warning"))
            self._log_failed = True
        self._to_board(event)
        self._reporter(event)
        self._picture(event)

    @property
    def position(self) -> int:
        """Length of the log, all of it in the file: what a checkpoint keeps.

        Raises:
            ProjectError: the log cannot be written.
        """
        return self.log.position

    @property
    def closing_seconds(self) -> float:
        """What leaving the `with` block will take, for planning to a time limit."""
        return self._picture.cost_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._to_board(None)
        self.log.__exit__(kind, error, trace)
        if kind is None or issubclass(kind, Cancelled):
            self._picture.draw()

    def _to_board(self, event: Event | None) -> None:
        """Hands the event on, or closes the files; where that fails the training goes on."""
        if self._board is None:
            return
        try:
            self._board.close() if event is None else self._board(event)
        except OSError as error:
            self._board = None
            text = f"TensorBoard's files end here ({error.strerror or error})"
            self._reporter(Notice(f"{text}; the training goes on without them", level="warning"))


class SilentRecord:
    """Takes the place of a `RunRecord` in all ranks but the first."""

    position = 0
    closing_seconds = 0.0

    def __call__(self, event: Event) -> None:
        """Does nothing: the first rank keeps and shows what is the same in all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return


def _earlier(path: Path, reporter: Reporter) -> tuple[Event, ...]:
    """The epochs of a resumed training; a damaged log costs the picture, not the training."""
    try:
        return read_events(path, (EpochFinished, ValidationFinished))
    except FileFormatError as error:
        text = f"{PICTURE} begins where this training goes on: {error.what} ({error.found})"
        reporter(Notice(text, level="warning"))
        return ()

"""The log of a training: one event per line, appended as the training goes on, and its reader.

docs/reference/training-log.md describes the lines.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ..domain.errors import FileFormatError, ProjectError
from ..domain.events import KINDS, Event, IterationFinished

FLUSH_SECONDS = 1.0
"""Iterations are collected about this long before they go to the file."""

DIGITS = 6
"""Significant digits of the numbers of an iteration: 250 000 of them fill about 50 MB."""


class TrainingLog:
    """log.jsonl, in whole lines: what is in the file after a kill ends at a line's end.

    Iterations are collected and written about every second, everything else at once, so that
    a log costs the training nothing to speak of.

    Args:
        path: the file; made where it is missing.
        position: bytes to keep of an existing file: what a run wrote after its last checkpoint
            is written again when it goes on from there.
        clock: seconds.

    Raises:
        ProjectError: the file cannot be written.
    """

    def __init__(
        self, path: Path, position: int = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._clock = clock
        self._waiting: list[bytes] = []
        self._flushed_at = clock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._length = _cut(path, position)
        except OSError as error:
            raise self._not_written(error) from error

    @property
    def position(self) -> int:
        """Length of the file in bytes once all that was written is in it, where it now is.

        Raises:
            ProjectError: the file cannot be written.
        """
        self.flush()
        return self._length

    def write(self, event: Event) -> None:
        """Appends one event.

        Raises:
            ProjectError: the file cannot be written.
        """
        self._waiting.append(_line(event))
        often = isinstance(event, IterationFinished)
        if not often or self._clock() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Puts into the file what still waits; it goes on waiting where that fails.

        Raises:
            ProjectError: the file cannot be written.
        """
        self._flushed_at = self._clock()
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        try:
            with self.path.open("ab") as stream:
                stream.write(data)
        except OSError as error:
            self._drop_half_line()
            raise self._not_written(error) from error
        self._waiting.clear()
        self._length += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.flush()
            return
        try:
            self.flush()
        except ProjectError:
            return  # what went wrong first is what the user must hear of

    def _drop_half_line(self) -> None:
        try:
            _cut(self.path, self._length)
        except OSError:
            return  # the reader leaves out half a last line

    def _not_written(self, error: OSError) -> ProjectError:
        return ProjectError(
            "the training log cannot be written",
            expected="a folder with the right to write and enough free space",
            found=error.strerror or str(error),
            cure="free some space, or choose another project folder",
            path=self.path,
        )


def read_events(path: Path, kinds: Collection[type[Event]]) -> tuple[Event, ...]:
    """The events of some kinds in a training's log.jsonl, in the order of the file.

    Kinds and fields of other versions are passed over, and so is half a last line, which a
    killed run may leave.

    Raises:
        FileFormatError: the file cannot be read, or a line but the last is damaged.
    """
    try:
        # As bytes: half a line may end within a character, and a name may hold characters that
        # str.splitlines takes for the end of a line.
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    wanted = tuple(kinds)
    skip = IterationFinished not in wanted
    events: list[Event] = []
    for number, line in enumerate(lines):
        # Most lines are iterations; they need not be parsed to be left out.
        if not line.strip() or (skip and line.startswith(_ITERATION)):
            continue
        try:
            event = _event(line)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            if number == len(lines) - 1:
                break
            raise _damaged(path, f"line {number + 1}: {error}") from error
        if isinstance(event, wanted):
            events.append(event)
    return tuple(events)


_ITERATION = b'{"event":"iteration_finished"'


def _line(event: Event) -> bytes:
    content = event.as_dict()
    if isinstance(event, IterationFinished):
        content = {name: _rounded(value) for name, value in content.items()}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def _event(line: bytes) -> Event | None:
    """The event of one line, None for a kind that this version does not know."""
    content = msgspec.json.decode(line, type=dict[str, Any])
    kind = KINDS.get(str(content.get("event")))
    if kind is None:
        return None
    for name in ("loss", "train_loss", "validation_loss"):
        if name in content and content[name] is None:  # JSON's way of saying NaN
            content[name] = math.nan
    return msgspec.convert(content, kind)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _cut(path: Path, position: int) -> int:
    """Shortens the file to `position`, or to its last whole line where it is shorter.

    It is shorter than its checkpoint says after a power cut, for example.
    """
    with path.open("r+b") as stream:
        if stream.seek(0, 2) < position:
            stream.seek(0)
            position = stream.read().rfind(b"\n") + 1
        stream.truncate(position)
    return position


def _damaged(path: Path, found: str) -> FileFormatError:
    return FileFormatError(
        "the training log cannot be read",
        expected="one JSON object per line",
        found=found,
        cure="leave the run out of the report, or train it again",
        path=path,
    )

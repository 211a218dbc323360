"""Draws progress events in a terminal, or prints them as JSON lines."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from .domain.errors import Cancelled
from .domain.events import (
    CaseFinished,
    EpochFinished,
    Event,
    IterationFinished,
    Notice,
    Progress,
    Reporter,
    StageFinished,
    StageStarted,
    ValidationFinished,
)

REDRAW_SECONDS = 0.2
"""A bar of training is drawn anew no more often than this."""

LINE_SECONDS = 10.0
"""Where no bar can be drawn a stage gets a line for each tenth, no more often than this."""

LISTED_STRUCTURES = 6
"""With more structures an epoch's line names the worst ones only."""

WORST_STRUCTURES = 3

STOP_FILE_SECONDS = 0.3
"""Between two looks for the file that asks to stop."""


def duration(seconds: float) -> str:
    """Seconds in words: "42 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable(text: str) -> str:
    """A text for a terminal; signs that drive one, as names of files may hold, are spelt out."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode()
        for sign in text
    )


class JsonLines:
    """One event per line on `stream`, as other programs read them."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def __call__(self, event: Event) -> None:
        """Prints the event."""
        self._stream.write(json.dumps(event.as_dict(), allow_nan=False, default=str) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: every line is already out."""


class TerminalBars:
    """A bar with the remaining time for each stage, and a line for what is worth one.

    Everything is written to `stream` (standard error), so that standard output holds
    results only. Where `stream` is a file and no terminal, there are lines only: one for each
    tenth of a long stage, and none for the steps of a training.
    """

    def __init__(
        self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._bar: Any = None
        self._drawn_at = 0.0
        self._tenth = 0
        self._epochs: int | None = None

    def __call__(self, event: Event) -> None:
        """Draws the event."""
        match event:
            case StageStarted():
                self._end_bar()
                self._epochs, self._tenth, self._drawn_at = None, 0, self._clock()
                self._line(f"{event.stage} ...")
            case Progress():
                self._advance(event)
            case IterationFinished():
                self._iteration(event)
            case StageFinished():
                self._end_bar()
                done = "already done" if event.skipped else duration(event.seconds)
                detail = f": {event.detail}" if event.detail else ""
                self._line(f"{event.stage}: {done}{detail}")
            case Notice():
                mark = "warning: " if event.level == "warning" else ""
                self._line(f"  {mark}{event.text}")
            case EpochFinished():
                self._epochs = event.epochs
                self._line(_epoch_line(event))
            case ValidationFinished():
                self._end_bar()
                self._line(_validation_line(event))
            case CaseFinished() if event.path:
                self._line(f"  {event.identifier} -> {event.path} ({duration(event.seconds)})")
            case _:
                pass

    def close(self) -> None:
        """Ends the bar that may still be open."""
        self._end_bar()

    def _advance(self, event: Progress) -> None:
        if not self._stream.isatty():
            self._tell_tenth(event)
            return
        bar = self._bar_named(event.stage, event.total)
        left = "" if event.eta_seconds is None else f"{duration(event.eta_seconds)} left"
        bar.set_description_str(printable(f"{left}  {event.detail}".strip()), refresh=False)
        bar.total = event.total
        bar.n = min(event.done, event.total)
        bar.refresh() if event.done >= event.total else bar.update(0)

    def _tell_tenth(self, event: Progress) -> None:
        """A line where another tenth of a stage is done; its end has one of its own."""
        now = self._clock()
        tenth = int(10 * event.done / event.total) if event.total else 0
        if not self._tenth < tenth < 10 or now - self._drawn_at < LINE_SECONDS:
            return
        self._tenth, self._drawn_at = tenth, now
        left = "" if event.eta_seconds is None else f", {duration(event.eta_seconds)} left"
        self._line(f"  {event.stage} {10 * tenth} %{left}")

    def _iteration(self, event: IterationFinished) -> None:
        """Moves the bar of the present epoch."""
        size = event.epoch_iterations
        if not size or not self._stream.isatty():
            return
        now = self._clock()
        done = (event.iteration - 1) % size + 1
        if done < size and now - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = now
        bar = self._bar_named("epoch", size)
        number = f"epoch {(event.iteration - 1) // size + 1}"
        bar.unit = number if self._epochs is None else f"{number}/{self._epochs}"
        parts = [f"loss {event.loss:.3f}"]
        if event.samples_per_second:
            parts.append(f"{event.samples_per_second:.3g} samples/s")
        if event.eta_seconds is not None:
            parts.append(f"{duration(event.eta_seconds)} left")
        bar.set_description_str(", ".join(parts), refresh=False)
        bar.total, bar.n = size, done
        bar.refresh()

    def _bar_named(self, stage: str, total: float) -> Any:
        if self._bar is not None and self._bar.stage != stage:
            self._end_bar()
        if self._bar is None:
            from tqdm import tqdm

            # tqdm sets a comma before its postfix; its description, set last, has none.
            self._bar = tqdm(
                total=total,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
                unit=stage,
                bar_format="  {unit} {percentage:3.0f}%|{bar}| {desc}",
                mininterval=REDRAW_SECONDS,
            )
            self._bar.stage = stage
        return self._bar

    def _line(self, text: str) -> None:
        text = printable(text)
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _epoch_line(event: EpochFinished) -> str:
    scores = _scores(event.pseudo_dice, event.mean_pseudo_dice)
    ema = "" if event.ema_pseudo_dice is None else f", EMA {event.ema_pseudo_dice:.3f}"
    left = "" if event.eta_seconds is None else f", {duration(event.eta_seconds)} left"
    return (
        f"  epoch {event.epoch + 1}/{event.epochs}: "
        f"loss {event.train_loss:.3f} / {event.validation_loss:.3f}, pseudo Dice {scores}{ema}, "
        f"learning rate {event.learning_rate:.2g}{left}"
    )


def _validation_line(event: ValidationFinished) -> str:
    parts = [f"Dice {_scores(event.dice, event.mean_dice)}"]
    if event.mean_hd95_mm is not None:
        parts.append(f"HD95 {event.mean_hd95_mm:.1f} mm")
    if event.mean_surface_dice_2mm is not None:
        parts.append(f"surface Dice at 2 mm {event.mean_surface_dice_2mm:.3f}")
    count = f"{event.cases} whole case" + ("" if event.cases == 1 else "s")
    return (
        f"  {count} after epoch {event.epoch + 1}: {', '.join(parts)} ({duration(event.seconds)})"
    )


def _scores(values: Mapping[str, float | None], mean: float | None) -> str:
    """Each structure's score, or the mean and the worst where there are many."""
    if len(values) <= LISTED_STRUCTURES:
        return "  ".join(f"{name} {_score(value)}" for name, value in values.items()) or "-"
    known = [(value, name) for name, value in values.items() if value is not None]
    worst = "  ".join(f"{name} {_score(value)}" for value, name in sorted(known)[:WORST_STRUCTURES])
    return f"{_score(mean)} over {len(values)} structures (lowest: {worst})"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


class StopRequest:
    """Turns Ctrl-C, a termination signal or a closed standard input into a clean stop.

    The first request is noted; work ends at the next event or training step. A second
    Ctrl-C interrupts at once.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self._requested.is_set()

    def install(self, *, watch_stdin: bool, stop_file: Path | None = None) -> None:
        """Takes over SIGINT and SIGTERM, and watches standard input or a file if asked to."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        if watch_stdin:
            threading.Thread(target=self._wait_for_stdin, daemon=True).start()
        if stop_file is not None:
            threading.Thread(target=self._wait_for_file, args=(stop_file,), daemon=True).start()

    def checking(self, reporter: Reporter) -> Reporter:
        """A reporter that ends the work at its next event once a stop was requested.

        Not at an event of training, which polls the request itself and saves before it ends,
        and not at a notice, which may come from there.
        """

        def report(event: Event) -> None:
            reporter(event)
            spared = isinstance(
                event, IterationFinished | EpochFinished | ValidationFinished | Notice
            )
            here = threading.current_thread() is threading.main_thread()
            if self() and here and not spared:
                raise Cancelled(
                    "stopped as you asked", cure="give the same command again to go on from here"
                )

        return report

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._requested.is_set():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self._requested.set()
        sys.stderr.write("\nstopping at the next safe point (press Ctrl-C again to stop at once)\n")

    def _wait_for_stdin(self) -> None:
        # A parent that dies or cancels closes our standard input: the portable way to say stop.
        while sys.stdin.readline():
            pass
        self._requested.set()

    def _wait_for_file(self, path: Path) -> None:
        # For a process that outlives who started it: no pipe leads to it, and Windows has no
        # signal for a process without a console.
        while not path.exists():
            time.sleep(STOP_FILE_SECONDS)
        self._requested.set()

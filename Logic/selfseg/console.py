"""Draws progress events in a terminal, or prints them as JSON lines."""

from __future__ import annotations

import json
import signal
import sys
import threading
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
)


def duration(seconds: float) -> str:
    """Seconds in words: "42 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


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
    results only.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._stage = ""

    def __call__(self, event: Event) -> None:
        """Draws the event."""
        match event:
            case StageStarted():
                self._end_bar()
                self._stage = event.stage
                self._line(f"{event.stage} ...")
            case Progress():
                self._advance(event)
            case StageFinished():
                self._end_bar()
                done = "already done" if event.skipped else duration(event.seconds)
                detail = f": {event.detail}" if event.detail else ""
                self._line(f"{event.stage}: {done}{detail}")
            case Notice():
                mark = "warning: " if event.level == "warning" else ""
                self._line(f"  {mark}{event.text}")
            case EpochFinished():
                self._epoch(event)
            case CaseFinished() if event.path:
                self._line(f"  {event.identifier} -> {event.path} ({duration(event.seconds)})")
            case _:
                pass

    def close(self) -> None:
        """Ends the bar that may still be open."""
        self._end_bar()

    def _advance(self, event: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=event.total,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
                desc=f"  {event.stage}",
                bar_format="{desc} {percentage:3.0f}%|{bar}| {postfix}",
                mininterval=0.2,
            )
        if event.eta_seconds is not None:
            detail = f"{duration(event.eta_seconds)} left"
            self._bar.set_postfix_str(f"{detail}  {event.detail}".rstrip(), refresh=False)
        elif event.detail:
            self._bar.set_postfix_str(event.detail, refresh=False)
        self._bar.total = event.total
        self._bar.n = min(event.done, event.total)
        self._bar.refresh() if event.done >= event.total else self._bar.update(0)

    def _epoch(self, event: EpochFinished) -> None:
        dice = "  ".join(
            f"{name} {value:.3f}" if value is not None else f"{name} -"
            for name, value in event.pseudo_dice.items()
        )
        left = "" if event.eta_seconds is None else f", {duration(event.eta_seconds)} left"
        self._line(
            f"  epoch {event.epoch + 1}: loss {event.train_loss:.3f} / "
            f"{event.validation_loss:.3f}, pseudo Dice {dice}{left}"
        )

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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

    def install(self, *, watch_stdin: bool) -> None:
        """Takes over SIGINT and SIGTERM, and watches standard input if asked to."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        if watch_stdin:
            threading.Thread(target=self._wait_for_stdin, daemon=True).start()

    def checking(self, reporter: Reporter) -> Reporter:
        """A reporter that ends the work at its next event once a stop was requested.

        Not at an event of training, which polls the request itself and saves before it ends.
        """

        def report(event: Event) -> None:
            reporter(event)
            training = isinstance(event, IterationFinished | EpochFinished)
            here = threading.current_thread() is threading.main_thread()
            if self() and here and not training:
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

from __future__ import annotations

import io
import json
import math

import pytest

from selfseg.console import JsonLines, StopRequest, TerminalBars
from selfseg.domain.errors import Cancelled
from selfseg.domain.events import (
    EpochFinished,
    Event,
    IterationFinished,
    Notice,
    Progress,
    StageFinished,
    StageStarted,
    ValidationFinished,
    silent,
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def epoch(number: int = 0, dice: dict[str, float | None] | None = None) -> EpochFinished:
    return EpochFinished(
        "3d", "0", number, 20, -0.41, -0.32,
        {"left": 0.8, "right": None} if dice is None else dice,
        0.8, 0.75, 0.0098, 40.0, 12.0, 100.0,
    )  # fmt: skip


def drawn(stream: io.StringIO, events: list[Event]) -> str:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.05
        return now[0]

    bars = TerminalBars(stream, clock=clock)
    for event in events:
        bars(event)
    bars.close()
    return stream.getvalue()


def steps(first: int, last: int) -> list[Event]:
    return [
        IterationFinished(i, 0.512, 0.01, 0.1, 23.4, 200.0, 0, 10) for i in range(first, last + 1)
    ]


def test_an_epoch_is_a_moving_bar_and_a_line() -> None:
    events: list[Event] = [StageStarted("train 3d fold 0"), *steps(1, 10), epoch(), *steps(11, 20)]
    text = drawn(Terminal(), [*events, StageFinished("train 3d fold 0", 5.0)])
    frames = text.split("\r")
    assert any("epoch 1 " in f and "loss 0.512, 23.4 samples/s, 3 min 20 s left" in f
               for f in frames)  # fmt: skip
    assert any("epoch 1 100%" in f for f in frames)
    assert any("epoch 2/20" in f for f in frames)
    # Twenty steps a second, five pictures of the bar.
    assert 4 <= sum("samples/s" in f for f in frames) <= 16
    assert (
        "  epoch 1/20: loss -0.410 / -0.320, pseudo Dice left 0.800  right -, EMA 0.750, "
        "learning rate 0.0098, 1 min 40 s left\n" in text
    )


def test_a_file_gets_lines_and_no_bar_of_iterations() -> None:
    text = drawn(io.StringIO(), [StageStarted("train"), *steps(1, 10), epoch()])
    assert "samples/s" not in text
    assert text.count("\n") == 2


def test_a_file_gets_a_line_for_each_tenth_of_a_long_stage() -> None:
    # The clock of `drawn` stands still where it is not asked: one answer per event, 0.05 s apart.
    quick = [Progress("read", i, 100, 2.0) for i in range(1, 101)]
    assert drawn(io.StringIO(), [StageStarted("read"), *quick]) == "read ...\n"

    stream, now = io.StringIO(), [0.0]
    bars = TerminalBars(stream, clock=lambda: now[0])
    bars(StageStarted("read"))
    for event in quick:
        now[0] += 2.0
        bars(event)
    bars(StageFinished("read", 200.0))
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert lines[1] == "  read 10 %, 2 s left"
    assert lines[9:] == ["  read 90 %, 2 s left", "read: 3 min 20 s"]


def test_validation_and_other_stages_in_between() -> None:
    validation = ValidationFinished(
        "3d", "0", 0, {"left": 0.9, "right": 0.5}, {}, {}, 0.7, 3.25, 0.91, 0.2, 4, 65.0
    )
    progress: list[Event] = [Progress("validate after epoch 1", i, 4, 9.0) for i in (1, 2, 4)]
    text = drawn(Terminal(), [*steps(1, 10), *progress, validation, *steps(11, 12)])
    assert "validate after epoch 1" in text
    assert (
        "  4 whole cases after epoch 1: Dice left 0.900  right 0.500, HD95 3.2 mm, "
        "surface Dice at 2 mm 0.910 (1 min 05 s)\n" in text
    )


def test_many_structures_are_summed_up() -> None:
    dice: dict[str, float | None] = {f"s{i}": i / 10 for i in range(10)}
    text = drawn(io.StringIO(), [epoch(dice={**dice, "none": None})])
    assert "0.800 over 11 structures (lowest: s0 0.000  s1 0.100  s2 0.200)" in text


def test_braces_in_a_name_are_no_format() -> None:
    text = drawn(Terminal(), [Progress("read", 2, 2, 0.0, "case {x}")])
    assert "case {x}" in text


def test_json_lines_know_no_nan() -> None:
    stream = io.StringIO()
    JsonLines(stream)(IterationFinished(1, math.nan, 0.01, 0.1))
    assert json.loads(stream.getvalue())["loss"] is None


def test_events_of_training_do_not_end_it() -> None:
    stop = StopRequest()
    stop._requested.set()
    report = stop.checking(silent)
    for event in (*steps(1, 1), epoch(), ValidationFinished("3d", "0", 1), Notice("x")):
        report(event)
    with pytest.raises(Cancelled):
        report(Progress("read", 1, 2))

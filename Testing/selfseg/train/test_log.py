from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import FileFormatError, ProjectError
from selfseg.domain.events import (
    EpochFinished,
    Event,
    IterationFinished,
    Notice,
    ValidationFinished,
)
from selfseg.report.content import read_log
from selfseg.train.log import TrainingLog, read_events

ALL_KINDS = (EpochFinished, IterationFinished, Notice, ValidationFinished)


def iteration(number: int) -> IterationFinished:
    return IterationFinished(number, 1 / number, 0.01, 0.5, 4.0, 100.0, 2**30, 250)


def epoch(number: int, **changes: Any) -> EpochFinished:
    values = {"train_loss": 0.5, "validation_loss": 0.6, "pseudo_dice": {"a": 0.5}, **changes}
    return EpochFinished("3d", "0", number, 9, **values)


def test_iterations_are_collected_and_epochs_written_at_once(tmp_path: Path) -> None:
    now = [0.0]
    log = TrainingLog(tmp_path / "log.jsonl", clock=lambda: now[0])
    log.write(iteration(1))
    log.write(iteration(2))
    assert log.path.read_bytes() == b""
    now[0] = 1.5
    log.write(iteration(3))
    assert len(log.path.read_bytes().splitlines()) == 3
    log.write(iteration(4))
    log.write(epoch(0))
    events = read_events(log.path, ALL_KINDS)
    assert [type(event) for event in events] == [IterationFinished] * 4 + [EpochFinished]
    assert events[2] == IterationFinished(3, 0.333333, 0.01, 0.5, 4.0, 100.0, 2**30, 250)


def test_the_position_is_that_of_whole_lines_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    log.write(epoch(0))
    log.write(iteration(1))
    position = log.position
    assert path.stat().st_size == position
    log.write(iteration(2))
    log.write(epoch(1))
    again = TrainingLog(path, position)
    again.write(epoch(1, train_loss=0.25))
    assert [e.train_loss for e in read_log(path)] == [0.5, 0.25]
    assert len(read_events(path, (IterationFinished,))) == 1


def test_a_file_shorter_than_its_checkpoint_says_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    log.write(epoch(0))
    first = log.position
    log.write(epoch(1))
    position = log.position
    path.write_bytes(path.read_bytes()[:-7])
    again = TrainingLog(path, position)
    assert again.position == first
    again.write(epoch(1))
    assert [e.epoch for e in read_log(path)] == [0, 1]


@given(st.data())
def test_a_log_cut_anywhere_is_read_up_to_its_last_whole_line(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        log = TrainingLog(path)
        names = data.draw(st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True))
        ends = []
        for number in range(3):
            log.write(epoch(number, pseudo_dice=dict.fromkeys(names, 0.5)))
            ends.append(log.position)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        # A line that lacks nothing but its end of line says all it has to.
        assert len(read_log(path)) == sum(end - 1 <= cut for end in ends)


def test_names_may_hold_what_other_programs_take_for_line_ends(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    name = "left\u2028 \x85 right\n"
    log.write(epoch(0, pseudo_dice={name: 0.5}))
    assert read_log(log.path)[0].pseudo_dice == {name: 0.5}


def test_losses_that_are_no_numbers_come_back_as_nan(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    log.write(epoch(0, train_loss=math.inf, mean_pseudo_dice=math.nan))
    assert "NaN" not in log.path.read_text()
    event = read_log(log.path)[0]
    assert math.isnan(event.train_loss)
    assert event.mean_pseudo_dice is None


def test_lines_of_other_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    old = {**epoch(0).as_dict(), "field_of_tomorrow": 1}
    del old["memory_bytes"]
    lines = [old, {"event": "something_new", "x": 1}, {"no": "event"}, epoch(1).as_dict()]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert [e.epoch for e in read_log(path)] == [0, 1]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"event":"epoch_finished","epoch":"three"}', '"text"', "\xff"]
)
def test_damage_in_the_middle_is_told_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = json.dumps(epoch(0).as_dict()).encode()
    path.write_bytes(b"\n".join([good, line.encode("latin-1"), good, b""]))
    with pytest.raises(FileFormatError, match="line 2"):
        read_log(path)


def test_a_full_disk_leaves_no_half_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    log.write(epoch(0))
    real = Path.open

    def half(self: Path, mode: str = "r", **options: Any) -> Any:
        if mode == "ab":
            with real(self, mode) as stream:
                stream.write(b'{"event":"epo')
            raise OSError(28, "No space left on device")
        return real(self, mode, **options)

    monkeypatch.setattr(Path, "open", half)
    with pytest.raises(ProjectError, match="No space left"):
        log.write(epoch(1))
    assert log.path.read_bytes().endswith(b"}\n")
    monkeypatch.undo()
    log.flush()
    assert [e.epoch for e in read_log(log.path)] == [0, 1]


def test_leaving_the_block_writes_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"

    def fail() -> None:
        with TrainingLog(path) as log:
            log.write(iteration(1))
            raise ValueError("other")

    with pytest.raises(ValueError, match="other"):
        fail()
    assert len(read_events(path, (IterationFinished,))) == 1


WRITER = """
import sys
from pathlib import Path
from selfseg.domain.events import EpochFinished, IterationFinished
from selfseg.train.log import TrainingLog
log = TrainingLog(Path(sys.argv[1]))
print("ready", flush=True)
for i in range(1, 10_000_000):
    log.write(IterationFinished(i, 0.5, 0.01, 0.1))
    if i % 20 == 0:
        log.write(EpochFinished("3d", "0", i // 20 - 1, 9, 0.5, 0.5))
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of other systems")
def test_what_a_kill_leaves_is_read(tmp_path: Path, project_folder: Path) -> None:
    path = tmp_path / "log.jsonl"
    words = [sys.executable, "-c", WRITER, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(project_folder / "Logic")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
    epochs = read_log(path)
    assert len(epochs) > 10
    assert [e.epoch for e in epochs] == list(range(len(epochs)))
    assert path.read_bytes().endswith(b"\n")


def test_a_line_costs_little(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    began = time.perf_counter()
    for number in range(1, 5001):
        log.write(iteration(number))
    assert time.perf_counter() - began < 5000 * 1e-3  # about 3e-5 on an idle machine
    assert log.position / 5000 < 230
    events: list[Event] = list(read_events(log.path, (EpochFinished,)))
    assert events == []

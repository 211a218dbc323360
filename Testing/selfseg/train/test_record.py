from __future__ import annotations

from pathlib import Path

import pytest

from selfseg.domain.errors import Cancelled
from selfseg.domain.events import EpochFinished, Event, IterationFinished, Notice
from selfseg.report.content import read_log
from selfseg.train.log import read_events
from selfseg.train.record import RunRecord


def epoch(number: int) -> EpochFinished:
    return EpochFinished("3d", "0", number, 3, 0.5, 0.5, {"a": 0.5}, 0.5, 0.5)


def test_everything_is_kept_and_told(tmp_path: Path) -> None:
    events: list[Event] = []
    with RunRecord(tmp_path, title="3d, fold 0", reporter=events.append) as tell:
        for number in range(2):
            tell(IterationFinished(number + 1, 0.5, 0.01, 0.1))
            tell(epoch(number))
        tell(Notice("seen"))
        position = tell.position
        tell(epoch(2))
    assert len(events) == 6
    assert (tmp_path / "progress.png").is_file()
    assert len(read_log(tmp_path / "log.jsonl")) == 3
    assert read_events(tmp_path / "log.jsonl", (Notice,)) == (Notice("seen"),)

    with RunRecord(tmp_path, title="", reporter=events.append, position=position) as tell:
        assert sorted(tell._picture._epochs) == [0, 1]
        assert tell.position == position
        assert tell.closing_seconds > 0


@pytest.mark.parametrize("error", [Cancelled("stop"), ValueError("fault")])
def test_a_stopped_training_gets_its_picture_too(error: Exception, tmp_path: Path) -> None:
    def fail() -> None:
        with RunRecord(tmp_path, title="", reporter=lambda event: None) as tell:
            tell(epoch(0))
            tell(IterationFinished(1, 0.5, 0.01, 0.1))
            raise error

    with pytest.raises(type(error)):
        fail()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "progress.png").is_file() == isinstance(error, Cancelled)


def test_a_damaged_log_does_not_stop_a_training(tmp_path: Path) -> None:
    damaged = b'{"event": 1\n{"event": 2}\n'
    (tmp_path / "log.jsonl").write_bytes(damaged)
    events: list[Event] = []
    with RunRecord(tmp_path, title="", reporter=events.append, position=len(damaged)) as tell:
        tell(epoch(0))
    assert isinstance(events[0], Notice)
    assert "line 1" in events[0].text
    assert (tmp_path / "progress.png").is_file()


def test_tensorboard_is_asked_for_and_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    events: list[Event] = []

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with RunRecord(tmp_path, title="", reporter=events.append, tensorboard=True) as tell:
        tell(epoch(0))
        assert list((tmp_path / "tensorboard").iterdir())
        monkeypatch.setattr(type(tell._board), "__call__", full)
        tell(epoch(1))
        tell(epoch(2))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "No space left" in notices[0]
    assert len(read_log(tmp_path / "log.jsonl")) == 3

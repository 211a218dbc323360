"""The queue on this machine, with processes whose behaviour is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfseg.domain.errors import Cancelled, UsageError
from selfseg.domain.events import Event, StageFinished
from selfseg.launch.events import JobEvent, JobFinished, JobStarted
from selfseg.launch.jobs import Job
from selfseg.launch.local import LocalLauncher, graphics_cards

MakeJob = Callable[..., Job]


def never() -> bool:
    return False


def told(events: list[Event], kind: str) -> dict[str, dict[str, Any]]:
    """What each job told in its event of that kind."""
    return {
        e.job: e.content for e in events if isinstance(e, JobEvent) and e.content["event"] == kind
    }


def overlap(events: list[Event]) -> int:
    """How many jobs ran at the same time, at most."""
    starts = [(c["at"], 1) for c in told(events, "cards").values()]
    ends = [(c["at"], -1) for c in told(events, "cards_back").values()]
    level = most = 0
    for _, step in sorted(starts + ends):
        level += step
        most = max(most, level)
    return most


@pytest.mark.parametrize("slots", [1, 2])
def test_as_many_at_a_time_as_there_are_places(
    tmp_path: Path, program: tuple[str, ...], make_job: MakeJob, slots: int
) -> None:
    events: list[Event] = []
    jobs = [make_job(str(k), "work", "0.4") for k in range(3)]
    results = LocalLauncher(tmp_path / "launch", slots=slots, program=program).submit_all(
        jobs, events.append, never
    )
    assert [r.state for r in results] == ["done"] * 3
    assert overlap(events) == slots
    assert {e.job for e in events if isinstance(e, JobFinished)} == {"0", "1", "2"}
    assert isinstance(events[-1], StageFinished)


def test_places_on_the_processor_share_its_cores(
    tmp_path: Path, program: tuple[str, ...], make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    events: list[Event] = []
    launcher = LocalLauncher(tmp_path / "launch", slots=2, program=program)
    launcher.submit_all([make_job("a")], events.append, never)
    assert told(events, "cards")["a"]["threads"] == "4"


def test_every_card_has_one_job_at_a_time(
    tmp_path: Path, program: tuple[str, ...], make_job: MakeJob
) -> None:
    events: list[Event] = []
    jobs = [make_job(str(k), "work", "0.3") for k in range(4)]
    jobs.append(make_job("pair", "work", "0", gpus=2, needs=("0", "1", "2", "3")))
    jobs.append(make_job("none", gpus=0))
    LocalLauncher(tmp_path / "launch", gpus=("0", "3"), program=program).submit_all(
        jobs, events.append, never
    )
    cards = {job: content["cards"] for job, content in told(events, "cards").items()}
    assert {cards[str(k)] for k in range(4)} == {"0", "3"}
    assert sorted(cards["pair"]) == sorted("0,3")
    assert cards["none"] == ""
    assert overlap(events) <= 2


def test_more_cards_than_there_are_is_refused(tmp_path: Path, make_job: MakeJob) -> None:
    with pytest.raises(UsageError, match="more graphics cards"):
        LocalLauncher(tmp_path, gpus=("0",)).submit_all(
            [make_job("a", gpus=2)], lambda event: None, never
        )


def test_a_failure_stops_only_those_that_need_it(
    tmp_path: Path, program: tuple[str, ...], make_job: MakeJob
) -> None:
    events: list[Event] = []
    jobs = [
        make_job("bad", "fail"),
        make_job("killed", "die"),
        make_job("after", needs=("bad",)),
        make_job("long after", needs=("after",)),
        make_job("good", needs=()),
        make_job("after good", needs=("good",)),
    ]
    results = LocalLauncher(tmp_path / "launch", program=program).submit_all(
        jobs, events.append, never
    )
    by_name = {r.job.name: r for r in results}
    assert [r.job.name for r in results] == [job.name for job in jobs]
    assert by_name["bad"].state == "failed"
    assert by_name["bad"].message.splitlines() == [
        "exit status 1", "Traceback of something", "the cause of it all",
    ]  # fmt: skip
    assert by_name["killed"].state == "failed"
    if os.name != "nt":
        assert "no memory" in by_name["killed"].message
    assert by_name["after"].state == by_name["long after"].state == "skipped"
    assert by_name["after"].message == "it needs bad, which was not done"
    assert by_name["good"].state == by_name["after good"].state == "done"
    started = [e.job for e in events if isinstance(e, JobStarted)]
    assert started.index("good") < started.index("after good")
    assert "after" not in started


def test_a_stop_reaches_every_child_and_waits_until_it_has_saved(
    tmp_path: Path, program: tuple[str, ...], make_job: MakeJob
) -> None:
    events: list[Event] = []
    jobs = [make_job(k, "until-stopped") for k in ("a", "b")]
    jobs += [make_job("waits", needs=("a",)), make_job("no place")]
    results = LocalLauncher(tmp_path / "launch", slots=2, program=program).submit_all(
        jobs, events.append, lambda: len(told(events, "notice")) == 2
    )
    assert [r.state for r in results] == ["stopped"] * 4
    assert all("saved" in r.log.read_text() for r in results[:2])


def test_a_reporter_that_raises_leaves_no_child_behind(
    tmp_path: Path, program: tuple[str, ...], make_job: MakeJob
) -> None:
    def report(event: Event) -> None:
        if isinstance(event, JobEvent):
            raise Cancelled("stopped")

    before = set(psutil.Process().children(recursive=True))  # of other tests
    with pytest.raises(Cancelled):
        LocalLauncher(tmp_path / "launch", program=program).submit_all(
            [make_job("a", "until-stopped")], report, never
        )
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be killed this way on Windows")
def test_children_stop_when_the_launcher_is_killed(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    code = (
        "import sys; from pathlib import Path; from selfseg.launch.local import LocalLauncher\n"
        "from selfseg.launch.jobs import Job\n"
        "launcher = LocalLauncher(Path(sys.argv[1]), program=tuple(sys.argv[2:]))\n"
        "launcher.submit_all([Job('a', ('until-stopped',))], lambda e: None, lambda: False)\n"
    )
    log = tmp_path / "launch" / "a.log"
    words = [sys.executable, "-c", code, str(log.parent), *program]
    with subprocess.Popen(words) as launcher:
        _wait_for(lambda: log.exists() and "begun" in log.read_text())
        launcher.kill()
    _wait_for(lambda: "saved" in log.read_text())


def test_the_cards_that_may_be_used() -> None:
    assert graphics_cards({"CUDA_VISIBLE_DEVICES": "2, 3"}) == ("2", "3")
    assert graphics_cards({"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert graphics_cards({"CUDA_VISIBLE_DEVICES": "-1"}) == ()


def test_a_child_that_does_not_listen_is_ended(tmp_path: Path, program: tuple[str, ...]) -> None:
    from selfseg.launch.child import KILLED, Child

    log = tmp_path / "a.log"
    child = Child(("deaf",), log, program=program)
    _wait_for(lambda: "begun" in log.read_text())
    status = child.end(grace_seconds=0.2)
    assert status == KILLED or os.name == "nt"
    assert not psutil.pid_exists(child.process_id)


def _wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)

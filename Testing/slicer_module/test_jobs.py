"""Child processes: events, errors, cancelling and the end of the whole tree."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from SelfConfiguringSegmentationLib import jobs

from selfseg.domain.errors import Cancelled, SelfsegError
from slicer_module.children import fake_starter

PREDICT = ["predict", "-m", "model"]


def job_of(behaviour: str, **options: Any) -> tuple[jobs.Job, list[dict[str, Any]], list[str]]:
    events: list[dict[str, Any]] = []
    lines: list[str] = []
    job = jobs.Job(
        PREDICT,
        start=fake_starter(behaviour),
        on_event=events.append,
        on_log=lines.append,
        **options,
    )
    return job, events, lines


def poll_until(job: jobs.Job, condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        job.poll()
        time.sleep(0.02)


def alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    # Where nobody adopts orphans, they stay listed after their death (state Z).
    state = Path(f"/proc/{process_id}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def grandchild_of(events: list[dict[str, Any]]) -> int:
    return int(events[1]["text"].split()[1])


def test_a_failure_carries_the_message_of_the_child() -> None:
    job, events, lines = job_of("fail")
    job.wait()
    assert [event["event"] for event in events] == ["stage_started"]
    assert lines[0] == "something harmless"
    with pytest.raises(jobs.JobFailed, match="the model is broken\n  what to do: train it again"):
        job.raise_on_failure()


def test_a_crash_is_named_with_its_exit_code() -> None:
    job, _, _ = job_of("crash")
    job.wait()
    with pytest.raises(jobs.JobFailed, match="exit code 77"):
        job.raise_on_failure()


def test_success_raises_nothing() -> None:
    job, _, _ = job_of("forget")
    job.wait()
    job.raise_on_failure()


def test_cancel_closes_standard_input_and_the_child_stops_by_itself() -> None:
    job, _, lines = job_of("wait", grace_seconds=30.0)
    poll_until(job, lambda: lines)
    assert lines == ["{not json"]
    started = time.monotonic()
    job.cancel()
    job.cancel()
    job.wait()
    assert time.monotonic() - started < 10.0
    with pytest.raises(Cancelled):
        job.raise_on_failure()


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_a_deaf_child_and_its_children_are_ended() -> None:
    job, events, _ = job_of("deaf", grace_seconds=0.3)
    poll_until(job, lambda: len(events) == 2)
    grandchild = grandchild_of(events)
    assert alive(grandchild)
    job.cancel()
    job.wait()
    poll_until(job, lambda: not alive(grandchild))
    with pytest.raises(Cancelled):
        job.raise_on_failure()


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_a_child_left_behind_does_not_keep_the_job_open() -> None:
    job, events, _ = job_of("parent-only", grace_seconds=0.3)
    started = time.monotonic()
    job.wait()
    assert time.monotonic() - started < 20.0
    job.raise_on_failure()
    poll_until(job, lambda: not alive(grandchild_of(events)))


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_end_now_ends_everything_at_once() -> None:
    job, events, _ = job_of("deaf", grace_seconds=30.0)
    poll_until(job, lambda: len(events) == 2)
    job.end_now()
    poll_until(job, lambda: not alive(grandchild_of(events)))
    job.wait()


def test_without_slicers_python_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.shutil, "which", lambda name: None)
    with pytest.raises(SelfsegError, match="PythonSlicer"):
        jobs.slicer_starter()

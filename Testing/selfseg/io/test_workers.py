"""The process pool: order, bounds, errors with names, killed workers, threads."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from selfseg.domain.errors import DatasetError, ImageError, ProjectError, UsageError
from selfseg.domain.events import Event, Progress
from selfseg.io.workers import IN_FLIGHT_PER_WORKER, map_cases, worker_count


def square(number: int) -> int:
    # The first items take longest, so that order is not there by chance.
    time.sleep(0.02 * max(0, 3 - number))
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ImageError(
            "the file is damaged", expected="an image", found="dust", cure="scan again"
        )
    return number


def stumble(number: int) -> int:
    raise ZeroDivisionError("an error nobody foresaw")


def run_out_of_memory(number: int) -> int:
    raise MemoryError


def die_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    return number


def leave_a_trace(path: Path) -> int:
    path.write_text("here")
    return os.getpid()


def thread_settings(number: int) -> tuple[str | None, str | None]:
    return (
        os.environ.get("OMP_NUM_THREADS"),
        os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"),
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_with_progress(workers: int) -> None:
    events: list[Event] = []
    items = list(range(7))
    results = list(map_cases(square, items, workers=workers, stage="s", reporter=events.append))
    assert results == [i * i for i in items]
    progress = [e for e in events if isinstance(e, Progress)]
    assert [(e.stage, e.done, e.total) for e in progress] == [("s", i + 1, 7) for i in items]
    assert progress[-1].eta_seconds == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_keeps_kind_and_cure_and_says_the_case(workers: int) -> None:
    results = map_cases(
        fail_at_three, range(6), workers=workers, stage="s", name=lambda i: f"patient_{i}"
    )
    with pytest.raises(ImageError, match="patient_3") as caught:
        list(results)
    assert caught.value.cure == "scan again"
    assert isinstance(caught.value, DatasetError)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unforeseen_error_is_not_hidden_and_says_the_case(workers: int) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(map_cases(stumble, [4, 5], workers=workers, stage="s", name=lambda i: f"case_{i}"))
    assert any("case_4" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("workers", [1, 2])
def test_too_little_memory_is_said_plainly(workers: int) -> None:
    with pytest.raises(ProjectError, match="not enough memory"):
        list(map_cases(run_out_of_memory, [1, 2], workers=workers, stage="s"))


def test_a_killed_worker_is_a_clear_error() -> None:
    with pytest.raises(ProjectError, match="--workers 1"):
        list(map_cases(die_at_two, range(6), workers=2, stage="s"))


def test_no_more_is_given_out_than_may_wait(tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(20)]
    results = map_cases(leave_a_trace, paths, workers=2, stage="s")
    assert next(results) != os.getpid()
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 2 * IN_FLIGHT_PER_WORKER
    results.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) < 20


def test_one_worker_needs_no_process(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    assert set(map_cases(leave_a_trace, paths, workers=1, stage="s")) == {os.getpid()}


def test_workers_use_one_thread_and_the_parent_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", raising=False)
    results = list(map_cases(thread_settings, range(3), workers=2, stage="s"))
    assert results == [("1", "1")] * 3
    assert thread_settings(0) == ("5", None)


def test_worker_count_respects_wish_memory_and_items() -> None:
    assert worker_count(3, 10, 1e15) == 3
    assert worker_count(3, 2, 1e6) == 2
    assert worker_count(None, 10, 1e15) == 1
    assert worker_count(None, 1, 1e6) == 1
    with pytest.raises(UsageError):
        worker_count(0, 10, 1e6)

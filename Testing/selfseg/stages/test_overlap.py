from __future__ import annotations

import threading
import time

import pytest

from selfseg.stages.overlap import overlapped


def test_everything_is_done_in_order() -> None:
    for ahead in (0, 1, 3):
        done = overlapped(range(7), lambda i: i * 10, lambda i: i + 1, str, ahead=ahead)
        assert list(done) == ["1", "11", "21", "31", "41", "51", "61"]
    assert list(overlapped([], str, str, str)) == []


def test_the_next_is_read_and_the_last_written_while_one_is_worked_on() -> None:
    second_read, first_written = threading.Event(), threading.Event()

    def read(i: int) -> int:
        if i == 1:
            second_read.set()
        return i

    def work(i: int) -> int:
        assert second_read.wait(5)  # item 1 is read while item 0 is worked on
        if i == 1:
            assert first_written.wait(5)
        return i

    def write(i: int) -> int:
        first_written.set()
        return i

    assert list(overlapped(range(3), read, work, write)) == [0, 1, 2]


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_no_more_is_held_than_was_said(ahead: int) -> None:
    lock, held, most = threading.Lock(), 0, 0

    def read(i: int) -> int:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return i

    def write(i: int) -> int:
        nonlocal held
        with lock:
            held -= 1
        return i

    list(overlapped(range(20), read, lambda i: i, write, ahead=ahead))
    assert most <= ahead + 2  # one worked on, one being written


@pytest.mark.parametrize("broken", ["read", "work", "write"])
def test_an_error_ends_it(broken: str) -> None:
    began = []

    def step(name: str):  # type: ignore[no-untyped-def]
        def run(i: int) -> int:
            began.append((name, i))
            if name == broken and i == 2:
                raise ValueError(f"{name} of {i}")
            return i

        return run

    with pytest.raises(ValueError, match=f"{broken} of 2"):
        list(overlapped(range(50), step("read"), step("work"), step("write")))
    assert len(began) < 20


def test_what_is_being_written_is_finished_and_what_was_done_is_told() -> None:
    written: list[int] = []
    told: list[int] = []

    def work(i: int) -> int:
        if i == 2:
            raise ValueError("broken")
        return i

    def write(i: int) -> int:
        time.sleep(0.05)
        written.append(i)
        return i

    with pytest.raises(ValueError, match="broken"):
        told.extend(overlapped(range(9), lambda i: i, work, write))
    assert written == [0, 1]
    assert told == [0]


def test_who_does_not_want_the_rest_gets_no_more() -> None:
    read: list[int] = []
    results = overlapped(range(50), lambda i: read.append(i) or i, lambda i: i, str)
    assert next(results) == "0"
    results.close()
    assert len(read) <= 4
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("read", "write"))]

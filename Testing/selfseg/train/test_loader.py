"""Items made ahead: order, determinism, and every way in which a worker can fail."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfseg.domain.errors import Cancelled, DatasetError, ImageError, TrainingError
from selfseg.train.loader import AHEAD_PER_WORKER, produce

WAYS = [(0, False), (1, False), (3, False), (2, True)]
FEW = [(0, False), (2, False), (1, True)]  # a process takes two seconds to start


@dataclass
class Sample:
    image: torch.Tensor
    labels: np.ndarray[Any, Any]
    transposed: torch.Tensor
    half: torch.Tensor
    nothing: np.ndarray[Any, Any]
    name: str


def make_sample(index: int) -> Sample:
    time.sleep(0.02 * (index % 3))  # so that order is not there by chance
    rng = np.random.Generator(np.random.Philox(key=1, counter=[0, 0, 0, index]))
    image = torch.from_numpy(rng.normal(size=(2, 3, 70, 50)).astype(np.float32))
    return Sample(
        image,
        rng.integers(0, 9, (3, 70, 50)).astype(np.int16),
        image.transpose(1, 3),
        image.to(torch.bfloat16),
        np.zeros((0, 4), np.float32),
        f"sample {index}",
    )


class OddError(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail(index: int) -> int:
    if index >= 3:
        raise ZeroDivisionError(f"no item {index}")
    return index


def fail_oddly(index: int) -> int:
    raise OddError(1, 2)


def fail_clearly(index: int) -> int:
    raise ImageError("the file is damaged", expected="an image", found="dust", cure="scan again")


def run_out_of_memory(index: int) -> int:
    raise MemoryError


def die(index: int) -> int:
    if index == 2:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    return index


def leave(index: int) -> int:
    os._exit(7)


def give_a_lock(index: int) -> Any:
    return threading.Lock() if index == 1 else index


def hang(index: int, seconds: float = 60) -> int:
    time.sleep(seconds)
    return index


def leave_a_trace(index: int, folder: Path) -> int:
    (folder / str(index)).touch()
    return os.getpid()


def threads_of(index: int) -> tuple[int, str | None]:
    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert multiprocessing.active_children() == []
    assert set(threading.enumerate()) <= before


def take_all(stream: Iterator[Any], taken: list[Any]) -> None:
    for item in stream:
        taken.append(item)


def first(make: Callable[[int], Any], number: int, **how: Any) -> list[Any]:
    with closing(produce(make, 0, **how)) as stream:
        return list(islice(stream, number))


@pytest.mark.parametrize(("workers", "processes"), WAYS)
def test_items_are_the_same_in_any_way_and_from_any_start(workers: int, processes: bool) -> None:
    for begin, number in ((0, 7), (4, 3)):
        with closing(produce(make_sample, begin, workers=workers, processes=processes)) as stream:
            for index, found in enumerate(islice(stream, number), begin):
                wanted = make_sample(index)
                assert found.name == wanted.name
                np.testing.assert_array_equal(found.labels, wanted.labels)
                assert found.nothing.shape == (0, 4)
                for one, other in (
                    (found.image, wanted.image),
                    (found.transposed, wanted.transposed),
                    (found.half, wanted.half),
                ):
                    assert one.dtype == other.dtype
                    assert torch.equal(one, other)
                found.image += 1  # what arrives may be changed
                found.labels += 1


@pytest.mark.parametrize(("workers", "processes"), FEW)
def test_an_error_comes_in_its_turn_with_its_traceback(workers: int, processes: bool) -> None:
    taken: list[int] = []
    stream = produce(fail, 0, workers=workers, processes=processes)
    with pytest.raises(TrainingError) as caught:
        take_all(stream, taken)
    assert taken == [0, 1, 2]
    assert "batch 3" in str(caught.value)
    assert "in fail\n    raise ZeroDivisionError" in caught.value.found
    assert caught.value.found.endswith("ZeroDivisionError: no item 3")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(("workers", "processes"), FEW)
def test_an_error_of_ours_keeps_kind_and_cure(workers: int, processes: bool) -> None:
    with pytest.raises(ImageError, match="the file is damaged") as caught:
        first(fail_clearly, 1, workers=workers, processes=processes)
    assert caught.value.cure == "scan again"
    assert isinstance(caught.value, DatasetError)
    if processes:
        assert "in fail_clearly" in caught.value.__notes__[0]


def test_an_error_that_cannot_travel_still_shows_its_traceback() -> None:
    with pytest.raises(TrainingError, match="1 and 2") as caught:
        first(fail_oddly, 1, workers=1, processes=True)
    assert "in fail_oddly" in caught.value.found
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("workers", "processes"), FEW)
def test_too_little_memory_is_said_plainly(workers: int, processes: bool) -> None:
    with pytest.raises(TrainingError, match="not enough memory") as caught:
        first(run_out_of_memory, 1, workers=workers, processes=processes)
    assert "fewer workers" in caught.value.cure


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals on this system")
def test_a_killed_process_is_named_with_signal_and_cure() -> None:
    taken: list[int] = []
    stream = produce(die, 0, workers=2, processes=True)
    with pytest.raises(TrainingError, match="SIGKILL") as caught:
        take_all(stream, taken)
    assert taken == [0, 1]
    assert "batch 2" in caught.value.what
    assert "memory" in caught.value.cure
    assert "fewer workers" in caught.value.cure


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals on this system")
def test_ctrl_c_is_the_parents_business_from_the_first_moment() -> None:
    def interrupt() -> bool:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGINT)
        return False

    with closing(produce(fail, 0, workers=1, processes=True, should_stop=interrupt)) as stream:
        assert next(stream) == 0
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals on this system")
def test_a_process_killed_while_idle_is_noticed() -> None:
    with closing(produce(die, 3, workers=1, processes=True)) as stream:
        assert next(stream) == 3
        (child,) = multiprocessing.active_children()
        os.kill(child.pid or 0, signal.SIGKILL)
        with pytest.raises(TrainingError, match="SIGKILL"):
            list(stream)


def test_a_process_that_leaves_is_named_with_its_code() -> None:
    with pytest.raises(TrainingError, match="exit code 7") as caught:
        first(leave, 1, workers=1, processes=True)
    assert "__main__" in caught.value.cure


def test_what_cannot_be_sent_is_an_error_and_not_a_silence() -> None:
    with pytest.raises(TrainingError, match=r"cannot pickle '_thread\.lock'"):
        first(give_a_lock, 2, workers=1, processes=True)


def test_work_that_cannot_be_sent_starts_nothing() -> None:
    with pytest.raises((AttributeError, TypeError)):
        first(lambda index: threading.Lock(), 1, workers=2, processes=True)


@pytest.mark.parametrize(("workers", "processes"), FEW[1:])
def test_no_more_is_made_than_may_wait(tmp_path: Path, workers: int, processes: bool) -> None:
    make = partial(leave_a_trace, folder=tmp_path)
    with closing(produce(make, 0, workers=workers, processes=processes)) as stream:
        pid = next(stream)
        assert (pid != os.getpid()) == processes
        time.sleep(0.3)
        assert len(list(tmp_path.iterdir())) <= workers * AHEAD_PER_WORKER


def test_nothing_is_made_ahead_without_workers(tmp_path: Path) -> None:
    first(partial(leave_a_trace, folder=tmp_path), 2, workers=0, processes=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_hanging_process_keeps_nobody_from_stopping() -> None:
    began = time.monotonic()
    answers = iter([False, False, True])
    with pytest.raises(Cancelled, match="waiting for batch 0"):
        next(produce(hang, 0, workers=2, processes=True, should_stop=lambda: next(answers)))
    assert time.monotonic() - began < 10


def test_a_hanging_thread_keeps_nobody_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfseg.train.loader.CLOSING_SECONDS", 0.1)
    make = partial(hang, seconds=1)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        next(produce(make, 0, workers=1, processes=False, should_stop=lambda: True))
    assert time.monotonic() - began < 0.9
    time.sleep(1.2)  # for the other tests' sake


@pytest.mark.parametrize("processes", [False, True])
def test_closing_early_ends_everything_at_once(processes: bool) -> None:
    stream = produce(fail, 0, workers=2, processes=processes)
    next(stream)
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 2
    assert multiprocessing.active_children() == []


def test_what_was_never_asked_for_needs_no_closing() -> None:
    produce(fail, 0, workers=2, processes=True).close()


def test_processes_use_one_thread_and_the_parent_keeps_its_own() -> None:
    before = torch.get_num_threads()
    assert first(threads_of, 2, workers=1, processes=True) == [(1, "1")] * 2
    first(threads_of, 2, workers=2, processes=False)
    assert torch.get_num_threads() == before


def test_a_program_that_forgets_to_close_ends_without_complaint(tmp_path: Path) -> None:
    script = tmp_path / "careless.py"
    script.write_text(
        "import time\n"
        "from selfseg.train.loader import produce\n"
        "def make(index):\n"
        "    return index\n"
        "if __name__ == '__main__':\n"
        "    stream = produce(make, 0, workers=1, processes=True)\n"
        "    threads = produce(make, 0, workers=1, processes=False)\n"
        "    print(next(stream), next(threads))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0\n", "")

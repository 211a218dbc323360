"""The one process pool: the same work on many cases, in order, with bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import psutil

from ..domain.errors import ProjectError, SelfsegError, UsageError
from ..domain.events import Progress, Reporter, silent

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 2
"""Items given out per worker: one in work and one waiting, so that no worker idles."""

USABLE_MEMORY = 0.7
"""Share of the free memory that workers may plan with; the rest is for everything else."""

WORKER_BASE_BYTES = 200 * 2**20
"""What a worker holds before it reads a case: the interpreter, NumPy, SciPy, ITK."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "BLOSC_NTHREADS",
)


def worker_count(wanted: int | None, items: int, bytes_per_item: float) -> int:
    """How many processes to use.

    Args:
        wanted: what the user asked for; None chooses one per available core, as far as the
            free memory goes.
        items: how many items there are; more workers than that are never started.
        bytes_per_item: estimated peak memory of working on one item.

    Raises:
        UsageError: fewer than one worker is wanted.
    """
    if wanted is not None:
        if wanted < 1:
            raise UsageError(
                "there is no work without a worker",
                expected="1 process or more",
                found=str(wanted),
                cure="leave --workers out, or give a number from 1 upwards",
            )
        return max(1, min(wanted, items))
    free = psutil.virtual_memory().available * USABLE_MEMORY
    by_memory = int(free / (WORKER_BASE_BYTES + bytes_per_item))
    return max(1, min(_available_cores(), by_memory, items))


def map_cases(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    stage: str,
    name: Callable[[Item], str] = str,
    reporter: Reporter = silent,
) -> Iterator[Result]:
    """Yields `work(item)` for every item, in order, worked on by some processes.

    At most `IN_FLIGHT_PER_WORKER` results per worker are given out and not yet taken, so
    memory stays bounded however slow the caller is. Numerical libraries use one thread per
    worker. With one worker (or one item) the work is done in this process. Closing the
    iterator, an error or Ctrl-C drops what has not begun and waits for what has.

    Args:
        work: picklable (a function of a module, or a `functools.partial` of one).
        items: picklable.
        workers: processes.
        stage: name for the progress events.
        name: what to call an item in errors and events.
        reporter: gets a `Progress` after each item.

    Raises:
        SelfsegError: the first (by order) that `work` raised, with the item's name.
        ProjectError: a worker was killed, or there was not enough memory.
    """
    clock = _Clock(stage, len(items), reporter)
    if workers <= 1 or len(items) <= 1:
        for item in items:
            with _named(name(item)):
                result = work(item)
            clock.tick(name(item))
            yield result
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ProcessPoolExecutor(
        min(workers, len(items)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=begin_worker,
    )
    try:
        todo = deque(items)
        while todo or waiting:
            while todo and len(waiting) < workers * IN_FLIGHT_PER_WORKER:
                item = todo.popleft()
                with _named(name(item)), single_threaded_children():
                    waiting.append((item, pool.submit(work, item)))
            item, future = waiting.popleft()
            with _named(name(item)):
                result = future.result()
            clock.tick(name(item))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Clock:
    """Tells how far the work is and how long the rest will take."""

    def __init__(self, stage: str, total: int, reporter: Reporter) -> None:
        self._stage, self._total, self._reporter = stage, total, reporter
        self._done = 0
        self._start = time.monotonic()

    def tick(self, detail: str) -> None:
        self._done += 1
        seconds = (time.monotonic() - self._start) / self._done
        left = seconds * (self._total - self._done)
        self._reporter(Progress(self._stage, self._done, self._total, left, detail))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts the item's name into every error that leaves the block."""
    try:
        yield
    except SelfsegError as error:
        if name in str(error):
            raise
        raise error.retold(what=f"case {name}: {error.what}") from error
    except BrokenProcessPool as error:
        raise ProjectError(
            f"case {name}, or one worked on at the same time: a worker process was ended from "
            "outside",
            expected="workers that live until their work is done",
            found="one is gone; mostly the system ran out of memory and ended it",
            cure="run again with fewer processes, for example --workers 1; what is done is kept. "
            'In a script of your own, call selfseg under `if __name__ == "__main__":`',
        ) from error
    except MemoryError as error:
        raise ProjectError(
            f"case {name}: there is not enough memory",
            expected="enough for this case and those worked on at the same time",
            found=f"{psutil.virtual_memory().available / 2**30:.1f} GB free",
            cure="close other programs, or run again with fewer processes (--workers 1)",
        ) from error
    except Exception as error:
        error.add_note(f"while working on case {name}")
        raise


@contextmanager
def single_threaded_children() -> Iterator[None]:
    """Lets processes that are started in the block use one thread per numerical library.

    The libraries read these variables while they are loaded, which in a spawned process is
    before any code of ours runs; so the environment they inherit is the place to say it.
    """
    before = {variable: os.environ.get(variable) for variable in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value


def begin_worker() -> None:
    """Called first in a child: it leaves Ctrl-C to its parent, and ends with it."""
    # Ctrl-C reaches the whole group; the parent alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

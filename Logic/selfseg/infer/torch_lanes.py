"""Several passes through a network at the same time, each on a share of the processor's cores."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from ..domain.stopping import Stop, check_stop, never

Job = TypeVar("Job")
Result = TypeVar("Result")

ASK_SECONDS = 0.02
"""Between two looks whether to stop, while the lanes compute."""


@contextmanager
def open_lanes(count: int) -> Iterator[Executor | None]:
    """Threads that share PyTorch's cores; None for a single one, which takes all of them.

    Cores that share every operator wait for each other some hundred times per pass. Measured
    with bfloat16 on two cores, a pass of the hippocampus network: 0.034 s in place of 0.040 s
    on an idle machine; where other programs use the cores too, 0.07 s in place of 0.13 s.
    """
    if count < 2:
        yield None
        return
    cores = torch.get_num_threads()
    started = threading.Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(max(1, cores // count))
        torch.get_num_threads()  # a thread's number is fixed when it is first asked for
        started.wait()

    with ThreadPoolExecutor(count, "lane", initializer=start) as pool:
        for _ in range(count):
            pool.submit(int)
        started.wait()
        torch.set_num_threads(cores)  # what was set above holds for new threads as well
        yield pool


def in_lanes(
    pool: Executor,
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    at_once: int,
    should_stop: Stop = never,
) -> Iterator[Result]:
    """The results in the order of the jobs; no more than `at_once` are begun and not taken.

    Where one fails the others that have begun are waited for, so that their memory is free.

    Raises:
        Cancelled: `should_stop`, asked in this thread while the lanes compute, said so.
    """
    waiting: deque[Future[Result]] = deque()

    def next_result() -> Result:
        future = waiting[0]
        while not wait([future], ASK_SECONDS).done:
            check_stop(should_stop)
        return waiting.popleft().result()

    try:
        for job in jobs:
            if len(waiting) == at_once:
                yield next_result()
            waiting.append(pool.submit(work, job))
        while waiting:
            yield next_result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)

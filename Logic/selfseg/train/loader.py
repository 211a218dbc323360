"""Items, mostly batches, made ahead of their use and handed out in order.

    number n -> thread -> make(n), in the thread or in the process it speaks for -> item n

Threads suffice where an item is mostly reading and array arithmetic, which release Python's
lock. A process has a lock of its own, but takes seconds to start and about 0.3 GB of memory.

batchgenerators' MultiThreadedAugmenter does not serve here: its workers hold the state of the
random numbers, so that it cannot begin with item n or change the number of workers, and of a
worker that fails it says no more than that it is no longer alive.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, wait
from itertools import count
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

import torch

from ..domain.errors import Cancelled, SelfsegError, TrainingError
from .loader_process import MakingFailed, MakingProcess, pickled

Item = TypeVar("Item")
Job = tuple[int, "Future[Item]"]

AHEAD_PER_WORKER = 2
"""Items asked for per worker and not yet taken: one in work and one waiting."""

POLL_SECONDS = 0.1
"""How long a stop may stay unnoticed while an item is waited for."""

CLOSING_SECONDS = 5.0
"""What threads get to finish the item they are making; those that hang are left behind."""


def produce(
    make: Callable[[int], Item],
    first: int,
    *,
    workers: int,
    processes: bool,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Item, None, None]:
    """Yields make(first), make(first + 1), ... without end.

    At most `AHEAD_PER_WORKER` items per worker are made ahead. An error is raised when its
    item's turn comes, so it is the same one for any number of workers. Closing the generator
    ends all threads and processes; close it (`contextlib.closing`) rather than dropping it.

    Args:
        make: a function of the number alone; picklable where processes are used.
        first: number of the first item.
        workers: threads or processes; 0: items are made when they are asked for.
        processes: whether `make` runs in processes, each with one thread per numerical
            library. They are spawned, not forked: torch's threads do not survive a fork.
        should_stop: polled while an item is waited for, so that a worker that hangs keeps
            nobody from stopping.

    Raises:
        SelfsegError: as raised by `make`, with the worker's traceback as a note.
        TrainingError: `make` raised another error, `found` holding its traceback; its item
            cannot be sent; or a process was killed.
        Cancelled: `should_stop` said so.
    """
    if workers == 0:
        for index in count(first):
            yield _made(make, index)
    jobs: SimpleQueue[Job[Item] | None] = SimpleQueue()
    waiting: deque[Job[Item]] = deque()
    threads: list[Thread] = []
    crew: list[MakingProcess[Item]] = []
    try:
        if processes:
            order = pickled(make)
            for _ in range(workers):
                crew.append(MakingProcess(order))
        for number in range(workers):
            maker = crew[number] if processes else make
            threads.append(
                Thread(target=_work, args=(maker, jobs), name=f"batches-{number}", daemon=True)
            )
            threads[-1].start()
        for index in count(first):
            job = (index, Future[Item]())
            waiting.append(job)
            jobs.put(job)
            if len(waiting) == workers * AHEAD_PER_WORKER:
                yield _taken(*waiting.popleft(), should_stop)
    finally:
        for _, future in waiting:
            future.cancel()
        _close(threads, crew, jobs)


def _work(make: Callable[[int], Item], jobs: SimpleQueue[Job[Item] | None]) -> None:
    """A thread's life."""
    if not isinstance(make, MakingProcess):
        # Else every thread would start as many helpers of its own as there are cores.
        torch.set_num_threads(1)
    while (job := jobs.get()) is not None:
        index, future = job
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(_made(make, index))
        except BaseException as error:
            future.set_exception(error)
        del job, future  # the item belongs to whoever takes it


def _taken(index: int, future: Future[Item], should_stop: Callable[[], bool]) -> Item:
    while not wait([future], POLL_SECONDS).done:
        if should_stop():
            raise Cancelled(
                f"stopped while waiting for batch {index}",
                cure="run the same command again, and it goes on from there",
            )
    return future.result()


def _made(make: Callable[[int], Item], index: int) -> Item:
    """The item, or an error that says what happened where."""
    try:
        return make(index)
    except SelfsegError:
        raise
    except MakingFailed as failed:
        if isinstance(failed.original, SelfsegError):
            failed.original.add_note(failed.text)
            raise failed.original from None
        raise _explained(index, failed.original, failed.text) from failed.original
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        raise _explained(index, error, text) from error


def _explained(index: int, error: BaseException | None, text: str) -> TrainingError:
    if isinstance(error, MemoryError):
        return TrainingError(
            f"there is not enough memory to make batch {index}",
            expected="room for the batches that are made ahead",
            found=text.rstrip(),
            cure="close other programs, or train with fewer workers; the same command goes on "
            "from the last checkpoint",
        )
    return TrainingError(
        f"batch {index} cannot be made",
        expected="patches read and changed without an error",
        found=text.rstrip(),
        cure="run `selfseg check` on the data set; if that is clean, report this traceback. "
        "The same command goes on from the last checkpoint",
    )


def _close(
    threads: Sequence[Thread],
    crew: Sequence[MakingProcess[Item]],
    jobs: SimpleQueue[Job[Item] | None],
) -> None:
    """Ends everything: processes at once, threads after the item in work."""
    for _ in threads:
        jobs.put(None)
    for process in crew:
        process.terminate()
    for process in crew:
        process.end()
    deadline = time.monotonic() + CLOSING_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for process in crew:
        process.close()

"""What waits to be computed, one after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ..domain.errors import UsageError
from .messages import Work


class QueuedJob:
    """A request that was accepted, and whether it was cancelled since."""

    def __init__(self, request: Work) -> None:
        self.request = request
        self.cancelled = threading.Event()


class JobQueue:
    """A bounded queue between the thread that reads requests and the one that computes.

    Args:
        length: requests that may wait, the one being computed not counted.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._waiting: deque[QueuedJob] = deque()
        self._computing: QueuedJob | None = None
        self._closed = False
        self._changed = threading.Condition()

    def add(self, request: Work, on_accepted: Callable[[int], None]) -> None:
        """Queues a request; `on_accepted` is told how many are ahead before it can begin.

        Raises:
            UsageError: there is one of this id, the queue is full, or it is closed.
        """
        with self._changed:
            if self._closed:
                raise UsageError("the worker is ending", cure="start another one")
            if request.id in self._ids():
                raise UsageError(
                    "there is a request of this id already",
                    expected="an id of its own",
                    found=request.id,
                    cure="wait for the answer, or choose another id",
                )
            if len(self._waiting) >= self._length:
                raise UsageError(
                    "the queue is full",
                    expected=f"at most {self._length} waiting requests",
                    found=f"{len(self._waiting)}",
                    cure="ask again when one has been answered, or start with a longer --queue",
                )
            on_accepted(len(self._ids()))
            self._waiting.append(QueuedJob(request))
            self._changed.notify_all()

    def take(self, timeout: float) -> QueuedJob | None:
        """The next job, which is then being computed; None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            if not self._waiting:
                return None
            self._computing = self._waiting.popleft()
            return self._computing

    def finish(self) -> None:
        """The job that was taken is answered, and its id is free again."""
        with self._changed:
            self._computing = None

    def cancel(self, identifier: str) -> QueuedJob | None:
        """Marks a job as cancelled.

        Returns:
            The job where it was still waiting: nobody will take it now.

        Raises:
            UsageError: there is no job of this id.
        """
        with self._changed:
            for job in (*self._waiting, self._computing):
                if job is not None and job.request.id == identifier:
                    job.cancelled.set()
                    if job is self._computing:
                        return None
                    self._waiting.remove(job)
                    return job
        raise UsageError(
            "there is nothing to cancel",
            expected="a request that waits or is being computed",
            found=identifier,
            cure="it may have been answered in the meantime",
        )

    def close(self) -> tuple[QueuedJob, ...]:
        """Takes no more, cancels what is being computed, and gives back what waited."""
        with self._changed:
            self._closed = True
            left = tuple(self._waiting)
            self._waiting.clear()
            if self._computing is not None:
                self._computing.cancelled.set()
            self._changed.notify_all()
            return left

    def snapshot(self) -> tuple[str | None, tuple[str, ...]]:
        """The ids of what is being computed and of what waits."""
        with self._changed:
            computing = None if self._computing is None else self._computing.request.id
            return computing, tuple(job.request.id for job in self._waiting)

    def _ids(self) -> set[str]:
        jobs = (*self._waiting, self._computing)
        return {job.request.id for job in jobs if job is not None}

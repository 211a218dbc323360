"""The worker: reads requests in one thread, computes in another, one request at a time."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Protocol

import psutil

from .. import __version__
from ..domain.errors import Cancelled, SelfsegError, UsageError
from ..domain.events import Event, Notice, Progress, Reporter
from . import messages
from .job_queue import JobQueue, QueuedJob
from .messages import (
    NO_ID,
    PROTOCOL,
    Answer,
    Failed,
    KeptModel,
    ModelKey,
    Refused,
    Request,
    Segment,
    Work,
)
from .segmentation import WorkResult
from .wire import MAX_LINE_BYTES, REQUESTS, Unreadable, read_line, shortened

PROGRESS_SECONDS = 0.1
"""Progress is told no more often than this; the last of a stage always."""

_POLL_SECONDS = 0.25
_END_SECONDS = 10.0
"""What is being computed may take so long to stop once nobody is there to hear of it."""


class Computing(Protocol):
    """What the worker computes with; `segmentation.Segmenter`, others in tests."""

    def warm_up(self) -> None:
        """Makes the first request as fast as the others."""
        ...

    def load(
        self, key: ModelKey, reporter: Reporter, should_stop: Callable[[], bool]
    ) -> WorkResult:
        """Reads a model."""
        ...

    def segment(
        self, request: Segment, reporter: Reporter, should_stop: Callable[[], bool]
    ) -> WorkResult:
        """Segments a case."""
        ...

    def unload(self, source: str | None = None) -> int:
        """Forgets models; says how many."""
        ...

    def kept(self) -> tuple[KeptModel, ...]:
        """The models in memory; called from another thread."""
        ...


class Worker:
    """Answers requests until its input ends, a `Shutdown` comes or `should_end` says so.

    Args:
        send: takes answers, from both threads.
        computing: does the work, in the thread that calls `run`.
        queue_length: requests that may wait.
        unload_after: seconds without a request after which models are forgotten; None: never.
        should_end: polled.
        abandon: called when the input has ended and what is being computed does not stop.
        instance: see `messages.Welcome`.
        clock: seconds.
    """

    def __init__(
        self,
        send: Callable[[Answer], None],
        computing: Computing,
        *,
        queue_length: int = 16,
        unload_after: float | None = None,
        should_end: Callable[[], bool] = lambda: False,
        abandon: Callable[[], None] = lambda: None,
        instance: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._computing = computing
        self._queue = JobQueue(queue_length)
        self._unload_after = unload_after
        self._should_end = should_end
        self._abandon = abandon
        self._clock = clock
        self._started = clock()
        self._ended = threading.Event()
        self._greeted = False
        self.instance = instance or secrets.token_hex(8)

    def run(self, lines: Iterable[bytes | None]) -> None:
        """Works; `lines` are read in a thread of their own, None stands for one too long."""
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        try:
            self._computing.warm_up()
        except ImportError:
            # Every request will say so; `status` and `shutdown` still work.
            traceback.print_exc()
        last = self._clock()
        while not self._ended.is_set():
            if self._should_end():
                self.end()
                break
            job = self._queue.take(_POLL_SECONDS)
            if job is not None:
                try:
                    self._do(job)
                finally:
                    self._queue.finish()
                last = self._clock()
            elif self._unload_after is not None and self._clock() - last >= self._unload_after:
                if self._computing.kept():
                    self._computing.unload()
                last = self._clock()

    def end(self) -> None:
        """Cancels everything; `run` returns as soon as the computation has stopped."""
        for job in self._queue.close():
            self._send(messages.CancelledMessage(job.request.id))
        self._ended.set()

    def _read(self, lines: Iterable[bytes | None]) -> None:
        for line in lines:
            if line is None:
                self._refuse(NO_ID, _too_long())
                continue
            try:
                request = read_line(line, REQUESTS)
            except Unreadable as error:
                self._refuse(error.id, error)
                continue
            try:
                self._take(request)
            except UsageError as error:
                self._refuse(request.id, error)
            if self._ended.is_set():
                break
        # Nobody listens any more: no end of a pipe is an accident.
        self.end()
        time.sleep(_END_SECONDS)
        self._abandon()

    def _take(self, request: Request) -> None:
        if isinstance(request, messages.Hello):
            self._greet(request)
        elif not self._greeted:
            raise UsageError(
                "the first request must be hello",
                expected=f'{{"kind": "hello", "id": "1", "protocol": {PROTOCOL}}}',
                found=type(request).__name__.lower(),
                cure="say hello first",
            )
        elif isinstance(request, Work):
            self._queue.add(request, lambda ahead: self._send(messages.Accepted(request.id, ahead)))
        elif isinstance(request, messages.Cancel):
            job = self._queue.cancel(request.id)
            if job is not None:
                self._send(messages.CancelledMessage(job.request.id))
        elif isinstance(request, messages.Status):
            self._send(self._status(request.id))
        else:
            self.end()

    def _greet(self, hello: messages.Hello) -> None:
        if hello.protocol != PROTOCOL:
            raise UsageError(
                "the client speaks another protocol",
                expected=f"protocol {PROTOCOL}",
                found=f"protocol {hello.protocol}",
                cure="use client and worker of the same version of selfseg",
            )
        self._greeted = True
        self._send(messages.Welcome(hello.id, PROTOCOL, __version__, os.getpid(), self.instance))

    def _status(self, identifier: str) -> messages.StatusReport:
        computing, waiting = self._queue.snapshot()
        memory = int(psutil.Process().memory_info().rss)
        uptime = self._clock() - self._started
        models = self._computing.kept()
        return messages.StatusReport(identifier, computing, waiting, models, memory, uptime)

    def _refuse(self, identifier: str, error: SelfsegError) -> None:
        self._send(
            Refused(
                identifier,
                shortened(error.what),
                shortened(error.expected),
                shortened(error.found),
                error.cure,
            )
        )

    def _do(self, job: QueuedJob) -> None:
        """Computes one request and answers it, whatever happens."""
        request, began = job.request, self._clock()
        limit = getattr(request, "timeout_seconds", None)

        def late() -> bool:
            return limit is not None and self._clock() - began > limit

        def should_stop() -> bool:
            return job.cancelled.is_set() or late() or self._should_end()

        self._send(messages.Started(request.id))
        reporter = _Throttled(request.id, self._send, self._clock)
        try:
            result = self._compute(request, reporter, should_stop)
        except Cancelled:
            stopped = job.cancelled.is_set() or self._should_end()
            self._send(
                _failure(request.id, _out_of_time(limit or 0.0))
                if late() and not stopped
                else messages.CancelledMessage(request.id)
            )
        except SelfsegError as error:
            self._send(_failure(request.id, error))
        except MemoryError:
            self._computing.unload()
            self._send(_failure(request.id, _out_of_memory()))
        except Exception as error:  # one request must not take the others down
            traceback.print_exc()
            self._send(_failure(request.id, _fault(error)))
        else:
            self._send(
                messages.Finished(
                    request.id,
                    self._clock() - began,
                    result.paths,
                    result.provenance,
                    result.confidence,
                    result.predicting_after,
                    result.quality,
                )
            )
        sys.stderr.flush()

    def _compute(
        self, request: Work, reporter: Reporter, should_stop: Callable[[], bool]
    ) -> WorkResult:
        if isinstance(request, Segment):
            return self._computing.segment(request, reporter, should_stop)
        if isinstance(request, messages.Load):
            return self._computing.load(request.model, reporter, should_stop)
        source = request.source if isinstance(request, messages.Unload) else None
        count = self._computing.unload(source)
        reporter(Notice(f"models forgotten: {count}"))
        return WorkResult()


class _Throttled:
    """A reporter that sends events, of progress no more than a reader wants."""

    def __init__(
        self, identifier: str, send: Callable[[Answer], None], clock: Callable[[], float]
    ) -> None:
        self._identifier = identifier
        self._send = send
        self._clock = clock
        self._last = -PROGRESS_SECONDS

    def __call__(self, event: Event) -> None:
        now = self._clock()
        if isinstance(event, Progress) and event.done < event.total:
            if now - self._last < PROGRESS_SECONDS:
                return
            self._last = now
        self._send(messages.ProgressMessage(self._identifier, event.as_dict()))


def _failure(identifier: str, error: SelfsegError) -> Failed:
    return Failed(
        identifier,
        type(error).__name__,
        shortened(error.what),
        shortened(error.expected),
        shortened(error.found),
        shortened(error.cure),
        None if error.path is None else str(error.path),
    )


def _too_long() -> UsageError:
    return UsageError(
        "the line is too long",
        expected=f"at most {MAX_LINE_BYTES} bytes",
        found="more",
        cure="give voxels as files, never in the request",
    )


def _out_of_time(seconds: float) -> SelfsegError:
    return SelfsegError(
        "the request took longer than it may",
        expected=f"an end after {seconds:g} s at most",
        found="more work to do",
        cure="give it more time, or switch mirroring off",
    )


def _out_of_memory() -> SelfsegError:
    return SelfsegError(
        "the machine has no memory left",
        expected="room for the image and the network's output",
        found="none",
        cure="give a memory budget, close other programs, or use a graphics card",
    )


def _fault(error: Exception) -> SelfsegError:
    return SelfsegError(
        "an unexpected fault",
        expected="a segmentation",
        found=f"{type(error).__name__}: {error}",
        cure="this is a fault of selfseg, or its installation is damaged; the log of the "
        "worker says where it happened",
    )

"""The client of a warm worker: starts it, asks it, and starts it again when it has died.

Needs the standard library and `selfseg.domain` alone, and no event loop: call `poll` from a
timer. All methods are for one thread. None of them waits, but `wait` and `close`, which a user
interface leaves alone: it has `poll` and `end_now`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from ..domain.errors import SelfsegError
from ..domain.geometry import VoxelRanges
from . import messages
from .child_process import ChildProcess
from .endings import Ending, no_start, removal, settled
from .messages import Answer, Grid, ModelKey, Request, Work
from .restarts import Patience, Restarts, status_in_words
from .tasks import WorkerFailed, WorkerTask
from .wire import ANSWERS, FINAL, Unreadable, read_line, write_line

IN_FLIGHT = 2
"""Work that is sent ahead: one is computed, one waits. The rest is lost to no crash."""

AT_ONCE = 200
"""Answers and lines of the log that one `poll` takes at most: it must not hold up its caller."""

_HELLO = "hello"


def worker_command(python: str, *options: str) -> list[str]:
    """The command that starts a worker; options as `selfseg serve --help` names them."""
    return [python, "-u", "-m", "selfseg", "serve", "--stdio", *options]


class WorkerClient:
    """A worker of our own.

    It is started by the first request, and again after a crash. What it was computing then has
    failed; what waited is asked once more. A request that outlives two workers has failed too.

    Args:
        command: see `worker_command`.
        environment: of the worker; ours otherwise.
        on_log: takes lines of its standard error, within `poll`.
        patience: how long to wait for what.
        clock: seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        on_log: Callable[[str], None] = lambda line: None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._environment = environment
        self._on_log = on_log
        self._patience = patience or Patience()
        self._clock = clock
        self._numbers = itertools.count(1)
        self._open: dict[str, WorkerTask] = {}
        self._child: ChildProcess | None = None
        self._ending: Ending | None = None
        self._welcome: messages.Welcome | None = None
        self._started_at = 0.0
        self._restarts = Restarts(self._patience, clock)
        self._closed = False

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def process_id(self) -> int | None:
        """Of the worker, None where none runs yet."""
        return None if self._child is None else self._child.process_id

    def start(self) -> None:
        """Starts the worker ahead of the first request."""
        if self._child is None and not self._closed:
            self._start()

    def load(
        self, model: ModelKey, *, timeout_seconds: float | None = None, **on: Any
    ) -> WorkerTask:
        """Reads a model ahead of the first segmentation; `on` as in `submit`."""
        return self.submit(messages.Load(self._new_id(), model, timeout_seconds), **on)

    def segment(
        self,
        model: ModelKey,
        images: Sequence[str | os.PathLike[str]],
        output: str | os.PathLike[str],
        *,
        grid: Grid | None = None,
        mirror: bool = True,
        step: float = 0.5,
        structures: Sequence[str] = (),
        region: bool = False,
        confidence: bool = False,
        memory_bytes: int | None = None,
        timeout_seconds: float | None = None,
        limit: VoxelRanges | None = None,
        **on: Any,
    ) -> WorkerTask:
        """Segments one case; see `messages.Segment`, and `submit` for `on`."""
        request = messages.Segment(
            self._new_id(),
            model,
            tuple(os.path.abspath(image) for image in images),
            os.path.abspath(output),
            grid,
            mirror,
            step,
            tuple(structures),
            region,
            confidence,
            memory_bytes,
            timeout_seconds,
            limit,
        )
        return self.submit(request, **on)

    def status(self, **on: Any) -> WorkerTask:
        """Asks what the worker does and holds; its answer is a `StatusReport`."""
        return self.submit(messages.Status(self._new_id()), **on)

    def unload(self, source: str | None = None, **on: Any) -> WorkerTask:
        """Makes the worker forget a model, or all."""
        return self.submit(messages.Unload(self._new_id(), source), **on)

    def submit(
        self,
        request: Request,
        *,
        on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
        on_done: Callable[[WorkerTask], None] = lambda task: None,
    ) -> WorkerTask:
        """Asks; `poll` does the rest.

        Args:
            request: with an id of its own.
            on_event: see `WorkerTask`.
            on_done: see `WorkerTask`.

        Raises:
            WorkerFailed: the client was closed, or there is an open request of this id.
        """
        if self._closed or request.id in self._open:
            raise WorkerFailed(
                "the client takes no such request",
                expected="an open client, and an id of its own",
                found="a closed client" if self._closed else request.id,
                cure="this is a fault of the calling code",
            )
        task = WorkerTask(request, on_event, on_done)
        self._open[task.id] = task
        return task

    def cancel(self, task: WorkerTask) -> None:
        """Stops a task; go on polling until it is `done`."""
        if task.done or task.cancelled_at is not None:
            return
        task.cancelled_at = self._clock()
        if not task.sent:
            self._finish(task, messages.CancelledMessage(task.id))
        elif self._child is not None:
            self._child.send(write_line(messages.Cancel(task.id)))

    def poll(self) -> bool:
        """Does what there is to do, without waiting.

        Callbacks are called from here, and their exceptions leave from here.

        Returns:
            True where every request is answered.
        """
        if self._child is not None:
            self._listen(self._child)
        wanted = self._open and self._child is None and not self._closed
        if wanted and self._restarts.allowed:
            self._start()
        self._send_waiting()
        return not self._open

    def wait(
        self,
        *tasks: WorkerTask,
        while_waiting: Callable[[], None] = lambda: None,
        interval: float = 0.01,
    ) -> None:
        """Polls until these tasks, or without any all of them, are done."""
        while not (all(task.done for task in tasks) if tasks else self.poll()):
            self.poll()
            while_waiting()
            time.sleep(interval)

    def close(self) -> None:
        """Ends the worker, by force where it takes too long. Open requests are cancelled."""
        child = self._child
        if child is not None and self._ending is None:
            child.send(write_line(messages.Shutdown("shutdown")))
            child.close_input()
            child.wait(self._patience.close)
        self.end_now()
        if child is not None:
            child.wait_until_gone(self._patience.grace)
            self._tell_log(child)

    def end_now(self) -> None:
        """Ends the worker and all it has started by force, without waiting for it.

        Open requests are cancelled. What is unfinished of their outputs is removed once the
        worker is dead, in the background.
        """
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.end_now(self._removal())
        for task in tuple(self._open.values()):
            self._finish(task, messages.CancelledMessage(task.id))

    def _new_id(self) -> str:
        return f"r{next(self._numbers)}"

    def _start(self) -> None:
        self._welcome = None
        self._started_at = self._clock()
        self._ending = None
        self._child = ChildProcess(self._command, self._environment)
        self._child.send(write_line(messages.Hello(_HELLO)))

    def _listen(self, child: ChildProcess) -> None:
        if child.start_error is not None:
            self._child = None
            self._fail_all(no_start(self._command[0], child.start_error))
            return
        if self._ending is not None:
            if child.gone:
                self._has_ended(child, self._ending)
            return
        ended = child.exit_status() is not None
        self._tell_log(child, AT_ONCE)
        self._hear(child, AT_ONCE)
        if self._child is not child or self._ending is not None:
            return
        if ended:
            # What is left of its tree may hold the pipes open: the rest comes after its end.
            self._end(child, Ending())
        else:
            self._end_the_deaf(child)

    def _hear(self, child: ChildProcess, most: int | None = None) -> None:
        """Takes what the worker has said, unless that makes us end it."""
        taken = 0
        before = self._ending
        while self._child is child and self._ending is before and taken != most:
            line = child.receive()
            if line is None:
                return
            self._take(child, line)
            taken += 1

    def _end(self, child: ChildProcess, why: Ending) -> None:
        """Ends a worker by force; `_has_ended` follows when it is gone."""
        self._ending = why
        child.end_now(self._removal())

    def _take(self, child: ChildProcess, line: bytes) -> None:
        try:
            answer = read_line(line, ANSWERS)
        except Unreadable as error:
            if self._welcome is None:  # a launcher may print before Python starts
                self._on_log(line.decode("utf-8", "replace"))
                return
            self._end(child, Ending(f"an answer that is none: {error.found}"))
            return
        if isinstance(answer, messages.Welcome):
            self._welcome = answer
            return
        if answer.id == _HELLO:
            refusal = WorkerTask(messages.Hello(_HELLO))
            refusal.take(answer)
            final = refusal.error or WorkerFailed("the worker refuses", cure="read its log")
            self._end(child, Ending(final=final, found="a refusal"))
            return
        task = self._open.get(answer.id)
        if task is None:
            if isinstance(answer, messages.Refused):  # most often a cancel that came too late
                self._on_log(f"{answer.what}: {answer.found}")
        elif isinstance(answer, messages.Started):
            task.computing_since = self._clock()
        elif isinstance(answer, messages.ProgressMessage):
            task.on_event(answer.event)
        elif isinstance(answer, FINAL):
            if isinstance(answer, messages.Refused) and task.cancelled_at is not None:
                return  # the cancel met a request that is being answered at this moment
            if isinstance(answer, messages.Finished):
                self._restarts.success()
            self._finish(task, answer)

    def _finish(self, task: WorkerTask, answer: Answer) -> None:
        self._open.pop(task.id, None)
        task.take(answer)
        task.on_done(task)

    def _fail(self, task: WorkerTask, error: SelfsegError) -> None:
        self._open.pop(task.id, None)
        task.error = error
        task.on_done(task)

    def _fail_all(self, error: SelfsegError) -> None:
        for task in tuple(self._open.values()):
            self._fail(task, error)

    def _send_waiting(self) -> None:
        if self._child is None or self._welcome is None or self._ending is not None:
            return
        flying = sum(t.sent and isinstance(t.request, Work) for t in self._open.values())
        for task in tuple(self._open.values()):
            if task.sent or task.done:
                continue
            if isinstance(task.request, Work):
                if flying >= IN_FLIGHT:
                    continue
                flying += 1
            task.sent = True
            self._child.send(write_line(task.request))

    def _end_the_deaf(self, child: ChildProcess) -> None:
        """Ends a worker that does not start, does not stop, or takes too long."""
        now, grace = self._clock(), self._patience.grace
        if self._welcome is None:
            if now - self._started_at > self._patience.start:
                self._end(child, Ending(f"no answer after {self._patience.start:g} s"))
            return
        for task in tuple(self._open.values()):
            asked = task.cancelled_at
            if asked is not None and task.sent and now - asked > grace:
                self._end(child, Ending("a request that does not stop", guilty=False))
                return
            limit = getattr(task.request, "timeout_seconds", None)
            since = task.computing_since
            if limit is not None and since is not None and now - since > limit + grace:
                self._end(child, Ending(f"no end after {limit:g} s"))
                return

    def _has_ended(self, child: ChildProcess, why: Ending) -> None:
        """Settles what was on its way with a worker that is gone, and allows the next start."""
        if why.found is None:
            self._hear(child)
            why = self._ending or why  # what it has said last may have been no answer
        self._tell_log(child)
        self._child = None
        if why.final is not None:
            self._fail_all(why.final)
            return
        found = why.found or status_in_words(child.exit_status())
        tail = "\n".join(child.last_errors)
        error = WorkerFailed(
            "the worker ended unexpectedly",
            expected="an answer",
            found=f"{found}\n{tail}" if tail else found,
            cure="read its log; a worker that was killed has most often run out of memory",
        )
        if why.guilty:
            self._restarts.crash()
        welcome, self._welcome = self._welcome is not None, None
        ended = settled(self._open.values(), error, guilty=why.guilty, welcome=welcome)
        for task, reason in ended:
            self._fail(task, reason)

    def _removal(self) -> Callable[[], None]:
        instance = None if self._welcome is None else self._welcome.instance
        return removal(self._open.values(), instance)

    def _tell_log(self, child: ChildProcess, most: int | None = None) -> None:
        for line in child.logged_lines(most):
            self._on_log(line)

"""The client of a warm worker: starts it, asks it, and starts it again when it has died.

Needs the standard library and `selfseg.domain` alone, and no event loop: call `poll` from a
timer. All methods are for one thread.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from ..domain.errors import Cancelled, SelfsegError
from . import messages
from .child_process import ChildProcess
from .messages import Answer, Grid, ModelKey, Request, Work
from .restarts import Patience, Restarts, status_in_words
from .tasks import WorkerFailed, WorkerTask
from .wire import ANSWERS, FINAL, Unreadable, read_line, write_line

IN_FLIGHT = 2
"""Work that is sent ahead: one is computed, one waits. The rest is lost to no crash."""

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
        """Of the worker, None where none runs."""
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
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            child.send(write_line(messages.Shutdown("shutdown")))
            child.close_input()
            child.wait(self._patience.close)
            child.end_tree()
            self._tell_log(child)
            self._remove_unfinished()
        for task in tuple(self._open.values()):
            self._finish(task, messages.CancelledMessage(task.id))

    def _new_id(self) -> str:
        return f"r{next(self._numbers)}"

    def _start(self) -> None:
        self._welcome = None
        self._started_at = self._clock()
        try:
            self._child = ChildProcess(self._command, self._environment)
        except OSError as error:
            self._fail_all(
                WorkerFailed(
                    "the worker cannot be started",
                    expected="a Python that has selfseg installed",
                    found=f"{self._command[0]}: {error.strerror or error}",
                    cure="check the path of Python",
                )
            )
            return
        self._child.send(write_line(messages.Hello(_HELLO)))

    def _listen(self, child: ChildProcess) -> None:
        said_all = child.has_said_all()
        self._tell_log(child)
        while self._child is child and (line := child.receive()) is not None:
            self._take(child, line)
        if self._child is not child:
            return
        if said_all or child.exit_status() is not None:
            # What is left of its tree may hold the pipes open: the rest comes after its end.
            child.end_tree()
            self._tell_log(child)
            while self._child is child and (line := child.receive()) is not None:
                self._take(child, line)
            if self._child is child:
                self._has_died(child, status_in_words(child.exit_status()))
            return
        self._end_the_deaf(child)

    def _take(self, child: ChildProcess, line: bytes) -> None:
        try:
            answer = read_line(line, ANSWERS)
        except Unreadable as error:
            if self._welcome is None:  # a launcher may print before Python starts
                self._on_log(line.decode("utf-8", "replace"))
                return
            child.end_tree()
            self._has_died(child, f"an answer that is none: {error.found}")
            return
        if isinstance(answer, messages.Welcome):
            self._welcome = answer
            return
        if answer.id == _HELLO:
            refusal = WorkerTask(messages.Hello(_HELLO))
            refusal.take(answer)
            child.end_tree()
            self._child = None
            self._fail_all(refusal.error or WorkerFailed("the worker does not answer"))
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
        if self._child is None or self._welcome is None:
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
                child.end_tree()
                self._has_died(child, f"no answer after {self._patience.start:g} s")
            return
        for task in tuple(self._open.values()):
            asked = task.cancelled_at
            if asked is not None and task.sent and now - asked > grace:
                child.end_tree()
                self._has_died(child, "a request that does not stop", guilty=False)
                return
            limit = getattr(task.request, "timeout_seconds", None)
            since = task.computing_since
            if limit is not None and since is not None and now - since > limit + grace:
                child.end_tree()
                self._has_died(child, f"no end after {limit:g} s")
                return

    def _has_died(self, child: ChildProcess, found: str, *, guilty: bool = True) -> None:
        """Settles what was on its way, and allows the next start.

        Args:
            child: the worker; its tree is at an end.
            found: what was seen of its end.
            guilty: False where we ended a healthy worker: what waited is then asked again
                however often.
        """
        self._tell_log(child)
        self._child = None
        self._remove_unfinished()
        tail = "\n".join(child.last_errors)
        error = WorkerFailed(
            "the worker ended unexpectedly",
            expected="an answer",
            found=f"{found}\n{tail}" if tail else found,
            cure="read its log; a worker that was killed has most often run out of memory",
        )
        if guilty:
            self._restarts.crash()
        never_welcome, self._welcome = self._welcome is None, None
        ended: list[tuple[WorkerTask, SelfsegError]] = []
        for task in self._open.values():
            if task.cancelled_at is not None:
                ended.append((task, Cancelled("stopped as you asked")))
            elif guilty and task.computing_since is not None:
                ended.append((task, error))
            elif guilty and (task.sent or never_welcome):
                task.restarts += 1
                if task.restarts > 1:
                    ended.append((task, error))
            task.sent, task.computing_since = False, None
        for task, reason in ended:
            self._fail(task, reason)

    def _remove_unfinished(self) -> None:
        """Removes what a worker that was ended by force has left of its outputs."""
        if self._welcome is None:
            return
        for task in self._open.values():
            if task.sent and isinstance(task.request, messages.Segment):
                folder = os.path.dirname(task.request.output)
                prefix = f".part-{self._welcome.instance}-"
                try:
                    names = [name for name in os.listdir(folder) if name.startswith(prefix)]
                except OSError:
                    continue
                for name in names:
                    shutil.rmtree(os.path.join(folder, name), ignore_errors=True)

    def _tell_log(self, child: ChildProcess) -> None:
        for line in child.logged_lines():
            self._on_log(line)

"""What is left to do when a worker has come to its end, or is being brought to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..domain.errors import Cancelled, SelfsegError
from .messages import Segment
from .tasks import WorkerFailed, WorkerTask


@dataclass(frozen=True)
class Ending:
    """Why a worker is being ended.

    Args:
        found: what was seen of it; None where it has ended by itself, and what it has said still
            counts.
        guilty: False where we end a healthy worker: what waited is then asked again however often.
        final: fails every request; no further worker would do better.
    """

    found: str | None = None
    guilty: bool = True
    final: SelfsegError | None = None


def settled(
    tasks: Iterable[WorkerTask], error: SelfsegError, *, guilty: bool, welcome: bool
) -> list[tuple[WorkerTask, SelfsegError]]:
    """Readies the requests of a dead worker for the next one.

    Args:
        tasks: all that are open.
        error: of the worker.
        guilty: see `Ending`.
        welcome: whether the worker has ever answered.

    Returns:
        those that nobody is asked again, with the reason.
    """
    over: list[tuple[WorkerTask, SelfsegError]] = []
    for task in tasks:
        if task.cancelled_at is not None:
            over.append((task, Cancelled("stopped as you asked")))
        elif guilty and task.computing_since is not None:
            over.append((task, error))
        elif guilty and (task.sent or not welcome):
            task.restarts += 1
            if task.restarts > 1:
                over.append((task, error))
        task.sent, task.computing_since = False, None
    return over


def removal(tasks: Iterable[WorkerTask], instance: str | None) -> Callable[[], None]:
    """What removes the unfinished outputs of a worker that is ended by force; from any thread.

    Args:
        tasks: all that are open.
        instance: of the worker; None where it has never answered, and written nothing.
    """
    requests = [task.request for task in tasks if task.sent]
    folders = {os.path.dirname(r.output) for r in requests if isinstance(r, Segment)}

    def remove() -> None:
        for folder in folders if instance is not None else ():
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            for name in names:
                if name.startswith(f".part-{instance}-"):
                    shutil.rmtree(os.path.join(folder, name), ignore_errors=True)

    return remove


def no_start(program: str, error: OSError | ValueError) -> WorkerFailed:
    """The error for a program that cannot be started."""
    return WorkerFailed(
        "the worker cannot be started",
        expected="a Python that has selfseg installed",
        found=f"{program}: {getattr(error, 'strerror', None) or error}",
        cure="check the path of Python",
    )

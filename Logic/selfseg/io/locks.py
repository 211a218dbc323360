"""One process at a time: a lock on a folder that names who holds it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock

from ..domain.errors import Cancelled, FileFormatError, ProjectError
from ..domain.events import Notice, Reporter, silent
from .json_files import read_json, write_json

LOCK_NAME = ".lock"
OWNER_NAME = ".lock-owner.json"

_SCHEMA = "selfseg.lock-owner/1"


@dataclass(frozen=True)
class LockOwner:
    """The process that works in a folder."""

    pid: int
    host: str
    start: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.start}"


POLL_SECONDS = 0.1
"""Between two looks whether a lock has become free."""

NOTICE_SECONDS = 1.0
"""Shorter waits are not worth a word."""


@contextmanager
def folder_lock(
    folder: Path,
    *,
    what: str = "project",
    wait: bool = False,
    grace_seconds: float = 0.0,
    required: bool = True,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.time,
) -> Iterator[None]:
    """Holds the folder for this process until the block ends.

    The operating system lets go of the lock when a process dies, however it dies.

    Args:
        folder: to hold; it must exist.
        what: it is called in messages: "project", "training".
        wait: until whoever holds the folder has ended, instead of raising an error.
        grace_seconds: how long somebody else may hold it before that is an error.
        required: False goes on where the file system has no locks, and says so.
        reporter: is told for whom we wait.
        should_stop: polled while waiting.
        clock: seconds since 1970.

    Raises:
        ProjectError: another process (or another call of this one) holds it, or the file
            system has no locks.
        Cancelled: `should_stop` said so.
    """
    lock = filelock.FileLock(folder / LOCK_NAME, timeout=0)
    lacking: Exception | None = None
    try:
        _acquire(lock, folder, what, wait, grace_seconds, reporter, should_stop)
    except filelock.Timeout as error:
        raise ProjectError(
            f"the {what} is in use",
            expected="one process at a time",
            found=_owner(folder),
            cure=f"wait until it has ended, or stop it; other {what}s are not concerned",
            path=folder,
        ) from error
    except (OSError, NotImplementedError) as error:
        lacking = error
    if lacking is not None and not required:
        text = f"the {what} cannot be locked ({lacking}): make sure that nobody else writes there"
        reporter(Notice(text, level="warning"))
        yield
        return
    if lacking is not None:
        raise ProjectError(
            f"the {what} cannot be locked",
            expected="a folder with the right to write, on a file system with locks",
            found=str(lacking),
            cure="check the folder's rights, or put the project on a local disk",
            path=folder,
        ) from lacking
    try:
        # The lock file itself cannot be read on Windows while it is held.
        start = datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds")
        write_json(
            folder / OWNER_NAME, LockOwner(os.getpid(), platform.node(), start), schema=_SCHEMA
        )
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER_NAME).unlink(missing_ok=True)
        lock.release()


def _acquire(
    lock: filelock.BaseFileLock,
    folder: Path,
    what: str,
    wait: bool,
    grace_seconds: float,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> None:
    start, told = time.monotonic(), False
    while True:
        try:
            lock.acquire()
            return
        except filelock.Timeout:
            if not wait and time.monotonic() - start >= grace_seconds:
                raise
        if not told and time.monotonic() - start > NOTICE_SECONDS:
            reporter(Notice(f"waiting for the {what}: it is in use by {_owner(folder)}"))
            told = True
        if should_stop():
            raise Cancelled(
                "stopped as you asked", cure="give the same command again to go on from here"
            )
        time.sleep(POLL_SECONDS)


def _owner(folder: Path) -> str:
    try:
        return str(read_json(folder / OWNER_NAME, LockOwner, schema=_SCHEMA))
    except FileFormatError:
        return "another process"

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

from ..domain.errors import FileFormatError, ProjectError
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


@contextmanager
def folder_lock(folder: Path, *, clock: Callable[[], float] = time.time) -> Iterator[None]:
    """Holds the folder for this process until the block ends.

    The operating system lets go of the lock when a process dies, however it dies.

    Raises:
        ProjectError: another process (or another call of this one) holds it, or the file
            system has no locks.
    """
    lock = filelock.FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ProjectError(
            "the project is in use",
            expected="one process at a time",
            found=_owner(folder),
            cure="wait until it has ended, or stop it; projects in other folders are not concerned",
            path=folder,
        ) from error
    except (OSError, NotImplementedError) as error:
        raise ProjectError(
            "the project cannot be locked",
            expected="a folder with the right to write, on a file system with locks",
            found=str(error),
            cure="check the folder's rights, or put the project on a local disk",
            path=folder,
        ) from error
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


def _owner(folder: Path) -> str:
    try:
        return str(read_json(folder / OWNER_NAME, LockOwner, schema=_SCHEMA))
    except FileFormatError:
        return "another process"

"""Folders that are either there in full or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ..domain.errors import ModelError, ProjectError, SelfsegError
from .atomic_files import TEMPORARY_PREFIX

_MARK = ".lock"
"""A file beside an unfinished folder whose name ends so is locked while a process works there."""


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it where they are missing.

    Raises:
        ProjectError: it cannot be made, or is a file.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target, gone at the end of the block unless it was moved.

    Raises:
        ModelError: the target exists.
        ProjectError: the folder cannot be made.
    """
    target = Path(target)
    check_free(target)
    stage = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(target, error) from error
    with marked(stage):
        try:
            stage.mkdir()
        except OSError as error:
            raise _unwritable(target, error) from error
        try:
            yield stage
        except SelfsegError as error:
            if error.path is None or not error.path.is_relative_to(stage):
                raise
            # Nobody knows the stage, and it is gone when the user reads this.
            raise error.retold(path=target / error.path.relative_to(stage)) from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def marked(stage: Path) -> Iterator[None]:
    """Marks an unfinished folder, there or not yet, as one that a living process works on."""
    mark = stage.with_name(stage.name + _MARK)
    lock = filelock.FileLock(mark, timeout=0)
    with suppress(OSError, NotImplementedError):  # without locks there is no mark
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def is_marked(stage: Path) -> bool:
    """Whether an unfinished folder has a mark, of a living process or a dead one."""
    return stage.with_name(stage.name + _MARK).exists()


def remove_dead_stages(folder: Path) -> None:
    """Removes the unfinished folders in `folder` whose processes have died, with their marks."""
    for mark in Path(folder).glob(f"{TEMPORARY_PREFIX}*{_MARK}"):
        lock = filelock.FileLock(mark, timeout=0)
        try:
            lock.acquire()
        except (filelock.Timeout, OSError, NotImplementedError):
            continue
        try:
            shutil.rmtree(mark.with_name(mark.name.removesuffix(_MARK)), ignore_errors=True)
        finally:
            lock.release()
            with suppress(OSError):
                mark.unlink(missing_ok=True)


def commit_folder(stage: Path, target: Path) -> None:
    """Gives a finished folder its name.

    Raises:
        ModelError: somebody was faster.
        ProjectError: it cannot be renamed.
    """
    check_free(target)
    try:
        os.rename(stage, target)
    except OSError as error:
        check_free(target)
        raise _unwritable(target, error) from error


def check_free(target: Path) -> None:
    """Refuses to write over what is there.

    Raises:
        ModelError: something is.
    """
    if target.exists() or target.is_symlink():
        raise ModelError(
            "there is something of this name already",
            expected="a new name",
            found="a folder" if target.is_dir() else "a file",
            cure="choose another name, or remove what is there",
            path=target,
        )


def check_space(stage: Path, wanted: int) -> None:
    """Refuses to begin what the disk has no room for.

    Args:
        stage: a folder on the disk.
        wanted: bytes.

    Raises:
        ProjectError: fewer are free.
    """
    free = shutil.disk_usage(stage).free
    if wanted > free:
        raise ProjectError(
            "there is not enough space for the model",
            expected=f"{wanted / 2**20:.0f} MB",
            found=f"{free / 2**20:.0f} MB",
            cure="free some space, or choose another library with --library",
            path=stage.parent,
        )


def _unwritable(path: Path, error: OSError) -> ProjectError:
    return ProjectError(
        "the folder cannot be written",
        expected="a place with the right to write and enough free space",
        found=error.strerror or str(error),
        cure="choose another place",
        path=path,
    )

"""Files that are either there in full or not there at all."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..domain.errors import ProjectError

TEMPORARY_PREFIX = ".part-"
"""Every unfinished file of ours begins with this; none is ever read."""

_LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems."""

_REPLACE_ATTEMPTS = 20
_REPLACE_PAUSE_SECONDS = 0.05


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` that takes its place once the block ends well.

    The temporary name keeps the whole ending (".nii.gz"), so that writers which choose the
    format by name work. The folder is made where it is missing; nothing is left when the block
    raises.

    Raises:
        ProjectError: the folder or file cannot be written (no right, disk full).
    """
    path = Path(path)
    part = path.with_name(_part_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _flush_to_disk(part)
        _replace(part, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise ProjectError(
            "the file cannot be written",
            expected="a folder with the right to write and enough free space",
            found=error.strerror or str(error),
            cure="free some space, or choose another folder",
            path=path,
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _part_name(name: str) -> str:
    """A temporary name; of a name as long as file systems take, its last part with the ending."""
    prefix = f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-"
    end = os.fsencode(name)[len(prefix) - _LONGEST_NAME :]
    return prefix + end.decode("utf-8", "ignore")


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Writes `data` so that `path` holds all of it or what it held before.

    Raises:
        ProjectError: it cannot be written.
    """
    with written_atomically(path) as part:
        part.write_bytes(data)


def remove_unfinished(folder: Path, *, below: bool = True) -> None:
    """Deletes what killed writers left in a folder; nobody else may be writing there.

    Args:
        folder: it need not exist.
        below: also looks into the folders below, and deletes unfinished folders; otherwise only
            unfinished files of the folder itself.
    """
    for place, folders, files in os.walk(folder):
        for name in files:
            if name.startswith(TEMPORARY_PREFIX):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))
        if not below:
            return
        for name in [name for name in folders if name.startswith(TEMPORARY_PREFIX)]:
            shutil.rmtree(os.path.join(place, name), ignore_errors=True)
            folders.remove(name)


def _flush_to_disk(part: Path) -> None:
    # Without this a power cut can leave a renamed but empty file.
    with part.open("r+b") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(part: Path, path: Path) -> None:
    # Windows refuses while somebody (a virus scanner, a progress view) has the old file open.
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            os.replace(part, path)
            return
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(_REPLACE_PAUSE_SECONDS)

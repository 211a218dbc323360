"""Folders from outside: only plain files are seen, no link is followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..domain.errors import ModelError
from .archive_files import copy_stream
from .file_names import OF_FILE_BROWSERS
from .member_names import SourceLimits, check_names, refused


class FolderFiles:
    """The files of a folder, as `archive_files.FileSource`.

    Args:
        folder: the folder.
        limits: see `SourceLimits`.

    Raises:
        ModelError: it cannot be read, or holds a link, a device or too much.
    """

    def __init__(self, folder: Path, limits: SourceLimits) -> None:
        self.path = Path(folder)
        try:
            sizes = dict(self._walk(limits))
        except OSError as error:
            raise ModelError(
                "the folder cannot be read",
                expected="a folder with a model",
                found=error.strerror or str(error),
                cure="check the path",
                path=error.filename or folder,
            ) from error
        check_names(sizes, limits, self.path)
        if sum(sizes.values()) > limits.bytes_total:
            raise refused(self.path, "more bytes than any model has", str(sum(sizes.values())))
        self.sizes: Mapping[str, int] = sizes

    def copy(self, name: str, target: Path) -> str:
        """Copies the file to a new path and says its SHA-256.

        Raises:
            ModelError: it has changed meanwhile.
        """
        with self._open(name) as stream:
            return copy_stream(stream, target, self.path, name, self.sizes[name])

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        path = self.path / name
        # No link that has taken the file's place is followed, no pipe waited for.
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags)
        except OSError as error:
            raise ModelError(
                "the file cannot be read",
                expected="a readable file",
                found=error.strerror or str(error),
                cure="check the folder's rights, or copy the model again",
                path=path,
            ) from error
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise refused(self.path, "a link or device", repr(name))
            yield stream

    def _walk(self, limits: SourceLimits) -> Iterator[tuple[str, int]]:
        waiting, seen = [""], 0
        while waiting:
            prefix = waiting.pop()
            if prefix.count("/") > limits.depth:
                raise refused(self.path, f"folders more than {limits.depth} deep", prefix)
            with os.scandir(self.path / prefix) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.name.lower() in OF_FILE_BROWSERS:
                        continue
                    seen += 1
                    if seen > limits.files:
                        raise refused(self.path, f"more than {limits.files} files")
                    status = entry.stat(follow_symlinks=False)
                    # Windows' junctions are folders that lead elsewhere.
                    elsewhere = getattr(status, "st_reparse_tag", 0)
                    if stat.S_ISDIR(status.st_mode) and not elsewhere:
                        waiting.append(name + "/")
                    elif stat.S_ISREG(status.st_mode) and not elsewhere:
                        yield name, status.st_size
                    else:
                        raise refused(self.path, "a link or device", repr(name))

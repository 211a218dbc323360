"""Zip files from outside: everything is checked before anything is unpacked.

What Python's zipfile takes as it comes (links, encrypted files, wrong sizes, overlapping files)
is refused here, and nothing is read beyond the size that was checked.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Protocol

from ..domain.errors import ModelError, ProjectError
from .member_names import SourceLimits, check_names, refused

CHUNK = 2**20

_MOST_THREADS = 4
"""Unpacking and hashing run without the interpreter's lock; then the disk is the limit."""

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 20, 56
_BYTES_PER_ENTRY = 2048
"""Of the directory, at most on average: 46, a name and some extra fields."""

_SMALL = 2**20
"""Files up to this size may be packed at any ratio: the whole is limited too."""

_LINK_FIELDS = (0x000D, 0x756E)
"""Extra fields of zip's "Unix" and "ASi Unix" forms, the only ones that can hold links."""

_UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, RuntimeError,
    NotImplementedError, ValueError, struct.error, KeyError, OverflowError,
)  # fmt: skip


class FileSource(Protocol):
    """Files from outside, with names and sizes that have been checked."""

    path: Path
    sizes: Mapping[str, int]
    """Name, with forward slashes, to bytes."""

    def copy(self, name: str, target: Path) -> str:
        """Copies the file to a new path and says its SHA-256."""


class Archive:
    """A zip file; use it in a `with` block. Several threads may copy from it.

    Args:
        path: the file.
        limits: see `SourceLimits`.

    Raises:
        ModelError: it is no zip file, damaged, or holds something that is not allowed.
    """

    def __init__(self, path: Path, limits: SourceLimits) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as stream:
                _check_directory(self.path, stream, limits)
            self._zip = zipfile.ZipFile(self.path)
        except _UNREADABLE as error:
            _raise_unreadable(self.path, error)
        try:
            self._entries = _checked_entries(self.path, self._zip, limits)
        except BaseException:
            self._zip.close()
            raise
        self._lock = threading.Lock()  # zipfile counts its open streams without one
        self.sizes: Mapping[str, int] = {
            name: entry.file_size for name, entry in self._entries.items()
        }

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._zip.close()

    def copy(self, name: str, target: Path) -> str:
        """Copies the file to a new path and says its SHA-256.

        Raises:
            ModelError: it is damaged.
        """
        with self._open(name) as stream:
            return copy_stream(stream, target, self.path, name, self.sizes[name])

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        try:
            with self._lock:
                stream = self._zip.open(self._entries[name])
            try:
                yield stream  # type: ignore[misc]
            finally:
                with self._lock:
                    stream.close()
        except _UNREADABLE as error:
            _raise_unreadable(self.path, error)


def extract_archive(
    path: Path,
    folder: Path,
    limits: SourceLimits | None = None,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
) -> tuple[str, ...]:
    """Unpacks a zip file into an empty folder; the whole of it is checked first.

    Args:
        path: the zip file.
        folder: exists; the caller removes it where this raises.
        limits: see `SourceLimits`.
        wanted: the files to unpack, by name.

    Returns:
        the names of the files unpacked, with forward slashes.

    Raises:
        ModelError: see `Archive`.
    """
    with Archive(path, limits or SourceLimits()) as archive:
        names = tuple(name for name in archive.sizes if wanted(name))
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
            # The first one that fails, in the archive's order, ends it.
            list(pool.map(lambda name: archive.copy(name, folder / name), names))
    return names


def write_archive(path: Path, files: Mapping[str, Path]) -> None:
    """Writes a zip file, not compressed, that is the same to the last bit every time.

    Args:
        path: new file.
        files: name in the archive to file.
    """
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for name, file in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = file.stat().st_size
            with file.open("rb") as source, archive.open(entry, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)


def _measured(stream: BinaryIO, source: Path, name: str, size: int) -> Iterator[bytes]:
    """The stream's bytes, exactly `size` of them.

    Raises:
        ModelError: there are more or less.
    """
    done = 0
    while chunk := stream.read(min(CHUNK, size + 1 - done)):
        done += len(chunk)
        if done > size:
            break
        yield chunk
    if done != size:
        found = f"{name}: {'more' if done > size else str(done)} instead of {size} bytes"
        raise refused(source, "a file of another size than it says", found)


def copy_stream(stream: BinaryIO, target: Path, source: Path, name: str, size: int) -> str:
    """Writes exactly `size` bytes to a new file and says their SHA-256.

    Raises:
        ModelError: the stream holds more or less.
        ProjectError: the file cannot be written.
    """
    digest = hashlib.sha256()
    chunks = _measured(stream, source, name, size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer: a full disk is noticed by the write, and not when the file is closed.
        out = target.open("xb", buffering=0)
    except OSError as error:
        raise _unwritable(target, error) from error
    with out:
        for chunk in chunks:
            digest.update(chunk)
            try:
                left = memoryview(chunk)
                while left:
                    left = left[out.write(left) :]
            except OSError as error:
                raise _unwritable(target, error) from error
    return digest.hexdigest()


def _unwritable(target: Path, error: OSError) -> ProjectError:
    return ProjectError(
        "the file cannot be written",
        expected="a folder with the right to write and enough free space",
        found=error.strerror or str(error),
        cure="free some space, or choose another folder",
        path=target,
    )


def _check_directory(path: Path, stream: BinaryIO, limits: SourceLimits) -> None:
    """Reads how long the directory is before zipfile loads it: it may be the bomb itself."""
    size = stream.seek(0, 2)
    length = min(size, 2**16 + _END_BYTES)
    stream.seek(size - length)
    tail = stream.read(length)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise zipfile.BadZipFile("no directory at the end of the file")
    _, _, _, _, count, directory, _, comment = struct.unpack("<4s4H2LH", tail[at : at + _END_BYTES])
    if at + _END_BYTES + comment != len(tail):
        raise refused(path, "bytes after its end")
    locator = tail[max(0, at - _LOCATOR_BYTES) : at]
    if locator.startswith(_LOCATOR64):
        (offset,) = struct.unpack("<Q", locator[8:16])
        if offset > size - _END64_BYTES:
            raise zipfile.BadZipFile("the zip64 directory lies outside the file")
        stream.seek(offset)
        record = stream.read(_END64_BYTES)
        if not record.startswith(_END64):
            raise zipfile.BadZipFile("no zip64 directory where it should be")
        count, directory = struct.unpack("<QQ", record[32:48])
    if count > limits.files or directory > limits.files * _BYTES_PER_ENTRY:
        raise refused(path, f"more than {limits.files} files", f"{count} files")


def _checked_entries(
    path: Path, archive: zipfile.ZipFile, limits: SourceLimits
) -> dict[str, zipfile.ZipInfo]:
    listed = archive.infolist()
    if len(listed) > limits.files:
        raise refused(path, f"more than {limits.files} files", f"{len(listed)} files")
    if all(entry.is_dir() for entry in listed):
        raise refused(path, "no file")
    for entry in listed:
        _check_entry(path, entry, limits)
    _check_places(path, archive, listed)
    files = [entry for entry in listed if not entry.is_dir()]
    check_names([entry.orig_filename for entry in files], limits, path)
    for entry in listed:
        if entry.is_dir():
            check_names([entry.orig_filename.removesuffix("/")], limits, path)
    total = sum(entry.file_size for entry in files)
    packed = sum(entry.compress_size for entry in files)
    if total > limits.bytes_total:
        raise refused(path, "more bytes than any model has", f"{total}")
    if total > _SMALL and total > limits.ratio * packed:
        raise refused(path, "far more than its size (a zip bomb)", f"{total} bytes in {packed}")
    return {entry.orig_filename: entry for entry in files}


def _check_entry(path: Path, entry: zipfile.ZipInfo, limits: SourceLimits) -> None:
    name = repr(entry.orig_filename)
    if entry.flag_bits & (0x1 | 0x40 | 0x2000):
        raise refused(path, "an encrypted file", name)
    if entry.flag_bits & 0x20:
        raise refused(path, "patch data instead of a file", name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(
            path, "a file packed in an unusual way", f"{name}: method {entry.compress_type}"
        )
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.external_attr & 0x400:
        raise refused(path, "a link or device", name)
    if kind == stat.S_IFDIR and not entry.is_dir():
        raise refused(path, "a folder with the name of a file", name)
    if any(field in _LINK_FIELDS and length > 12 for field, length in _extra_fields(entry.extra)):
        raise refused(path, "a link or device", name)
    if entry.file_size > limits.bytes_each:
        raise refused(path, "a file larger than any model's", f"{name}: {entry.file_size} bytes")
    if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
        raise refused(path, "a file of another size than it says", name)
    if entry.file_size > _SMALL and entry.file_size > limits.ratio * entry.compress_size:
        found = f"{name}: {entry.file_size} bytes in {entry.compress_size}"
        raise refused(path, "a file far larger than what it is packed in (a zip bomb)", found)
    if entry.is_dir() and entry.file_size:
        raise refused(path, "a folder with content of its own", name)


def _check_places(path: Path, archive: zipfile.ZipFile, listed: list[zipfile.ZipInfo]) -> None:
    # One piece of data under many names is how the smallest bombs are made.
    ordered = sorted(listed, key=lambda entry: entry.header_offset)
    if ordered and ordered[0].header_offset != 0:
        raise refused(path, "bytes in front of its first file")
    stops = [entry.header_offset for entry in ordered[1:]] + [archive.start_dir]
    for entry, stop in zip(ordered, stops, strict=True):
        least = 30 + len(entry.orig_filename) + entry.compress_size
        if entry.header_offset + least > stop:
            raise refused(path, "files that overlap", repr(entry.orig_filename))


def _extra_fields(extra: bytes) -> Iterator[tuple[int, int]]:
    while len(extra) >= 4:
        field, length = struct.unpack("<HH", extra[:4])
        yield field, length
        extra = extra[4 + length :]


def _raise_unreadable(path: Path, error: Exception) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        found, cure = "no such file", "check the path"
    else:
        found, cure = str(error) or type(error).__name__, "copy or download the file again"
    raise ModelError(
        "the file is no zip file, or it is damaged",
        expected="a complete zip file",
        found=found,
        cure=cure,
        path=path,
    ) from error

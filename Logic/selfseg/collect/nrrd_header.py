"""The text in front of a NRRD file: where Slicer keeps what it knows about segments.

Only the text is read; the voxels are left to ITK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import ImageError

LARGEST_HEADER = 8 * 2**20
"""Bytes: a segment has about 600 of them, and there are at most some thousands."""

_BLOCK = 2**16


@dataclass(frozen=True)
class NrrdHeader:
    """`fields` of the format ("sizes", "space origin"), `values` of whoever wrote the file."""

    fields: Mapping[str, str]
    values: Mapping[str, str]


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Reads fields ("name: text") and values ("name:=text") of a NRRD file.

    Raises:
        ImageError: it is no NRRD file, or its header does not end.
    """
    try:
        with path.open("rb") as stream:
            data = b""
            while (block := stream.read(_BLOCK)) and len(data) < LARGEST_HEADER:
                data += block
                if b"\n\n" in data or b"\r\n\r\n" in data or not data.startswith(b"NRRD"):
                    break
    except OSError as error:
        raise _error(path, error.strerror or str(error)) from error
    if not data.startswith(b"NRRD"):
        raise _error(path, repr(data[:8]))
    ends = [at for end in (b"\n\n", b"\r\n\r\n") if (at := data.find(end)) >= 0]
    if not ends and len(data) >= LARGEST_HEADER:
        raise _error(path, f"no end of the header within {LARGEST_HEADER} bytes")
    text = data[: min(ends, default=len(data))].decode("utf-8", errors="replace")
    fields: dict[str, str] = {}
    values: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        if line.startswith("#"):
            continue
        key, mark, value = line.partition(":=")
        if mark:
            values[_unescaped(key)] = _unescaped(value)
            continue
        key, mark, value = line.partition(": ")
        if mark:
            fields[key.strip().lower()] = value.strip()
    return NrrdHeader(fields, values)


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\\\", "\\")


def _error(path: Path, found: str) -> ImageError:
    return ImageError(
        "the file is no NRRD file, or its header is damaged",
        expected="NRRD000x and lines of text, then an empty line",
        found=found,
        cure="save it again from the program that made it",
        path=path,
    )

"""The text in front of a NRRD file: where Slicer keeps what it knows about segments.

Read and written with the standard library alone. Format:
https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..domain.errors import ImageError
from ..domain.geometry import Geometry

Encoding = Literal["raw", "gzip"]

VoxelType = Literal[
    "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned int",
    "long long int", "unsigned long long int", "float", "double",
]  # fmt: skip

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
    raw = data[: min(ends, default=len(data))]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    fields: dict[str, str] = {}
    values: dict[str, str] = {}
    for line in text.replace("\r\n", "\n").split("\n")[1:]:
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


def nrrd_header(
    grid: Geometry,
    *,
    components: int,
    voxel_type: VoxelType,
    encoding: Encoding,
    values: Mapping[str, str] | None = None,
) -> bytes:
    """The text in front of voxels that are little endian, x fastest, the empty line included.

    Args:
        grid: of the image.
        components: numbers per voxel, which lie together.
        voxel_type: of each.
        encoding: of the voxels that follow.
        values: further words by name.
    """
    several = components > 1
    sizes = [*([components] if several else []), *grid.shape[::-1]]
    rows = grid.affine[:3]
    axes = [_vector([row[axis] for row in rows]) for axis in range(3)]
    lines = [
        "NRRD0004",
        f"type: {voxel_type}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join([*(['none'] if several else []), *axes])}",
        f"kinds: {'list ' if several else ''}domain domain domain",
        "endian: little",
        f"encoding: {encoding}",
        f"space origin: {_vector(grid.origin)}",
        *(f"{key}:={_escaped(value)}" for key, value in (values or {}).items()),
    ]
    return ("\n".join(lines) + "\n\n").encode()


def _vector(values: Sequence[float]) -> str:
    return f"({','.join(repr(float(value) + 0.0) for value in values)})"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([n\\])", lambda match: "\n" if match[1] == "n" else "\\", text)


def _error(path: Path, found: str) -> ImageError:
    return ImageError(
        "the header of the NRRD file cannot be read",
        expected="NRRD000x and lines of text, then an empty line",
        found=found,
        cure="save it again from the program that made it",
        path=path,
    )

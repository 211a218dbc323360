"""Makers of spoilt files."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .rows import Change

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def written(name: str, content: bytes | str) -> Change:
    """A file with this content."""
    data = content.encode() if isinstance(content, str) else content

    def change(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)

    return change


def as_json(name: str, content: object) -> Change:
    """A file with this content as JSON."""
    return written(name, json.dumps(content))


def entries(name: str, /, **changes: Any) -> Change:
    """A JSON file with other entries; ... takes one out."""

    def change(place: Path) -> None:
        path = place / name
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))

    return change


def removed(name: str) -> Change:
    """Without this file."""
    return lambda place: (place / name).unlink()


def renamed(name: str, other: str) -> Change:
    """A file or folder under another name."""
    return lambda place: (place / name).rename(place / other)


def copied(name: str, other: str) -> Change:
    """A second file with the same content."""
    return lambda place: (place / other).write_bytes((place / name).read_bytes())


def cut(name: str, size: int) -> Change:
    """Only the first bytes of a file; all but the last where `size` is negative."""
    return lambda place: (place / name).write_bytes((place / name).read_bytes()[:size])


def linked(name: str, target: str) -> Change:
    """A symbolic link in the place of what was there."""

    def change(place: Path) -> None:
        path = place / name
        if path.is_dir():
            path.rename(place / "moved_away")
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def folder(name: str) -> Change:
    """An empty folder."""
    return lambda place: (place / name).mkdir(parents=True)


def pipe(name: str) -> Change:
    """A named pipe, which nobody writes into, in the place of a file."""

    def change(place: Path) -> None:
        (place / name).unlink(missing_ok=True)
        os.mkfifo(place / name)

    return change


def sparse(name: str, size: int) -> Change:
    """A large file of nothing that takes no room."""

    def change(place: Path) -> None:
        with (place / name).open("wb") as stream:
            stream.truncate(size)

    return change


def mode(name: str, bits: int) -> Change:
    """Other rights."""
    return lambda place: (place / name).chmod(bits)


def image(name: str, array: np.ndarray, **place_of: Sequence[float]) -> Change:
    """An image of these voxels, (Z, Y, X) or (T, Z, Y, X)."""

    def change(place: Path) -> None:
        made = sitk.GetImageFromArray(array, isVector=False)
        for what, value in place_of.items():
            getattr(made, f"Set{what.capitalize()}")([float(part) for part in value])
        sitk.WriteImage(made, str(place / name))

    return change


def like(name: str, function: Any) -> Change:
    """An image with other voxels on the same grid."""

    def change(place: Path) -> None:
        before = sitk.ReadImage(str(place / name))
        after = sitk.GetImageFromArray(function(sitk.GetArrayFromImage(before)))
        after.CopyInformation(before)
        sitk.WriteImage(after, str(place / name))

    return change


def with_one(value: float) -> Any:
    """One voxel with this value, the others as they are."""

    def change(array: np.ndarray) -> np.ndarray:
        changed = array.copy() if abs(value) < 1e3 and value % 1 == 0 else array.astype(np.float32)
        changed[1, 2, 3] = value
        return changed

    return change


def nifti(
    name: str,
    sizes: Sequence[int] | None = None,
    data: bytes | None = None,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    axes: Sequence[Sequence[float]] | None = None,
    kind: tuple[int, int] = (2, 8),
    offset: float = 352.0,
) -> Change:
    """A NIfTI-1 file with any header.

    Args:
        name: .nii or .nii.gz.
        sizes: (x, y, z, ...) as the header says; those of the file that is there by default.
        data: the voxels; as many as the header says by default.
        spacing: pixdim.
        axes: rows of the sform; none is set by default.
        kind: code of the type, and its bits.
        offset: of the voxels.
    """

    def change(place: Path) -> None:
        head = bytearray(352)
        size = _size_of(place / name) if sizes is None else sizes
        struct.pack_into("<i", head, 0, 348)
        struct.pack_into("<8h", head, 40, len(size), *size, *(1,) * (7 - len(size)))
        struct.pack_into("<2h", head, 70, *kind)
        struct.pack_into("<8f", head, 76, 1.0, *spacing, *(1.0,) * (7 - len(spacing)))
        struct.pack_into("<2f", head, 108, offset, 1.0)
        if axes is not None:
            struct.pack_into("<h", head, 254, 1)
            rows = [number for row in axes for number in (*row, 0.0)]
            struct.pack_into("<12f", head, 280, *rows)
        head[344:348] = b"n+1\0"
        voxels = data
        if voxels is None:
            count = int(np.prod(size)) * kind[1] // 8
            voxels = bytes(i % 7 for i in range(count))
        whole = bytes(head) + voxels
        (place / name).write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)

    return change


def _size_of(path: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return tuple(reader.GetSize())


def converted(name: str, other: str) -> Change:
    """A file in another format, and no longer in its own."""

    def change(place: Path) -> None:
        sitk.WriteImage(sitk.ReadImage(str(place / name)), str(place / other))
        (place / name).unlink()

    return change


def nrrd(name: str, sizes: Sequence[int], data: bytes = bytes(64), /, **fields: str) -> Change:
    """A NRRD file with any header; `fields` add to it or replace its lines."""
    lines = {
        "type": "uint8",
        "dimension": str(len(sizes)),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, sizes)),
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
        "kinds": "domain domain domain",
        "encoding": "raw",
        "space origin": "(0,0,0)",
    }
    lines |= {key.replace("_", " "): value for key, value in fields.items()}
    text = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in lines.items()) + "\n"
    return written(name, text.encode() + data)


def meta(
    name: str,
    sizes: Sequence[int],
    data: bytes = bytes(64),
    *,
    compressed: bool = False,
    matrix: str = "1 0 0 0 1 0 0 0 1",
    spacing: str = "1 1 1",
    file: str = "LOCAL",
) -> Change:
    """A MetaImage file with any header."""
    text = (
        f"ObjectType = Image\nNDims = {len(sizes)}\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = False\nCompressedData = {compressed}\n"
        f"TransformMatrix = {matrix}\nOffset = 0 0 0\nElementSpacing = {spacing}\n"
        f"DimSize = {' '.join(map(str, sizes))}\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {file}\n"
    )
    return written(name, text.encode() + data)


def png_header(name: str, width: int, height: int, bits: int, colour: int) -> Change:
    """A PNG whose header claims this size, and which holds next to nothing."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return written(name, b"\x89PNG\r\n\x1a\n" + body)

"""NRRD files written piece by piece, so that whoever waits in the same process gets its turn."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.geometry import Geometry
from .atomic_files import written_atomically
from .nrrd_header import VoxelType, nrrd_header

Array = NDArray[Any]

_PIECE_BYTES = 2**20
"""Compressed at a time."""

_TYPES: dict[str, VoxelType] = {
    "i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short",
    "i4": "int", "u4": "unsigned int", "i8": "long long int", "u8": "unsigned long long int",
    "f4": "float", "f8": "double",
}  # fmt: skip


def write_nrrd(path: Path, voxels: Array, grid: Geometry) -> None:
    """Writes an image, compressed, all of the file or nothing.

    Args:
        path: ends with ".nrrd".
        voxels: (Z, Y, X), or (Z, Y, X, C).
        grid: of the image.

    Raises:
        ProjectError: it cannot be written.
    """
    channels = [voxels] if voxels.ndim == 3 else list(np.moveaxis(voxels, -1, 0))
    header = nrrd_header(
        grid,
        components=len(channels),
        voxel_type=_TYPES[voxels.dtype.str[1:]],
        encoding="gzip",
    )
    write_compressed(path, header, slabs(channels, voxels.dtype.newbyteorder("<")), level=1)


def slabs(channels: Sequence[Array], kind: np.dtype[Any]) -> Iterator[Array]:
    """The voxels as a file holds them, some slices at a time: (Z, Y, X) or (Z, Y, X, C).

    Args:
        channels: (Z, Y, X) each.
        kind: type in the file.
    """
    depth, *plane = channels[0].shape
    rows = max(1, _PIECE_BYTES // max(1, int(np.prod(plane)) * len(channels) * kind.itemsize))
    for first in range(0, depth, rows):
        parts = [channel[first : first + rows].astype(kind, copy=False) for channel in channels]
        yield np.ascontiguousarray(parts[0] if len(parts) == 1 else np.stack(parts, axis=-1))


def write_compressed(path: Path, header: bytes, voxels: Iterable[Array], *, level: int) -> None:
    """Writes a header and, compressed, what follows it; all of the file or nothing.

    Raises:
        ProjectError: it cannot be written.
    """
    packer = zlib.compressobj(level=level, wbits=31)  # 31: with gzip's header
    with written_atomically(path) as part, part.open("wb") as stream:
        stream.write(header)
        for slab in voxels:
            stream.write(packer.compress(slab.data))
        stream.write(packer.flush())

"""What ITK does not tell about a NIfTI file: whether it is complete, its sform, its NaN."""

from __future__ import annotations

import gzip
import math
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import ImageError

_GZIP_MAGIC = b"\x1f\x8b"
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""The format's datatype codes of plain numbers."""


@dataclass(frozen=True)
class NiftiHeader:
    """The fields we need.

    Args:
        data_start: offset of the voxels in the uncompressed file (bytes).
        data_end: uncompressed size of a complete file (bytes).
        voxel_type: NumPy's name of the voxels' type, None for complex, RGB and other rare ones.
        slope: value = stored * slope + intercept; 1 where the file sets none.
        intercept: see slope.
        axes: the (3, 3) matrix of the sform with one column per image axis (mm per voxel),
            None where no sform is set.
        lacks_spacing: the spacing of an axis of several voxels is zero or no number; ITK takes
            1 mm then.
    """

    data_start: int
    data_end: int
    voxel_type: str | None
    slope: float
    intercept: float
    axes: NDArray[np.float64] | None
    lacks_spacing: bool = False


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """Reads a NIfTI-1 or NIfTI-2 header (offsets as in the format's definition, nifti1.h/nifti2.h).

    Returns None where the file does not begin like one; ITK then says what it thinks of it.
    """
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
        with gzip.open(path, "rb") if compressed else open(path, "rb") as stream:
            head = stream.read(540)
    except (OSError, EOFError, zlib.error):
        return None
    for order in "<>":
        if len(head) >= 348 and struct.unpack(order + "i", head[:4])[0] == 348:
            dim = struct.unpack(order + "8h", head[40:56])
            kind, bits = struct.unpack(order + "2h", head[70:74])
            offset, slope, intercept = struct.unpack(order + "3f", head[108:120])
            (code,) = struct.unpack(order + "h", head[254:256])
            sform = np.frombuffer(head, order + "f4", 12, 280)
            steps = struct.unpack(order + "3f", head[80:92])
        elif len(head) >= 540 and struct.unpack(order + "i", head[:4])[0] == 540:
            kind, bits = struct.unpack(order + "2h", head[12:16])
            dim = struct.unpack(order + "8q", head[16:80])
            offset, slope, intercept = struct.unpack(order + "q2d", head[168:192])
            (code,) = struct.unpack(order + "i", head[348:352])
            sform = np.frombuffer(head, order + "f8", 12, 400)
            steps = struct.unpack(order + "3d", head[112:136])
        else:
            continue
        voxels = 1
        for size in dim[1 : 1 + max(0, min(dim[0], 7))]:
            voxels *= max(int(size), 1)
        used = zip(dim[1 : 1 + max(0, min(dim[0], 3))], steps, strict=False)
        if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
            slope, intercept = 1.0, 0.0
        return NiftiHeader(
            data_start=int(offset) if math.isfinite(offset) else 0,
            data_end=(int(offset) if math.isfinite(offset) else 0) + voxels * bits // 8,
            voxel_type=order + _TYPES[kind] if kind in _TYPES else None,
            slope=slope,
            intercept=intercept,
            axes=sform.reshape(3, 4)[:, :3].astype(np.float64) if code > 0 else None,
            lacks_spacing=any(n > 1 and (s == 0 or not math.isfinite(s)) for n, s in used),
        )
    return None


def read_voxels(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """All voxels of a NIfTI file in the file's order, x fastest, as a flat array.

    ITK's NIfTI library turns NaN and infinity into 0 without a word, reads the missing part of
    a cut-off file as 0, and crashes on scaled vectors; hence our own. The scaling is ITK's:
    in float64, kept as the file's float type, or float32 for integers.

    Raises:
        ImageError: the file is cut off or its compression is damaged.
    """
    data = path.read_bytes()
    if header.data_end >= sys.maxsize:
        raise _cut_off(path, header.data_end, f"{len(data)} bytes")
    if data[:2] == _GZIP_MAGIC:
        try:
            data = _unpacked(data, header.data_end)
        except (EOFError, zlib.error) as error:
            raise _cut_off(path, header.data_end, str(error)) from error
    if len(data) < header.data_end:
        raise _cut_off(path, header.data_end, f"{len(data)} bytes")
    kind = np.dtype(header.voxel_type)
    count = (header.data_end - header.data_start) // kind.itemsize
    voxels: NDArray[Any] = np.frombuffer(data, kind, count, header.data_start)
    if (header.slope, header.intercept) != (1.0, 0.0):
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused later
            scaled = voxels.astype(np.float64) * header.slope + header.intercept
            voxels = scaled.astype(kind if kind.kind == "f" else np.float32)
    return voxels


def _unpacked(data: bytes, wanted: int) -> bytes:
    """The content of a gzip file, which may be in several parts; what is beyond it is left.

    No more than `wanted` bytes are unpacked: a file of a megabyte can hold a gigabyte of zeros.

    Raises:
        EOFError: a part has no end.
        zlib.error: a part is damaged.
    """
    parts, found = [], 0
    while data[:2] == _GZIP_MAGIC and found < wanted:
        stream = zlib.decompressobj(31)  # gzip, with the largest window
        parts.append(stream.decompress(data, wanted - found))
        found += len(parts[-1])
        # One byte more than is wanted: where nothing follows this reads and checks the checksum.
        more = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
        if not (more or stream.eof):
            raise EOFError("the compressed data have no end")
        data = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _cut_off(path: Path, expected: int, found: str) -> ImageError:
    return ImageError(
        "the file is cut off or damaged",
        expected=f"{expected} bytes of header and voxels",
        found=found,
        cure="copy or download the file again, or write it again from its source",
        path=path,
    )

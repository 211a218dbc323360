"""Compressed arrays on disk that are read part by part.

Why blosc2, and the numbers behind codec and block size: docs/decisions/0002-case-storage.md.
It is imported where it is used: it brings a web client along, and predicting needs neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import FileFormatError
from ..domain.geometry import Shape3
from .atomic_files import written_atomically

ARRAY_CURE = "preprocess the case again with `selfseg preprocess`"

_BLOCK_VOXELS = 32**3
"""One block is decompressed at a time: 128 KiB of float32 stay in a core's second-level cache."""

_CHUNK_VOXELS = 128**3
"""Blocks are compressed and stored in chunks of up to 8 MiB of float32."""


def storage_blocks(shape: Sequence[int], patch_size: Sequence[int] | None) -> tuple[Shape3, Shape3]:
    """Block and chunk shape (Z, Y, X) for a volume that is read in patches of `patch_size`.

    A block has the patch's proportions and about 32^3 voxels, and is one slice thick for 2D
    patches: what is decompressed for a patch is then little more than the patch. Chunks are
    whole numbers of blocks.
    """
    wanted = (32, 32, 32) if patch_size is None else tuple(patch_size)
    if len(wanted) == 2:
        wanted = (1, *wanted)
    block = [min(n, p) for n, p in zip(shape, wanted, strict=True)]
    while math.prod(block) > _BLOCK_VOXELS:
        longest = block.index(max(block))
        block[longest] = -(-block[longest] // 2)
    chunk = list(block)
    while True:
        growing = [i for i in range(3) if chunk[i] < shape[i]]
        if not growing:
            break
        shortest = min(growing, key=lambda i: chunk[i])
        grown = chunk.copy()
        grown[shortest] += block[shortest]
        if math.prod(grown) > _CHUNK_VOXELS:
            break
        chunk = grown
    return (block[0], block[1], block[2]), (chunk[0], chunk[1], chunk[2])


def write_array(
    path: Path, array: NDArray[Any], blocks: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    """Writes a contiguous array atomically and without loss, on one thread.

    Raises:
        ProjectError: it cannot be written.
    """
    import blosc2

    with written_atomically(path) as part:
        try:
            blosc2.asarray(
                array,
                urlpath=str(part),
                mode="w",
                chunks=chunks,
                blocks=blocks,
                cparams={
                    "codec": blosc2.Codec.ZSTD,
                    "clevel": 1,
                    "filters": [blosc2.Filter.SHUFFLE],
                    "filters_meta": [0],
                    "nthreads": 1,
                },
            )
        except RuntimeError as error:  # what C-Blosc2 makes of a full disk
            raise OSError(str(error)) from error


def read_array(
    path: Path, kind: type[np.generic], shape: tuple[int, ...], where: tuple[slice, ...]
) -> NDArray[Any]:
    """The part `where` of an array of known type and shape, as a new array.

    The file is opened (0.1 ms) and closed again, and one thread decompresses: patches are read
    by many workers at once, which share nothing and hold no open files.

    Raises:
        FileFormatError: the file is missing, damaged or holds another array.
    """
    import blosc2

    try:
        stored = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
        if not isinstance(stored, blosc2.NDArray):
            raise ValueError(f"a {type(stored).__name__}")
        if stored.shape != shape or stored.dtype != kind:
            raise ValueError(f"{stored.dtype} {stored.shape}")
        part: NDArray[Any] = stored[where]
    except MemoryError:
        raise
    except Exception as error:  # whatever the format's parser stumbles on in a damaged header
        raise damaged_array(path, error) from error
    return part


def damaged_array(path: Path, reason: object) -> FileFormatError:
    """The error for an array file that cannot be used."""
    return FileFormatError(
        "the array file is damaged",
        expected="the array that was written there",
        found=str(reason) or type(reason).__name__,
        cure=ARRAY_CURE,
        path=path,
    )

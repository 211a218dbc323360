"""Out-of-fold logits on disk, so that any configurations can be averaged without predicting again.

    <identifier>.logits.b2nd      (Z, Y, X, K) float16 at the network's resolution
    <identifier>.logits.json      what they were made from; written last

What is stored of labels are logarithms of probabilities: logits up to a number per voxel, which
changes neither probabilities nor the winner, and far from the structures they are constant and
take no room. Rounded to 1/256, a probability changes by a fifth of a percent of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import FileFormatError, ProjectError, SelfsegError
from .array_files import read_array, write_array
from .file_names import as_file_name
from .json_files import read_json, write_json

SCHEMA = "selfseg.logits/1"

STEP = 1 / 256

FAINTEST = -64.0
"""Logarithms below this are stored as this: a probability of 1e-28."""

_CHUNK_BYTES = 8 * 2**20
_BLOCK_BYTES = 256 * 2**10


@dataclass(frozen=True)
class _Index:
    """The JSON file. `size` in bytes, to notice damage."""

    identifier: str
    key: str
    shape: tuple[int, int, int, int]
    size: int


def write_logits(
    folder: Path, identifier: str, logits: NDArray[Any], *, key: str, regions: bool
) -> None:
    """Stores the logits of a case.

    Args:
        folder: where they lie; made where it is missing.
        identifier: the case.
        logits: (K, Z, Y, X), at the plan's spacing and in its axis order.
        key: a hash of what they were made from, compared by `has_logits`.
        regions: every head is a region of its own; otherwise heads are labels, of which each
            voxel has one.

    Raises:
        ProjectError: a name that is no file name, or no room.
    """
    index_path, array_path = _paths(folder, identifier)
    heads, z, y, x = logits.shape
    shape = (z, y, x, heads)
    if index_path.exists():
        # The new array must not be taken for one of the former key, if we are killed now.
        write_json(index_path, _Index(identifier, "", shape, 0), schema=SCHEMA)
    kept = np.empty(shape, np.float16)
    for place in range(z):  # slice by slice: no second copy in full precision
        kept[place] = _rounded(np.moveaxis(logits[:, place], 0, -1), regions)
    row = 2 * x * heads
    block = (1, min(y, max(1, _BLOCK_BYTES // row)), x, heads)
    chunk = (min(z, max(1, _CHUNK_BYTES // (row * y))), y, x, heads)
    write_array(array_path, kept, block, chunk)
    write_json(index_path, _Index(identifier, key, shape, array_path.stat().st_size), schema=SCHEMA)


def has_logits(folder: Path, identifier: str, *, key: str) -> bool:
    """Whether the logits of that case are there in full and were made from the same."""
    index_path, array_path = _paths(folder, identifier)
    try:
        index = read_json(index_path, _Index, schema=SCHEMA)
        size = array_path.stat().st_size
    except (OSError, SelfsegError):
        return False
    return (index.identifier, index.key, index.size) == (identifier, key, size)


def read_logits(folder: Path, identifier: str) -> NDArray[np.float16]:
    """The logits (Z, Y, X, K) of a case.

    Raises:
        ProjectError: there are none.
        FileFormatError: they are damaged.
    """
    index_path, array_path = _paths(folder, identifier)
    if not array_path.is_file() or not index_path.is_file():
        raise ProjectError(
            f"the logits of case {identifier} are not there",
            expected=array_path.name,
            found="no such file",
            cure="run `selfseg select` again: it predicts what is missing",
            path=folder,
        )
    index = read_json(index_path, _Index, schema=SCHEMA)
    try:
        logits: NDArray[np.float16] = read_array(
            array_path, np.float16, index.shape, (slice(None),) * 4
        )
    except FileFormatError as error:
        raise FileFormatError(
            f"the logits of case {identifier} are damaged",
            expected=f"an array of shape {index.shape}",
            found=error.found,
            cure="delete the file and run `selfseg select` again: it is predicted anew",
            path=array_path,
        ) from error
    return logits


def remove_logits(folder: Path, identifier: str) -> None:
    """Removes the logits of a case, if they are there."""
    for path in _paths(folder, identifier):
        path.unlink(missing_ok=True)


def _rounded(logits: NDArray[Any], regions: bool) -> NDArray[np.float32]:
    """(Y, X, K) float32 in whole steps, within what is told apart."""
    result = logits.astype(np.float32)
    if regions:
        np.clip(result, FAINTEST, -FAINTEST, out=result)
    else:
        result -= result.max(axis=-1, keepdims=True)
        result -= np.log(np.exp(result).sum(axis=-1, keepdims=True))
        np.maximum(result, np.float32(FAINTEST), out=result)
    result *= np.float32(1 / STEP)
    np.rint(result, out=result)
    result *= np.float32(STEP)
    return result


def _paths(folder: Path, identifier: str) -> tuple[Path, Path]:
    name = as_file_name(identifier, "case")
    return Path(folder) / f"{name}.logits.json", Path(folder) / f"{name}.logits.b2nd"

"""First-stage predictions on the grid of a cascade's second stage, readable patch by patch.

<identifier>.previous.b2nd    (Z, Y, X) int16 label values, lossless
<identifier>.previous.json    shape, size and key; written last: without it, no map
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import FileFormatError, ProjectError, SelfsegError
from ..domain.geometry import Shape3
from .array_files import read_array, storage_blocks, write_array
from .file_names import as_file_name
from .json_files import read_json, write_json

SCHEMA = "selfseg.previous/1"


@dataclass(frozen=True)
class _Index:
    """The JSON file. `size` in bytes, to notice damage."""

    identifier: str
    key: str
    shape: Shape3
    size: int


def write_previous(
    folder: Path,
    identifier: str,
    labels: NDArray[Any],
    *,
    key: str,
    patch_size: Sequence[int] | None = None,
) -> None:
    """Stores what the first stage predicted for a case.

    Args:
        folder: where the maps lie; made where it is missing.
        identifier: the case.
        labels: (Z, Y, X) label values on the second stage's grid.
        key: a hash of what it was made from, compared by `has_previous`.
        patch_size: the patch that will be read; decides the blocks.

    Raises:
        ProjectError: a name that is no file name, or no room.
    """
    index_path = _index_path(folder, identifier)
    array_path = _array_path(folder, identifier)
    array = np.ascontiguousarray(labels, dtype=np.int16)
    z, y, x = array.shape
    if index_path.exists():
        # The new array must not be taken for one of the former key, if we are killed now.
        write_json(index_path, _Index(identifier, "", (z, y, x), 0), schema=SCHEMA)
    blocks, chunks = storage_blocks(array.shape, patch_size)
    write_array(array_path, array, blocks, chunks)
    size = array_path.stat().st_size
    write_json(index_path, _Index(identifier, key, (z, y, x), size), schema=SCHEMA)


def has_previous(folder: Path, identifier: str, *, key: str) -> bool:
    """Whether the map of that case is there in full and was made from the same."""
    try:
        index = read_json(_index_path(folder, identifier), _Index, schema=SCHEMA)
        size = _array_path(folder, identifier).stat().st_size
    except (OSError, SelfsegError):
        return False
    return (index.identifier, index.key, index.size) == (identifier, key, size)


def read_previous(
    folder: Path, identifier: str, shape: Shape3, where: tuple[slice, ...]
) -> NDArray[np.int16]:
    """The part `where` of a map of known shape, (z, y, x) int16, as a new array.

    Raises:
        ProjectError: there is none.
        FileFormatError: it is damaged or has another shape.
    """
    path = _array_path(folder, identifier)
    if not path.is_file():
        raise ProjectError(
            f"the first stage of the cascade has not predicted the case {identifier}",
            expected=path.name,
            found="no such file",
            cure="train the cascade with `selfseg train` or `selfseg run`, which predict what "
            "is missing",
            path=folder,
        )
    try:
        return read_array(path, np.int16, shape, where)
    except FileFormatError as error:
        raise FileFormatError(
            "what the first stage of the cascade predicted is damaged",
            expected=f"a label map of {shape} voxels (Z, Y, X)",
            found=error.found,
            cure="delete the file and give the same command again: it is predicted anew",
            path=path,
        ) from error


def _index_path(folder: Path, identifier: str) -> Path:
    return Path(folder) / f"{as_file_name(identifier, 'case')}.previous.json"


def _array_path(folder: Path, identifier: str) -> Path:
    return Path(folder) / f"{as_file_name(identifier, 'case')}.previous.b2nd"

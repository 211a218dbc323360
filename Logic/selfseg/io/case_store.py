"""Preprocessed cases on disk: compressed, readable patch by patch, never half there.

A case is a few files side by side in one folder per configuration:

    <identifier>.image.b2nd       (C, Z, Y, X) float32, lossless
    <identifier>.labels.b2nd      (Z, Y, X) int16, where labels are known
    <identifier>.nonzero.b2nd     (Z, Y, X) bool, where the mask is used
    <identifier>.foreground.npy   (N, 3) int32 voxel locations, all classes one after another
    <identifier>.json             the record and the index; written last: without it, no case

A cascade reads the cases of 3d_fullres and, from a folder of its own, what its first stage
predicted for them (`previous_store`).

Why blosc2, and the numbers behind block size and codec: docs/decisions/0002-case-storage.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.case import FloatArray, PreprocessedCase, PreprocessRecord
from ..domain.errors import FileFormatError, ProjectError, SelfsegError
from ..domain.geometry import Shape3
from .array_files import ARRAY_CURE, damaged_array, read_array, storage_blocks, write_array
from .atomic_files import written_atomically
from .file_names import as_file_name
from .json_files import read_json, write_json
from .previous_store import read_previous

SCHEMA = "selfseg.case/1"


@dataclass(frozen=True)
class _ForegroundEntry:
    values: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class _Index:
    """The JSON file of a case. `files` maps endings to sizes in bytes, to notice damage."""

    identifier: str
    key: str
    channel_count: int
    shape: Shape3
    foreground: tuple[_ForegroundEntry, ...]
    files: dict[str, int]
    record: PreprocessRecord


def write_case(
    folder: Path,
    case: PreprocessedCase,
    *,
    key: str = "",
    patch_size: Sequence[int] | None = None,
) -> None:
    """Stores a case; a writer killed on the way leaves nothing that `has_case` accepts.

    Args:
        folder: where the configuration's cases lie; made where it is missing.
        case: image (C, Z, Y, X) float32; labels within int16.
        key: a hash of what the case was made from (plan, source files), compared by `has_case`.
        patch_size: the patch that will be read, 2 or 3 sizes; decides the blocks.

    Raises:
        ProjectError: a name that is no file name, wrong shapes or label values, or no room.
    """
    folder = Path(folder)
    _check_case(case)
    index_path = folder / f"{as_file_name(case.identifier, 'case')}.json"
    # From here to the last line the case does not exist.
    _remove(index_path)
    shape = case.image.shape[1:]
    blocks, chunks = storage_blocks(shape, patch_size)
    sizes: dict[str, int] = {}
    for ending, array in (
        ("image.b2nd", np.ascontiguousarray(case.image, np.float32)),
        ("labels.b2nd", None if case.labels is None else case.labels.astype(np.int16)),
        ("nonzero.b2nd", None if case.nonzero is None else case.nonzero.astype(np.bool_)),
    ):
        path = folder / f"{case.identifier}.{ending}"
        if array is None:
            _remove(path)
            continue
        first = (1,) * (array.ndim - 3)
        write_array(path, np.ascontiguousarray(array), first + blocks, first + chunks)
        sizes[ending] = path.stat().st_size
    locations = [np.asarray(found, np.int32).reshape(-1, 3) for found in case.foreground.values()]
    with written_atomically(folder / f"{case.identifier}.foreground.npy") as part:
        np.save(part, np.concatenate([np.empty((0, 3), np.int32), *locations]), allow_pickle=False)
        sizes["foreground.npy"] = part.stat().st_size
    index = _Index(
        case.identifier,
        key,
        case.image.shape[0],
        shape,
        tuple(
            _ForegroundEntry(tuple(int(v) for v in values), len(found))
            for values, found in zip(case.foreground, locations, strict=True)
        ),
        sizes,
        case.record,
    )
    write_json(index_path, index, schema=SCHEMA)


def has_case(folder: Path, identifier: str, *, key: str | None = None) -> bool:
    """Whether the case is there in full.

    Args:
        folder: the configuration's folder.
        identifier: the case.
        key: where given, the case must have been written with it; a stale case is not there.
    """
    try:
        stored = open_case(folder, identifier)
    except SelfsegError:
        return False
    return key is None or stored.key == key


def open_case(folder: Path, identifier: str, *, previous: Path | None = None) -> StoredCase:
    """Opens a stored case; reads its index, no array.

    Args:
        folder: the configuration's folder.
        identifier: the case.
        previous: folder of the first stage's predictions, for a cascade.

    Raises:
        ProjectError: the case is not there.
        FileFormatError: its files are damaged.
    """
    folder = Path(folder)
    path = folder / f"{as_file_name(identifier, 'case')}.json"
    if not path.is_file():
        raise ProjectError(
            f"the case {identifier} is not preprocessed",
            expected=f"{path.name} and its arrays",
            found="nothing" if folder.is_dir() else "no such folder",
            cure="run `selfseg preprocess`",
            path=folder,
        )
    index = read_json(path, _Index, schema=SCHEMA)
    for ending, size in index.files.items():
        array_path = folder / f"{identifier}.{ending}"
        found = array_path.stat().st_size if array_path.is_file() else None
        if found != size:
            raise FileFormatError(
                f"the case {identifier} is damaged",
                expected=f"{size} bytes",
                found="no file" if found is None else f"{found} bytes",
                cure=ARRAY_CURE,
                path=array_path,
            )
    return StoredCase(folder, index, previous)


@dataclass(frozen=True)
class StoredCase:
    """A case on disk; holds paths and the index only, so that it travels cheaply to workers.

    Every read opens the file anew (0.1 ms) and closes it: thousands of cases need no open
    files, and processes and threads share nothing.
    """

    folder: Path
    _index: _Index
    _previous: Path | None = None

    @property
    def identifier(self) -> str:
        """The case's name."""
        return self._index.identifier

    @property
    def key(self) -> str:
        """The hash given to `write_case`."""
        return self._index.key

    @property
    def shape(self) -> Shape3:
        """Voxels (Z, Y, X)."""
        return self._index.shape

    @property
    def channel_count(self) -> int:
        """Number of image channels."""
        return self._index.channel_count

    @property
    def record(self) -> PreprocessRecord:
        """What preprocessing did."""
        return self._index.record

    @property
    def has_labels(self) -> bool:
        """Whether labels were stored."""
        return "labels.b2nd" in self._index.files

    @property
    def foreground(self) -> dict[tuple[int, ...], NDArray[np.int32]]:
        """Voxel locations (N, 3) per class, as in PreprocessedCase; memory-mapped, read-only.

        Not kept: a mapping holds an open file, and a data set has more cases than a process
        may have files.

        Raises:
            FileFormatError: the file is damaged.
        """
        path = self.folder / f"{self.identifier}.foreground.npy"
        total = sum(entry.count for entry in self._index.foreground)
        if total == 0:
            return {e.values: np.empty((0, 3), np.int32) for e in self._index.foreground}
        try:
            everything = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise damaged_array(path, error) from error
        if everything.shape != (total, 3) or everything.dtype != np.int32:
            raise damaged_array(path, f"{everything.dtype} {everything.shape}")
        result: dict[tuple[int, ...], NDArray[np.int32]] = {}
        begin = 0
        for entry in self._index.foreground:
            result[entry.values] = everything[begin : begin + entry.count]
            begin += entry.count
        return result

    def read_image(self, start: Sequence[int], stop: Sequence[int]) -> FloatArray:
        """The channels (C, z, y, x) float32 between two corners (Z, Y, X), as a new array.

        Raises:
            ValueError: the corners do not lie inside, or enclose nothing.
            FileFormatError: the file is damaged.
        """
        shape = (self.channel_count, *self.shape)
        image: FloatArray = self._read("image", np.float32, shape, start, stop)
        return image

    def read_labels(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.int16]:
        """The label values (z, y, x) int16 between two corners, as a new array.

        Raises:
            ProjectError: the case was stored without labels.
            ValueError, FileFormatError: see `read_image`.
        """
        if not self.has_labels:
            raise ProjectError(
                f"the case {self.identifier} was preprocessed without labels",
                expected="a label map to learn from",
                found="an image only",
                cure="add its label map to the data set, then run `selfseg preprocess` again",
                path=self.folder,
            )
        labels: NDArray[np.int16] = self._read("labels", np.int16, self.shape, start, stop)
        return labels

    def read_nonzero(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.bool_] | None:
        """The nonzero mask (z, y, x) between two corners, or None where none was stored.

        Raises:
            ValueError, FileFormatError: see `read_image`.
        """
        if "nonzero.b2nd" not in self._index.files:
            return None
        nonzero: NDArray[np.bool_] = self._read("nonzero", np.bool_, self.shape, start, stop)
        return nonzero

    def read_previous(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.int16] | None:
        """The first stage's label values (z, y, x) int16 between two corners, as a new array.

        None where the case was opened without them: there is no cascade.

        Raises:
            ProjectError: the first stage has not predicted this case.
            ValueError, FileFormatError: see `read_image`.
        """
        if self._previous is None:
            return None
        where = self._part(start, stop)
        return read_previous(self._previous, self.identifier, self.shape, where)

    def load(self) -> PreprocessedCase:
        """The whole case in memory.

        Raises:
            ProjectError, FileFormatError: a file is missing or damaged.
        """
        start = (0, 0, 0)
        return PreprocessedCase(
            self.identifier,
            self.read_image(start, self.shape),
            self.record,
            self.read_labels(start, self.shape) if self.has_labels else None,
            self.read_nonzero(start, self.shape),
            {values: np.array(found) for values, found in self.foreground.items()},
            self.read_previous(start, self.shape),
        )

    def _read(
        self,
        name: str,
        kind: type[np.generic],
        shape: tuple[int, ...],
        start: Sequence[int],
        stop: Sequence[int],
    ) -> NDArray[Any]:
        path = self.folder / f"{self.identifier}.{name}.b2nd"
        leading = (slice(None),) * (len(shape) - 3)
        return read_array(path, kind, shape, leading + self._part(start, stop))

    def _part(self, start: Sequence[int], stop: Sequence[int]) -> tuple[slice, ...]:
        if not all(0 <= a < b <= n for a, b, n in zip(start, stop, self.shape, strict=True)):
            raise ValueError(f"{tuple(start)} to {tuple(stop)} is no part of {self.shape}")
        return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))


def _check_case(case: PreprocessedCase) -> None:
    shape = case.image.shape[1:]
    wrong = ""
    if case.image.ndim != 4 or 0 in case.image.shape:
        wrong = f"an image of shape {case.image.shape}"
    for name, array in (("label map", case.labels), ("nonzero mask", case.nonzero)):
        if array is not None and array.shape != shape:
            wrong = f"a {name} of shape {array.shape} with an image of {shape}"
    limits = np.iinfo(np.int16)
    if case.labels is not None and case.labels.size and not wrong:
        low, high = int(case.labels.min()), int(case.labels.max())
        if low < limits.min or high > limits.max:
            wrong = f"label values from {low} to {high}"
    if wrong:
        raise ProjectError(
            f"the case {case.identifier} cannot be stored",
            expected="image (C, Z, Y, X), label map and mask (Z, Y, X), "
            f"label values from {limits.min} to {limits.max}",
            found=wrong,
            cure="renumber the labels where they are the reason; otherwise this is a fault of "
            "the calling code",
        )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ProjectError(
            "an old file cannot be removed",
            expected="the right to write in the folder",
            found=error.strerror or str(error),
            cure="close programs that use it, or check the folder's rights",
            path=path,
        ) from error

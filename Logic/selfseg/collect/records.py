"""What is kept about each written case, so that a second run leaves it alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..domain.errors import FileFormatError
from ..io.json_files import read_json, write_json
from .collection import CollectedCase, VoxelSource
from .overlaps import Combination

FOLDER = "collected"
"""In the data set: one file per case."""

SCHEMA = "selfseg.collected-case/1"


@dataclass(frozen=True)
class Recorded:
    """One combination of structures: its value, and how many voxels have it."""

    structures: Combination
    value: int
    voxels: int


@dataclass(frozen=True)
class CaseRecord:
    """What a case was made from.

    Args:
        case: its name.
        made_from: SHA-256 over sources and decisions.
        source: where it was found.
        notes: what was adapted.
        files: of the case, relative to the data set.
        combinations: the values of its label map.
        ignore: the value that marks what nobody has annotated; None where there is none.
    """

    case: str
    made_from: str
    source: str
    notes: tuple[str, ...]
    files: tuple[str, ...]
    combinations: tuple[Recorded, ...]
    ignore: int | None = None


def fingerprint_of(case: CollectedCase, decisions: Sequence[object]) -> str:
    """SHA-256 over all that decides what is written of a case.

    A file counts by its path, size and time of change, not by its content.

    Args:
        case: the case.
        decisions: what holds for all cases: structures, channels, ending.
    """
    files = [image.voxels for image in case.images]
    if case.segmentation is not None:
        files += case.segmentation.layers
    content = {
        "decisions": [str(decision) for decision in decisions],
        "case": {**asdict(case), "notes": None, "problems": None},
        "files": [_state(path) for source in files for path in _paths(source)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def record_path(dataset: Path, identifier: str) -> Path:
    """The file about a case."""
    return dataset / FOLDER / f"{identifier}.json"


def read_record(dataset: Path, identifier: str) -> CaseRecord | None:
    """What is known about a case; None where nothing usable is."""
    path = record_path(dataset, identifier)
    if not path.is_file():
        return None
    try:
        return read_json(path, CaseRecord, schema=SCHEMA)
    except FileFormatError:
        return None  # as if it had never been written: the case is written again


def write_record(dataset: Path, record: CaseRecord) -> None:
    """Writes it; last of all files of a case."""
    write_json(record_path(dataset, record.case), record, schema=SCHEMA)


def is_whole(dataset: Path, record: CaseRecord, fingerprint: str) -> bool:
    """Whether the case was written from the same sources, and all its files are there."""
    return record.made_from == fingerprint and all(
        (dataset / name).is_file() for name in record.files
    )


def _paths(source: VoxelSource) -> tuple[Path, ...]:
    return source.files or (() if source.path is None else (source.path,))


def _state(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), status.st_size, status.st_mtime_ns

"""The fingerprint of a data set, measured case by case in parallel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..domain.case import RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import DatasetError
from ..domain.events import Notice, Reporter
from ..domain.fingerprint import Fingerprint
from ..io.workers import map_cases, worker_count
from .measure import CaseMeasurement, combine, measure_case

STAGE = "fingerprint"

_BYTES_PER_FILE_BYTE = 12
"""Peak memory per byte on disk: float32 of int16 that is compressed threefold, twice over."""


def take_fingerprint(
    cases: Sequence[CaseFiles],
    read: Callable[[CaseFiles], RawCase],
    *,
    workers: int | None = None,
    reporter: Reporter,
) -> Fingerprint:
    """Measures all cases; the result depends on nothing but the files and their order.

    Args:
        cases: the training cases.
        read: reads one case with its labels; picklable.
        workers: processes; None chooses by cores and memory.
        reporter: gets a `Progress` per case, and a `Notice` where a case has no foreground.

    Raises:
        DatasetError: a case cannot be read, or no case has foreground.
    """
    sizes = [sum(_size(path) for path in _files(case)) for case in cases]
    count = worker_count(workers, len(cases), max(sizes, default=0) * _BYTES_PER_FILE_BYTE)
    measurements = tuple(
        map_cases(
            partial(_measure, read=read),
            cases,
            workers=count,
            stage=STAGE,
            name=_identifier,
            reporter=reporter,
        )
    )
    empty = [m.identifier for m in measurements if not m.foreground]
    if empty and len(empty) < len(measurements):
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        reporter(
            Notice(
                f"{len(empty)} of {len(measurements)} cases have no labelled voxel ({shown}); "
                "they are left out of the intensity statistics"
            )
        )
    return combine(measurements, dataset_hash(measurements))


def dataset_hash(measurements: Sequence[CaseMeasurement]) -> str:
    """SHA-256 (hexadecimal) of the names of the cases and the contents of their files."""
    whole = hashlib.sha256()
    for case in measurements:
        whole.update(f"{case.identifier}\0{case.content_hash}\n".encode())
    return whole.hexdigest()


def hash_files(case: CaseFiles) -> str:
    """SHA-256 (hexadecimal) of the contents of a case's files: images, then label map.

    Raises:
        DatasetError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for path in _files(case):
        try:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DatasetError(
                "the file cannot be read",
                expected="a readable file",
                found=str(error),
                cure="check that it is there and that you may read it",
                path=path,
            ) from error
    return whole.hexdigest()


def _measure(case: CaseFiles, read: Callable[[CaseFiles], RawCase]) -> CaseMeasurement:
    return measure_case(read(case), hash_files(case))


def _identifier(case: CaseFiles) -> str:
    return case.identifier


def _files(case: CaseFiles) -> tuple[Path, ...]:
    return case.images if case.label is None else (*case.images, case.label)


def _size(path: Path) -> int:
    # A missing file is the reader's to report, with the cure.
    return path.stat().st_size if path.is_file() else 0

"""Segmentations to the files of other programs, many at a time; a table of their volumes."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..domain.errors import Cancelled, ProjectError, SelfsegError
from ..domain.events import (
    CaseFinished,
    Notice,
    Progress,
    Reporter,
    StageFinished,
    StageStarted,
)
from ..domain.segments import Segment
from ..io.atomic_files import TEMPORARY_PREFIX, written_atomically
from ..io.staged_folders import make_folder
from .export_forms import WRITERS, ExportOptions, Outgoing
from .export_sources import ExportCase, LoadedSegments, load_segments
from .failures import CASE_FAULTS, Failures
from .volumes import TABLE_FILE, VolumeRow, unit_of, voxel_size, write_volume_table

MODEL_REPORT = "model_report.html"


def export_segmentations(
    cases: Sequence[ExportCase],
    output: Path,
    options: ExportOptions,
    *,
    reporter: Reporter,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Path, ...]:
    """Writes every case; one that fails is named at the end and keeps no other from its files.

    Args:
        cases: what to export.
        output: folder, made where it is missing; files of the same name are replaced.
        options: how.
        reporter: is told of each case.
        should_stop: polled between cases.
        clock: seconds.

    Returns:
        the files, or folders of files, one per case; the table of a report.

    Raises:
        Cancelled: `should_stop` said so; what is written stays.
        ProjectError: the folder cannot be made.
        CasesFailed: some of several cases.
        SelfsegError: the only case.
    """
    there = output.exists()
    make_folder(output)
    try:
        return _export(cases, output, options, reporter, should_stop, clock)
    except BaseException:
        if not there:
            with suppress(OSError):  # it holds something
                output.rmdir()
        raise


def _export(
    cases: Sequence[ExportCase],
    output: Path,
    options: ExportOptions,
    reporter: Reporter,
    should_stop: Callable[[], bool],
    clock: Callable[[], float],
) -> tuple[Path, ...]:
    began = clock()
    stage, failures = f"export {options.format}", Failures(reporter)
    reporter(StageStarted(stage, total=len(cases), unit="case"))
    written: list[Path] = []
    rows: list[VolumeRow] = []
    for done, case in enumerate(cases):
        if should_stop():
            raise Cancelled("stopped; what is written stays")
        start = clock()
        try:
            loaded = load_segments(case)
            if options.format == "report":
                rows.append(_row(case, loaded))
                path = output / TABLE_FILE
            else:
                with _in_full(output) as part:
                    export = Outgoing(case.identifier, part, options, reporter)
                    made = WRITERS[options.format](export, loaded)
                path = output / made.relative_to(part)
        except CASE_FAULTS as error:
            failures.add(case.identifier, error)
        else:
            written.append(path)
            reporter(CaseFinished(case.identifier, clock() - start, str(path)))
        reporter(Progress(stage, done + 1, len(cases)))
    if options.format == "report" and rows:
        rows += [VolumeRow(name, failure=fault.what) for name, fault in failures.found.items()]
        write_volume_table(output / TABLE_FILE, rows)
        written = [output / TABLE_FILE, *_model_report(options, output, reporter)]
    reporter(StageFinished(stage, seconds=clock() - began))
    failures.raise_any(len(cases), "mend or remove these, and export again")
    return tuple(written)


@contextmanager
def _in_full(output: Path) -> Iterator[Path]:
    """A folder whose files come into `output` once the block ends well: all of a case or none.

    Raises:
        ProjectError: they cannot be written.
    """
    part = output / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"
    make_folder(part)
    try:
        yield part
        for place, _folders, files in os.walk(part):
            target = output / Path(place).relative_to(part)
            make_folder(target)
            for name in files:
                os.replace(os.path.join(place, name), target / name)
    except SelfsegError as error:
        if error.path is None or not Path(error.path).is_relative_to(part):
            raise
        # Nobody knows the unfinished folder, and it is gone when the user reads this.
        raise error.retold(path=output / Path(error.path).relative_to(part)) from error
    except OSError as error:
        raise ProjectError(
            "the file cannot be written",
            expected="a folder with the right to write and enough free space",
            found=error.strerror or str(error),
            cure="free some space, or choose another folder",
            path=output,
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _row(case: ExportCase, loaded: LoadedSegments) -> VolumeRow:
    grid = loaded.place.grid
    sizes = {
        name: round(
            int((loaded.layers[segment.layer] == segment.value).sum()) * voxel_size(grid), 6
        )
        for segment, name in zip(
            loaded.place.segments, _distinct(loaded.place.segments), strict=True
        )
    }
    note = case.note
    dice, hd95 = (note.dice, note.hd95_mm) if note else (None, None)
    reasons = note.reasons if note and (note.reasons or note.dice is not None) else None
    return VolumeRow(case.identifier, sizes, unit_of(grid), dice, hd95, reasons)


def _distinct(segments: Sequence[Segment]) -> list[str]:
    names: list[str] = []
    for segment in segments:
        count = sum(
            other == segment.name or other.startswith(f"{segment.name} (") for other in names
        )
        names.append(segment.name if not count else f"{segment.name} ({count + 1})")
    return names


def _model_report(options: ExportOptions, output: Path, reporter: Reporter) -> list[Path]:
    if options.model is None:
        return []
    source = options.model / "report.html"
    if not source.is_file():
        reporter(Notice("the model has no report", level="warning"))
        return []
    target = output / MODEL_REPORT
    with written_atomically(target) as part:
        shutil.copyfile(source, part)
    return [target]

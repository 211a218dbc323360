"""Looks through sources and says, case by case, what can be learned from and what is wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..domain.errors import Cancelled, DatasetError, ProjectError, SelfsegError
from ..domain.events import Progress, Reporter, StageFinished, StageStarted, silent
from ..io.file_names import as_file_name
from .channels import unify_channels
from .collection import CollectedCase, Collection, CollectOptions
from .collection_file import file_cases, options_of, read_collection_file
from .dataset_folders import dataset_cases
from .dicom_folders import dicom_cases
from .folders import folder_cases, look_through
from .known_names import unknown_names
from .pairing import claimed_once, judged_place
from .scenes import scene_cases
from .structures import unify
from .tables import table_cases

STAGE = "look"


def survey(
    sources: Sequence[Path],
    options: CollectOptions | None = None,
    *,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Collection:
    """Finds the cases of all sources, and what their structures are.

    Headers are read, and the voxels of label maps that bring no list of what is in them.

    Args:
        sources: folders, `.mrb` and `.mrml` scenes, `.csv` tables, `.json` collection files.
        options: what the user has decided.
        reporter: is told how far it is.
        should_stop: polled between cases.

    Raises:
        DatasetError: a source is none of these, or nothing is in it.
        Cancelled: `should_stop` said so.
    """
    options = options or CollectOptions()
    if not sources:
        raise DatasetError(
            "there is nothing to collect from",
            expected="folders, .mrb scenes, .csv tables or .json collection files",
            found="none",
            cure="name at least one",
        )
    started = time.monotonic()
    reporter(StageStarted(STAGE, len(sources), "sources"))
    found: list[CollectedCase] = []
    for done, source in enumerate(sources):
        for case in _cases_of(Path(source), options):
            found.append(case)
            reporter(Progress(STAGE, done, len(sources), detail=case.identifier))
            if should_stop():
                raise Cancelled("stopped as you asked", cure="give the same command again")
        reporter(Progress(STAGE, done + 1, len(sources), detail=Path(source).name))
    if len(sources) == 1 and Path(sources[0]).suffix.lower() == ".json":
        options = options_of(read_collection_file(Path(sources[0])), options)
    collection = judged(found, options, name=options.name or _name(Path(sources[0])))
    ready = len(collection.ready)
    reporter(
        StageFinished(
            STAGE, time.monotonic() - started, detail=f"{ready} of {len(collection.cases)} ready"
        )
    )
    return collection


def judged(cases: Sequence[CollectedCase], options: CollectOptions, *, name: str) -> Collection:
    """What found cases make together: their names, places, channels and structures checked.

    Raises:
        DatasetError: there is no case.
    """
    if not cases:
        raise DatasetError(
            "nothing to learn from was found",
            expected="images with segmentations: .seg.nrrd, label maps, scenes, DICOM SEG",
            found="none",
            cure="check the path; docs/how-to/train-on-slicer-segmentations.md shows what is read",
        )
    excluded = set(options.excluded)
    rows = [_named(case) for case in cases]
    rows = [replace(case, excluded=case.excluded or case.identifier in excluded) for case in rows]
    rows = list(claimed_once(list(_distinct(rows))))
    rows = [case if case.excluded else judged_place(case) for case in rows]
    rows.sort(key=lambda case: case.identifier)
    channels, named, notes = unify_channels(rows, options)
    structures, final, more = unify(named, options)
    slips = map(str, unknown_names(final, options))
    return Collection(name, channels, structures, final, (*notes, *more, *slips))


def _cases_of(source: Path, options: CollectOptions) -> Iterator[CollectedCase]:
    if source.is_dir():
        yield from _folder(source, options)
        return
    if not source.is_file():
        raise DatasetError(
            "there is no such file or folder",
            expected="something to collect from",
            found="nothing",
            cure="check the path and its spelling",
            path=source,
        )
    readers = {".mrb": _scene, ".mrml": _scene, ".csv": table_cases, ".json": _collection_file}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise DatasetError(
            "this kind of file is not collected from",
            expected="a folder, or a file ending in " + ", ".join(readers),
            found=source.name,
            cure="name its folder, or a table (.csv) that lists the files",
            path=source,
        )
    yield from reader(source, options)


def _folder(folder: Path, options: CollectOptions) -> Iterator[CollectedCase]:
    content = look_through(folder)
    for dataset in content.datasets:
        yield from _guarded(dataset, dataset_cases(dataset))
    for scene in content.scenes:
        yield from _scene(scene, options)
    if content.dicom:
        yield from dicom_cases(folder, content.dicom, options)
    yield from folder_cases(folder, content, options)


def _scene(path: Path, options: CollectOptions) -> Iterator[CollectedCase]:
    yield from _guarded(path, scene_cases(path, options))


def _collection_file(path: Path, options: CollectOptions) -> Iterator[CollectedCase]:
    yield from file_cases(path, read_collection_file(path))


def _guarded(path: Path, cases: Iterator[CollectedCase]) -> Iterator[CollectedCase]:
    """One damaged scene among many is a row with a problem, not the end."""
    try:
        yield from cases
    except (Cancelled, ProjectError):
        raise
    except SelfsegError as error:
        found = f" ({error.found})" if error.found else ""
        yield CollectedCase(_name(path), path).with_problem(
            "unreadable", f"{path.name}: {error.what}{found}", error.cure
        )


def _distinct(cases: Sequence[CollectedCase]) -> Iterator[CollectedCase]:
    counts = Counter(case.identifier.casefold() for case in cases if not case.excluded)
    for case in cases:
        if counts[case.identifier.casefold()] > 1 and not case.excluded:
            yield case.with_problem(
                "doubled-case",
                f"{counts[case.identifier.casefold()]} cases are called {case.identifier!r}",
                "rename a file, folder or line of the table, or collect from fewer sources",
            )
        else:
            yield case


def _named(case: CollectedCase) -> CollectedCase:
    """The same with a name that can be a file's."""
    plain = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in case.identifier).strip("._")
    try:
        plain = as_file_name(plain or "case", "case")
    except ProjectError:
        plain = "case_" + plain[:100]
    if plain == case.identifier:
        return case
    return replace(case, identifier=plain)


def _name(source: Path) -> str:
    return source.resolve().name if source.is_dir() else source.stem

"""A collection as a data set folder: imagesTr, labelsTr, and dataset.json when all is there."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..domain.errors import Cancelled, SelfsegError
from ..domain.events import (
    CaseFinished,
    Notice,
    Progress,
    Reporter,
    StageFinished,
    StageStarted,
    silent,
)
from ..domain.labels import LabelScheme
from ..io.atomic_files import remove_unfinished, written_atomically
from ..io.dataset_appearance import KEY as APPEARANCE
from ..io.dataset_appearance import appearance_of
from ..io.dataset_json import FILE_NAME
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.images import grid_difference, read_label_map, write_label_map
from ..io.itk_images import write_itk
from ..io.json_files import write_plain_json
from .collection import CollectedCase, CollectedImage, Collection
from .overlaps import Combination, Combinations, join, scheme_of
from .pairing import same_transform
from .readiness import common_ending, make_folder, require_own, require_ready, require_space
from .records import (
    FOLDER,
    CaseRecord,
    Recorded,
    fingerprint_of,
    is_whole,
    read_record,
    record_path,
    write_record,
)
from .rows import DatasetWritten
from .unpacking import unpacked
from .voxels import CaseVoxels

STAGE = "collect"
PROVISIONAL_IGNORE = 60_000
"""Marks what nobody has annotated until all combinations are known: it comes after the last."""

PACKED = 0.25
"""Least share of 4 bytes per voxel that images pack to: 16-bit scans to a half of their half."""


@dataclass(frozen=True)
class _Target:
    """What is written where."""

    folder: Path
    ending: str
    collection: Collection
    combinations: Combinations

    def image(self, identifier: str, channel: int) -> Path:
        return self.folder / "imagesTr" / f"{identifier}_{channel:04d}{self.ending}"

    def labels(self, identifier: str) -> Path:
        return self.folder / "labelsTr" / f"{identifier}{self.ending}"

    def fingerprint(self, case: CollectedCase) -> str:
        names = [structure.name for structure in self.collection.structures]
        return fingerprint_of(case, (names, self.collection.channels, self.ending))


def write_dataset(
    collection: Collection,
    folder: Path,
    *,
    skip_problems: bool = False,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> DatasetWritten:
    """Writes all ready cases, and dataset.json last.

    A case that was written from the same files with the same decisions is left alone, so that a
    call that was stopped goes on with the next one.

    Args:
        collection: as `survey` gives it.
        folder: of the data set; new, empty or written by this function before.
        skip_problems: leaves cases with problems out instead of refusing.
        reporter: is told how far it is.
        should_stop: polled between cases.

    Raises:
        DatasetError: cases have problems, none is ready, or another data set is in the folder.
        ImageError: a file cannot be read, or has changed since it was looked at.
        ProjectError: the folder cannot be written, or the disk is too small.
        Cancelled: `should_stop` said so; what is written is kept.
    """
    started = time.monotonic()
    folder = Path(folder)
    cases = require_ready(collection, skip_problems)
    require_own(folder)
    target = _Target(
        folder, common_ending(cases), collection, Combinations(len(collection.structures))
    )
    require_space(folder, PACKED * collection.bytes_estimate)
    kept = _kept(target, cases)
    reporter(StageStarted(STAGE, len(cases), "cases"))
    make_folder(folder / FOLDER)  # from now on the folder is ours, however soon this ends
    if len(kept) < len(cases) or _others(folder, cases):
        (folder / FILE_NAME).unlink(missing_ok=True)
        _remove_others(folder, cases)
    records = []
    for done, case in enumerate(cases):
        record = kept.get(case.identifier)
        if record is None:
            if should_stop():
                raise Cancelled("stopped as you asked", cure="give the same command again")
            record = _write_case(target, case, reporter)
        records.append(record)
        left = (time.monotonic() - started) / (done + 1) * (len(cases) - done - 1)
        reporter(Progress(STAGE, done + 1, len(cases), left, case.identifier))
    _finish(target, records, cases, reporter)
    left_out = tuple(case.identifier for case in collection.cases if case.state != "ready")
    written = DatasetWritten(str(folder), len(cases), left_out)
    reporter(StageFinished(STAGE, time.monotonic() - started, detail=f"{len(cases)} cases"))
    reporter(written)
    return written


def _kept(target: _Target, cases: tuple[CollectedCase, ...]) -> dict[str, CaseRecord]:
    """Records of cases that are written already; their values stay what they are."""
    kept: dict[str, CaseRecord] = {}
    taken = dict(target.combinations.values)
    values = {value: combination for combination, value in taken.items()}
    for case in cases:
        record = read_record(target.folder, case.identifier)
        if record is None or not is_whole(target.folder, record, target.fingerprint(case)):
            continue
        own = {item.structures: item.value for item in record.combinations}
        fits = all(
            values.get(value, combination) == combination and taken.get(combination, value) == value
            for combination, value in own.items()
        )
        if fits:
            taken |= own
            values |= {value: combination for combination, value in own.items()}
            kept[case.identifier] = record
    # Without gaps, or a new combination could get a value that is taken.
    if sorted(values) != list(range(1, len(values) + 1)):
        return {}
    target.combinations.values.update(taken)
    return kept


def _others(folder: Path, cases: tuple[CollectedCase, ...]) -> list[str]:
    """Cases written before that are no longer taken."""
    wanted = {case.identifier for case in cases}
    return [
        path.stem for path in sorted((folder / FOLDER).glob("*.json")) if path.stem not in wanted
    ]


def _remove_others(folder: Path, cases: tuple[CollectedCase, ...]) -> None:
    for place in ("imagesTr", "labelsTr", FOLDER):
        remove_unfinished(folder / place)
    for identifier in _others(folder, cases):
        record = read_record(folder, identifier)
        for name in () if record is None else record.files:
            path = folder / name
            if path.resolve().is_relative_to(folder.resolve()):
                path.unlink(missing_ok=True)
        record_path(folder, identifier).unlink(missing_ok=True)


def _write_case(target: _Target, case: CollectedCase, reporter: Reporter) -> CaseRecord:
    started = time.monotonic()
    size = case.grid.shape if case.grid is not None else (0, 0, 0)
    require_space(target.folder, 4.0 * len(case.images) * size[0] * size[1] * size[2])
    with _named(case), _with_members(case, target.folder) as place:
        voxels = CaseVoxels(case, place)
        # The colours of a picture stay in its file, as nnU-Net has them.
        count = 1 if _is_picture(case, target.ending) else len(case.images)
        paths = [target.image(case.identifier, i) for i in range(count)]
        for index, path in enumerate(paths):
            _write_channel(voxels, index, path, target.ending)
        names = [structure.name for structure in target.collection.structures]
        grid = voxels.grid
        joined = join(grid.shape, voxels.masks(), target.combinations, names)
        labels = joined.labels
        marked = voxels.ignored()
        if case.unknown:
            marked = np.ones(grid.shape, dtype=bool)
        if marked is not None:
            labels[marked & (labels == 0)] = PROVISIONAL_IGNORE
        paths.append(target.labels(case.identifier))
        write_label_map(paths[-1], labels, grid)
    for note in joined.notes:
        reporter(Notice(f"{case.identifier}: {note}"))
    record = CaseRecord(
        case.identifier,
        target.fingerprint(case),
        str(case.source),
        (*case.notes, *joined.notes),
        tuple(path.relative_to(target.folder).as_posix() for path in paths),
        tuple(
            Recorded(combination, target.combinations.value(combination), count)
            for combination, count in joined.voxels.items()
        ),
        None if marked is None else PROVISIONAL_IGNORE,
    )
    write_record(target.folder, record)
    reporter(CaseFinished(case.identifier, time.monotonic() - started, str(paths[-1])))
    return record


def _write_channel(voxels: CaseVoxels, index: int, path: Path, ending: str) -> None:
    image = voxels.case.images[index]
    if _copied(voxels.case, image, ending):
        with written_atomically(path) as part:
            shutil.copyfile(voxels.file_of(image.voxels), part)
        return
    channel = voxels.channel(index)
    if channel.dtype.kind == "b" or channel.dtype == np.float64 or channel.dtype.itemsize > 4:
        channel = channel.astype(np.uint8 if channel.dtype.kind == "b" else np.float32)
    with written_atomically(path) as part:
        write_itk(part, np.ascontiguousarray(channel), voxels.grid)


def _copied(case: CollectedCase, image: CollectedImage, ending: str) -> bool:
    """Whether the file can stay as it is: one channel, on the grid of the case."""
    source, first = image.voxels, case.images[0]
    if source.form != "image" or (image_ending(source.shown) or "").lower() != ending:
        return False
    if source.components > 1 and not _is_picture(case, ending):
        return False
    return same_transform(image.to_world, first.to_world) and not grid_difference(
        first.voxels.grid, source.grid
    )


def _is_picture(case: CollectedCase, ending: str) -> bool:
    """Whether one picture file holds all channels."""
    paths = {image.voxels.path for image in case.images}
    count = case.images[0].voxels.components
    return ending not in ITK_ENDINGS and len(paths) == 1 and count == len(case.images)


@contextmanager
def _with_members(case: CollectedCase, folder: Path) -> Iterator[Path]:
    """A folder with the case's files of a `.mrb`, gone at the end of the block."""
    sources = [image.voxels for image in case.images]
    if case.segmentation is not None:
        sources += case.segmentation.layers
    members = {source.member: source.path for source in sources if source.member}
    archive = next(iter(members.values()), None)
    if archive is None:
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with unpacked(archive, folder) as opened:
        for member in members:
            opened.file(member)
        yield opened.folder


@contextmanager
def _named(case: CollectedCase) -> Iterator[None]:
    """Puts the case's name into every error that leaves the block."""
    try:
        yield
    except SelfsegError as error:
        if case.identifier in str(error):
            raise
        raise error.retold(what=f"case {case.identifier}: {error.what}") from error


def _finish(
    target: _Target,
    records: list[CaseRecord],
    cases: tuple[CollectedCase, ...],
    reporter: Reporter,
) -> None:
    """Gives the ignore value its place, and writes dataset.json."""
    voxels: Counter[Combination] = Counter()
    for record in records:
        voxels.update({item.structures: item.voxels for item in record.combinations})
    seen = {index for combination in voxels for index in combination}
    for index, structure in enumerate(target.collection.structures):
        if index not in seen:
            reporter(Notice(f"{structure.name!r} has no voxel in any case", "warning"))
    marked = [record for record in records if record.ignore is not None]
    scheme = scheme_of(
        target.collection.structures, target.combinations, voxels, ignore=bool(marked)
    )
    for record in marked:
        if record.ignore != scheme.ignore:
            path = target.labels(record.case)
            labels, grid = read_label_map(path)
            labels = labels.astype(np.int32)
            # A run that was stopped here may have changed the file and not its record.
            labels[(labels == record.ignore) | (labels == PROVISIONAL_IGNORE)] = scheme.ignore
            write_label_map(path, labels, grid)
            write_record(target.folder, replace(record, ignore=scheme.ignore))
    write_plain_json(target.folder / FILE_NAME, _description(target, scheme, cases))


def _description(
    target: _Target, scheme: LabelScheme, cases: tuple[CollectedCase, ...]
) -> dict[str, object]:
    collection = target.collection
    content: dict[str, object] = {
        "name": collection.name,
        "channel_names": {str(i): name for i, name in enumerate(collection.channels)},
        "labels": scheme.to_mapping(),
        "numTraining": len(cases),
        "file_ending": target.ending,
    }
    if scheme.regions_class_order is not None:
        content["regions_class_order"] = list(scheme.regions_class_order)
    texts = {s.name: s.terms.text for s in collection.structures if s.terms is not None}
    if appearance := appearance_of(scheme, texts):
        content[APPEARANCE] = appearance
    groups = {case.identifier: case.group for case in cases if case.group}
    if groups:
        content["groups"] = groups
    return content

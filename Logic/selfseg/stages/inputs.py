"""What there is to predict: image files, folders of them, DICOM series in folders.

One input that cannot be used keeps the others from nothing: it is handed on as a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..domain.dataset import CaseFiles
from ..domain.errors import DatasetError, SelfsegError
from ..domain.events import Notice, Reporter
from ..io.datasets import find_cases
from ..io.dicom_series import Series, find_series, read_series, write_series
from ..io.image_endings import (
    ITK_ENDINGS,
    image_ending,
    list_images,
    name_without_ending,
    split_channel,
)

CONVERTED_FOLDER = "images"
"""In the output folder: DICOM series as files, where `review` looks for them."""


@dataclass(frozen=True)
class Inputs:
    """The cases of a prediction.

    Args:
        cases: sorted by name.
        series: of cases that are DICOM series: their one image file is made from it.
        faults: what is wrong with inputs that make no case, by name.
    """

    cases: tuple[CaseFiles, ...]
    series: Mapping[str, Series] = field(default_factory=dict)
    faults: Mapping[str, SelfsegError] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Of the cases that were asked for."""
        return len(self.cases) + len(self.faults)


def find_inputs(
    inputs: Sequence[Path],
    channel_count: int,
    ending: str,
    output: Path,
    *,
    reporter: Reporter,
) -> Inputs:
    """Finds the cases among files and folders.

    A folder gives the images in it, of every format where the model is one for volumes, and
    the DICOM series in it and below it.

    Args:
        inputs: files and folders.
        channel_count: of the model.
        ending: of the model's training images; tells volumes from pictures.
        output: folder of the label maps; converted series go into a folder in it.
        reporter: is told what was found.

    Raises:
        DatasetError: nothing was found, or the only case cannot be used.
    """
    series: dict[str, Series] = {}
    files: list[Path] = []
    for given in map(Path, inputs):
        if not given.is_dir():
            files.append(given)
            continue
        found = find_series(given) if channel_count == 1 else ()
        listed = _of_folder(given, ending)
        if not found and not listed:
            files.append(given)  # its error says what is missing
        files += listed
        for one in found:
            series[_unique(one.name, series)] = one
    cases, faults = _cases_of_files(files, channel_count, ending)
    if series:
        reporter(Notice(f"{len(series)} DICOM series found"))
    names = {case.identifier.casefold() for case in cases}
    for name, one in series.items():
        if name.casefold() in names:
            faults[name] = _same_name(name, one.files[0].parent)
            continue
        cases.append(CaseFiles(name, (output / CONVERTED_FOLDER / f"{name}_0000.nrrd",)))
    kept = {case.identifier for case in cases}
    cases.sort(key=lambda case: case.identifier)
    if len(faults) == 1 and not cases:
        raise next(iter(faults.values()))
    return Inputs(tuple(cases), {name: one for name, one in series.items() if name in kept}, faults)


def convert_series(series: Series, path: Path) -> None:
    """Writes a series as one file, uncompressed; one that is newer than the series stays.

    Raises:
        ImageError: the series is no whole volume.
        ProjectError: the file cannot be written.
    """
    newest = max(file.stat().st_mtime_ns for file in series.files)
    if path.is_file() and path.stat().st_mtime_ns >= newest:
        return
    write_series(path, *read_series(series))


def _of_folder(folder: Path, ending: str) -> list[Path]:
    volumes = ending.lower() in ITK_ENDINGS
    return [
        path
        for path in list_images(folder)
        if (str(image_ending(path)).lower() in ITK_ENDINGS) == volumes
    ]


def _cases_of_files(
    files: Sequence[Path], channel_count: int, ending: str
) -> tuple[list[CaseFiles], dict[str, SelfsegError]]:
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        identifier, _ = split_channel(name_without_ending(path))
        groups.setdefault((path.parent, identifier), []).append(path)
    if len(groups) <= 1:
        return list(find_cases(files, channel_count, ending)) if files else [], {}
    cases: dict[str, CaseFiles] = {}
    faults: dict[str, SelfsegError] = {}
    for (folder, identifier), group in groups.items():
        try:
            found = find_cases(group, channel_count, ending)
        except DatasetError as error:
            faults[_unique(identifier, faults)] = error
            continue
        for case in found:
            if case.identifier.casefold() in {name.casefold() for name in cases}:
                faults[_unique(case.identifier, faults)] = _same_name(case.identifier, folder)
            else:
                cases[case.identifier] = case
    return list(cases.values()), faults


def _same_name(name: str, folder: Path) -> DatasetError:
    return DatasetError(
        f"two inputs are called {name!r}, their results would overwrite each other",
        expected="different names, also without upper and lower case",
        found=f"another one in {folder}",
        cure="rename one, or predict them into different folders",
        path=folder,
    )


def _unique(name: str, taken: Mapping[str, object]) -> str:
    known = {other.casefold() for other in taken}
    number, made = 2, name
    while made.casefold() in known:
        made, number = f"{name}_{number}", number + 1
    return made

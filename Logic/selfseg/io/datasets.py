"""Data set folders and lists of files, turned into cases."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..domain.dataset import CaseFiles, Dataset
from ..domain.errors import DatasetError
from .dataset_json import FILE_NAME, parse_description, raise_errors
from .dataset_layout import lay_out
from .image_endings import (
    IMAGE_ENDINGS,
    image_ending,
    list_images,
    name_without_ending,
    split_channel,
)
from .images import channel_count as channels_in
from .json_files import read_plain_json

_TOLERATED = frozenset({"label-without-image"})
"""Faults worth correcting that do not touch the training cases."""


def open_dataset(folder: Path) -> Dataset:
    """Opens an nnU-Net v2 raw folder or a folder of the Medical Segmentation Decathlon.

    Reads dataset.json and lists files; of the images it looks at one at most, to count its
    channels (`dataset_check.check_dataset` reads them all).

    Raises:
        DatasetError: dataset.json is missing or wrong, files are missing, names collide, the
            first case has not as many channels as dataset.json names.
    """
    folder = Path(folder)
    mapping = read_dataset_json(folder)
    description = parse_description(mapping, folder)
    layout = lay_out(folder, mapping, description.file_ending, len(description.channel_names))
    raise_errors((fault for fault in layout.faults if fault.kind not in _TOLERATED), folder)
    _require_channels(layout.cases[0], description.channel_names)
    return Dataset(
        folder=folder,
        description=replace(description, case_count=len(layout.cases)),
        cases=tuple(layout.cases),
        splits=layout.splits,
        test_cases=tuple(layout.test_cases),
        groups=layout.groups,
    )


def _require_channels(case: CaseFiles, names: tuple[str, ...]) -> None:
    if len(case.images) == len(names):
        return
    held = sum(channels_in(path) for path in case.images)
    if held != len(names):
        raise DatasetError(
            f"case {case.identifier}: the number of channels is not that of {FILE_NAME}",
            expected=f"{len(names)} channels: {', '.join(names)}",
            found=f"{held} in {len(case.images)} files",
            cure='add or remove channel files, or correct "channel_names"',
            path=case.images[0],
        )


def read_dataset_json(folder: Path) -> Mapping[str, Any]:
    """The content of a folder's dataset.json.

    Raises:
        DatasetError: there is none, or it is not an object.
        FileFormatError: it is not JSON.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        nested = sorted(folder.glob(f"*/{FILE_NAME}")) if folder.is_dir() else []
        cure = _making(folder) if folder.is_dir() else "check the path and its spelling"
        raise DatasetError(
            f"there is no {FILE_NAME}" if folder.is_dir() else "there is no such folder",
            expected=f"a folder with {FILE_NAME}, imagesTr and labelsTr",
            found=f"data sets in {', '.join(p.parent.name for p in nested[:5])}"
            if nested
            else "none",
            cure="name the folder of one data set" if nested else cure,
            path=folder,
        )
    content = read_plain_json(path)
    if not isinstance(content, Mapping):
        raise DatasetError(
            f"{FILE_NAME} is not an object",
            expected='{"channel_names": ..., "labels": ..., ...}',
            found=type(content).__name__,
            cure=_making(folder),
            path=path,
        )
    return content


def _making(folder: Path) -> str:
    """How the folder of somebody who has no data set yet becomes one."""
    return (
        f"let `selfseg collect {shlex.quote(str(folder))} --dry-run` look what is in it (scans "
        f"with segmentations become a data set), or write {FILE_NAME} as nnU-Net describes it"
    )


def find_cases(
    inputs: Sequence[Path], channel_count: int, file_ending: str | None = None
) -> tuple[CaseFiles, ...]:
    """Finds the cases to predict among files and folders.

    Files "<case>_0000", "<case>_0001", ... are channels of one case; any other file is a case
    of its own, and so is a file that ends in four digits where no "_0000" goes with it.

    Args:
        inputs: image files, and folders of such (not searched below their first level).
        channel_count: how many channels a case must have.
        file_ending: which files of folders to take; None takes every image. Files named one
            by one may have any ending.

    Returns:
        Cases sorted by name, their channels in order.

    Raises:
        DatasetError: nothing found, unknown ending, a channel too few or too many, two cases
            of one name.
        ImageError: a file must be read to count its channels and cannot be.
    """
    files = _image_files(inputs, file_ending)
    groups: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in files:
        identifier, channel = split_channel(name_without_ending(path))
        if channel is not None:
            groups.setdefault((path.parent, identifier), {})[channel] = path
    cases: list[CaseFiles] = []
    grouped: set[Path] = set()
    for (_, identifier), group in groups.items():
        if 0 in group or (channel_count > 1 and len(group) > 1):
            cases.append(_joined(identifier, group, channel_count))
            grouped.update(group.values())
    for path in files:
        if path not in grouped:
            cases.append(_joined(name_without_ending(path), {0: path}, channel_count))
    cases.sort(key=lambda case: case.identifier)
    _require_distinct(cases)
    return tuple(cases)


def _image_files(inputs: Sequence[Path], file_ending: str | None) -> list[Path]:
    files: dict[Path, Path] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            listed = list_images(given, file_ending)
            if not listed:
                others = sorted({str(image_ending(path)) for path in list_images(given)})
                raise DatasetError(
                    "the folder holds no image to predict",
                    expected=f"files ending in {file_ending or ', '.join(IMAGE_ENDINGS)}",
                    found=f"images ending in {', '.join(others)}" if others else "none",
                    cure="name the files themselves instead of their folder"
                    if others
                    else "check the path; folders inside it are not searched",
                    path=given,
                )
        elif not given.exists():
            raise DatasetError(
                "there is no such file",
                expected="an image, or a folder of images",
                found="nothing",
                cure="check the path and its spelling",
                path=given,
            )
        elif image_ending(given) is None:
            raise DatasetError(
                "unknown kind of image",
                expected="one of " + ", ".join(IMAGE_ENDINGS),
                found=given.name,
                cure="convert it to .nii.gz (volumes) or .png (pictures)",
                path=given,
            )
        else:
            listed = [given]
        for path in listed:
            files.setdefault(path.resolve(), path)
    if not files:
        raise DatasetError(
            "nothing to predict",
            expected="image files, or folders of images",
            found="none",
            cure="name at least one",
        )
    return list(files.values())


def _joined(identifier: str, group: dict[int, Path], channel_count: int) -> CaseFiles:
    present = sorted(group)
    paths = tuple(group[channel] for channel in present)
    gaps = [i for i in range(present[-1] + 1) if i not in group]
    # Few files may hold many channels (RGB, 4D); only then is it worth looking inside.
    held = len(paths)
    if not gaps and held < channel_count:
        held = sum(channels_in(path) for path in paths)
    if gaps or held < channel_count:
        missing = gaps or range(len(paths), channel_count)
        ending = image_ending(paths[0])
        raise DatasetError(
            f"case {identifier}: a channel is missing",
            expected=f"{channel_count} channels: "
            + ", ".join(f"{identifier}_{i:04d}{ending}" for i in missing)
            + " as well",
            found=f"{held} in " + ", ".join(path.name for path in paths),
            cure="add the missing files beside the others, in the channel order of the model",
            path=paths[0].parent,
        )
    if held > channel_count:
        raise DatasetError(
            f"case {identifier}: too many channels",
            expected=f"{channel_count}, as the model was trained with",
            found=f"{held}: " + ", ".join(path.name for path in paths[:5]),
            cure="leave out the other files; if each is a case of its own, rename them so that "
            "they do not end in an underscore and four digits",
            path=paths[0].parent,
        )
    return CaseFiles(identifier, paths)


def _require_distinct(cases: list[CaseFiles]) -> None:
    seen: dict[str, CaseFiles] = {}
    for case in cases:
        first = seen.setdefault(case.identifier.casefold(), case)
        if first is not case:
            raise DatasetError(
                f"two inputs are called {case.identifier!r}, their results would overwrite "
                "each other",
                expected="different names, also without upper and lower case",
                found=f"{first.images[0]} and {case.images[0]}",
                cure="rename one, or predict them into different folders",
            )

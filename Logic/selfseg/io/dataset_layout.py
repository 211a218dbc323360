"""Which files make up the cases of a data set folder, and what is missing among them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..domain.dataset import CaseFiles, Fault, Split
from ..domain.errors import FileFormatError
from .dataset_groups import read_groups
from .dataset_json import FILE_NAME
from .image_endings import image_ending, list_images, name_without_ending, split_channel
from .json_files import read_plain_json

SPLITS_NAME = "splits_final.json"


@dataclass
class Layout:
    """What was found: cases with the files that exist, and the faults.

    `incomplete` names the cases of which a file is missing.
    """

    cases: list[CaseFiles] = field(default_factory=list)
    test_cases: list[CaseFiles] = field(default_factory=list)
    splits: tuple[Split, ...] | None = None
    groups: dict[str, str] | None = None
    faults: list[Fault] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)

    def missing(self, kind: str, identifier: str, path: Path, what: str, cure: str) -> None:
        """Notes a file that should be there."""
        self.incomplete.add(identifier)
        self.faults.append(
            Fault(kind, path, f"case {identifier}: {what}", "this file", "nothing", cure)
        )


def lay_out(folder: Path, mapping: Mapping[str, Any], ending: str, channels: int | None) -> Layout:
    """Lists all cases of a data set: nnU-Net raw, with explicit paths, or the Decathlon's.

    Args:
        folder: holds dataset.json.
        mapping: its content.
        ending: the image ending of the folders.
        channels: how many channels a case has, None where that is not known.
    """
    layout = Layout()
    if "dataset" in mapping:
        _list_explicit(layout, folder, mapping["dataset"])
        _list_raw(layout.test_cases, folder / "imagesTs", ending)
    elif "training" in mapping and "file_ending" not in mapping:
        _list_decathlon(layout, folder, mapping)
    else:
        _list_training_folders(layout, folder, ending, channels)
        _list_raw(layout.test_cases, folder / "imagesTs", ending)
    _check_identifiers(layout, folder)
    layout.cases.sort(key=lambda case: case.identifier)
    layout.test_cases.sort(key=lambda case: case.identifier)
    layout.splits = _read_splits(layout, folder)
    names = [case.identifier for case in layout.cases]
    layout.groups = read_groups(folder, mapping, names, layout.faults)
    return layout


def group_channels(paths: Iterable[Path]) -> dict[str, dict[int, Path]]:
    """Groups files "<case>_<four digits><ending>" by case, then by channel."""
    groups: dict[str, dict[int, Path]] = {}
    for path in paths:
        identifier, channel = split_channel(name_without_ending(path))
        if channel is not None:
            groups.setdefault(identifier, {})[channel] = path
    return groups


def _list_raw(cases: list[CaseFiles], folder: Path, ending: str) -> None:
    for identifier, files in group_channels(list_images(folder, ending)).items():
        cases.append(CaseFiles(identifier, tuple(files[i] for i in sorted(files))))


def _list_training_folders(layout: Layout, folder: Path, ending: str, channels: int | None) -> None:
    images, labels = folder / "imagesTr", folder / "labelsTr"
    for needed in (images, labels):
        if not needed.is_dir():
            layout.faults.append(
                Fault(
                    "missing-folder",
                    needed,
                    f"there is no folder {needed.name}",
                    "training images in imagesTr, their label maps in labelsTr",
                    "nothing",
                    "create it, or list all files in dataset.json",
                )
            )
    files = list_images(images, ending)
    groups = group_channels(files)
    for path in files:
        if split_channel(name_without_ending(path))[1] is None:
            layout.faults.append(
                Fault(
                    "image-name",
                    path,
                    "the file name does not end in a channel number",
                    f"{name_without_ending(path)}_0000{ending}",
                    path.name,
                    "rename it",
                )
            )
    _note_other_endings(layout, (images, labels), ending)
    # One file may hold all channels; but where other cases have more files, one is missing.
    usual = max((len(group) for group in groups.values()), default=1)
    if channels is not None:
        usual = min(usual, channels)
    label_files = {name_without_ending(path): path for path in list_images(labels, ending)}
    for identifier, group in groups.items():
        for channel in range(max(usual, max(group) + 1)):
            if channel not in group:
                layout.missing(
                    "missing-image",
                    identifier,
                    images / f"{identifier}_{channel:04d}{ending}",
                    f"channel {channel} is missing",
                    "add the file, or remove the case's other files",
                )
        label = label_files.pop(identifier, None)
        if label is None:
            layout.missing(
                "missing-label",
                identifier,
                labels / f"{identifier}{ending}",
                "the label map is missing",
                "add it, or move the case's images to imagesTs",
            )
        layout.cases.append(CaseFiles(identifier, tuple(group[i] for i in sorted(group)), label))
    for identifier, path in label_files.items():
        layout.faults.append(
            Fault(
                "label-without-image",
                path,
                "there is no image for this label map",
                f"{images / (identifier + '_0000' + ending)}",
                "nothing",
                "add the image, or remove the label map; check that the names agree",
            )
        )


def _note_other_endings(layout: Layout, folders: Iterable[Path], ending: str) -> None:
    for folder in folders:
        others = [
            path
            for path in list_images(folder)
            if (image_ending(path) or "").lower() != ending.lower()
        ]
        if others:
            layout.faults.append(
                Fault(
                    "other-file-ending",
                    others[0],
                    f"{len(others)} image files in {folder.name} are not of the data set's ending "
                    "and are left out",
                    f'"file_ending" {ending}',
                    others[0].name,
                    'convert them, move them away, or correct "file_ending"',
                    "warning",
                )
            )


def _list_explicit(layout: Layout, folder: Path, dataset: object) -> None:
    if not isinstance(dataset, Mapping):
        _wrong_entry(
            layout, folder, '"dataset"', '{case: {"images": [...], "label": ...}}', dataset
        )
        return
    for identifier, entry in dataset.items():
        images = entry.get("images") if isinstance(entry, Mapping) else None
        label = entry.get("label") if isinstance(entry, Mapping) else None
        if isinstance(images, str):
            images = [images]
        paths_known = (
            isinstance(images, list)
            and bool(images)
            and all(isinstance(path, str) for path in images)
        )
        if not paths_known or not isinstance(label, str | None):
            expected = '{"images": [paths], "label": path}'
            _wrong_entry(layout, folder, f'"dataset" entry {identifier!r}', expected, entry)
            continue
        _add_listed(
            layout,
            str(identifier),
            [_located(folder, path) for path in images or []],
            None if label is None else _located(folder, label),
        )


def _list_decathlon(layout: Layout, folder: Path, mapping: Mapping[str, Any]) -> None:
    training = mapping["training"]
    if not isinstance(training, list):
        _wrong_entry(layout, folder, '"training"', 'a list of {"image", "label"}', training)
        training = []
    for entry in training:
        image = entry.get("image") if isinstance(entry, Mapping) else None
        label = entry.get("label") if isinstance(entry, Mapping) else None
        if not isinstance(image, str) or not isinstance(label, str):
            expected = '{"image": path, "label": path}'
            _wrong_entry(layout, folder, 'an entry of "training"', expected, entry)
        elif not Path(image).name.startswith("."):
            _add_listed(
                layout,
                name_without_ending(image),
                _channel_files(_located(folder, image)),
                _located(folder, label),
            )
    test = mapping.get("test")
    for entry in test if isinstance(test, list) else []:
        image = entry.get("image") if isinstance(entry, Mapping) else entry
        if isinstance(image, str) and not Path(image).name.startswith("."):
            files = _channel_files(_located(folder, image))
            if all(path.is_file() for path in files):
                layout.test_cases.append(CaseFiles(name_without_ending(image), tuple(files)))


def _channel_files(path: Path) -> list[Path]:
    """The file itself, or where nnU-Net v1 split it, its channels."""
    if path.is_file():
        return [path]
    ending = image_ending(path) or ""
    name = name_without_ending(path)
    group = group_channels(list_images(path.parent, ending or None)).get(name, {})
    return [group[i] for i in sorted(group)] or [path]


def _add_listed(layout: Layout, identifier: str, images: list[Path], label: Path | None) -> None:
    cure = f"correct the path in {FILE_NAME}, or add the file"
    for path in images:
        if not path.is_file():
            layout.missing("missing-image", identifier, path, "an image is missing", cure)
    if label is None or not label.is_file():
        path = images[0] if label is None else label
        layout.missing("missing-label", identifier, path, "the label map is missing", cure)
        label = None
    present = tuple(path for path in images if path.is_file())
    layout.cases.append(CaseFiles(identifier, present, label))


def _located(folder: Path, text: str) -> Path:
    # The format lets paths hold environment variables.
    return Path(os.path.normpath(folder / os.path.expandvars(text)))


def _wrong_entry(layout: Layout, folder: Path, what: str, expected: str, found: object) -> None:
    layout.faults.append(
        Fault(
            "wrong-type",
            folder / FILE_NAME,
            f"{what} is not what it should be",
            expected,
            repr(found)[:120],
            f"correct it in {FILE_NAME}",
        )
    )


def _check_identifiers(layout: Layout, folder: Path) -> None:
    seen: dict[str, CaseFiles] = {}
    for case in layout.cases:
        first = seen.setdefault(case.identifier.casefold(), case)
        if first is not case:
            same = first.identifier == case.identifier
            layout.faults.append(
                Fault(
                    "duplicate-case",
                    case.images[0] if case.images else folder / FILE_NAME,
                    f"two cases are called {case.identifier!r}"
                    if same
                    else f"{first.identifier!r} and {case.identifier!r} differ only in upper and "
                    "lower case",
                    "names that differ on every file system",
                    f"{first.identifier}, {case.identifier}",
                    "rename one of them, its label map too",
                )
            )
    if not layout.cases:
        layout.faults.append(
            Fault(
                "no-cases",
                folder,
                "the data set holds no training case",
                "images and label maps",
                "none",
                'check the folders imagesTr and labelsTr, and "file_ending"',
            )
        )


def _read_splits(layout: Layout, folder: Path) -> tuple[Split, ...] | None:
    path = folder / SPLITS_NAME
    if not path.is_file():
        return None

    def fault(kind: str, what: str, expected: str, found: str, cure: str) -> None:
        layout.faults.append(Fault(kind, path, what, expected, found, cure))

    try:
        content = read_plain_json(path)
    except FileFormatError as error:
        fault("invalid-splits", error.what, error.expected, error.found, error.cure)
        return None
    expected = 'a list of {"train": [cases], "val": [cases]}'
    if not isinstance(content, list) or not content:
        cure = "write it as nnU-Net does, or remove it"
        fault("invalid-splits", "the splits are not a list", expected, repr(content)[:120], cure)
        return None
    known = {case.identifier for case in layout.cases}
    splits: list[Split] = []
    for fold, entry in enumerate(content):
        parts = [entry.get(key) if isinstance(entry, Mapping) else None for key in ("train", "val")]
        if not all(_are_names(part) for part in parts):
            cure = "write it as nnU-Net does, or remove the file"
            fault("invalid-splits", f"fold {fold} is not valid", expected, repr(entry)[:120], cure)
            continue
        train, validation = (tuple(part) for part in parts if part is not None)
        _check_split(fault, fold, train, validation, known)
        splits.append(Split(train, validation))
    return tuple(splits)


def _are_names(part: object) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(name, str) for name in part)


def _check_split(
    fault: Callable[[str, str, str, str, str], None],
    fold: int,
    train: tuple[str, ...],
    validation: tuple[str, ...],
    known: set[str],
) -> None:
    unknown = sorted((set(train) | set(validation)) - known)
    if unknown:
        fault(
            "split-unknown-case",
            f"fold {fold} names cases that the data set does not have",
            f"names out of the {len(known)} training cases",
            _some(unknown),
            "correct the names, or make the splits again",
        )
    both = sorted(set(train) & set(validation))
    if both:
        fault(
            "split-overlap",
            f"fold {fold} trains on cases that it validates on",
            "each case on one side only",
            _some(both),
            "remove them from one of the two lists",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""Names every fault of a data set, in its description, its files and its voxels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.dataset import CaseFiles, DatasetDescription, Fault
from ..domain.errors import ImageError, SelfsegError
from ..domain.events import Progress, Reporter, StageFinished, StageStarted, silent
from ..domain.geometry import Geometry
from ..domain.labels import LabelScheme
from ..domain.wording import counted
from .dataset_json import DEFAULT_ENDING, FILE_NAME, describe
from .dataset_layout import Layout, lay_out
from .datasets import read_dataset_json
from .image_endings import IMAGE_ENDINGS, image_ending, list_images
from .images import (
    LabelValueError,
    grid_difference,
    read_image,
    read_label_map,
    require_values,
    values_in,
)

STAGE = "check"


def check_dataset(folder: Path, reporter: Reporter = silent) -> tuple[Fault, ...]:
    """Reads a whole data set and lists all that is wrong with it, never stopping at the first.

    Images are read one at a time, so memory stays at that of one file.

    Args:
        folder: the data set.
        reporter: takes one Progress event per case.

    Returns:
        Faults in order: description, files, then case by case. Without one of severity
        "error" the data set can be trained on.
    """
    folder = Path(folder)
    started = time.monotonic()
    try:
        mapping = read_dataset_json(folder)
    except SelfsegError as error:
        missing = not (folder / FILE_NAME).is_file()
        kind = "missing-dataset-json" if missing else "invalid-dataset-json"
        return (replace(_from_error(kind, error, folder), path=folder / FILE_NAME),)
    description, described = describe(mapping, folder)
    channels = None if description is None else len(description.channel_names)
    layout = lay_out(folder, mapping, _ending(folder, mapping, description), channels)
    faults = [*described, *layout.faults]
    if not layout.faults or layout.cases:
        faults.extend(_check_count(folder, mapping, len(layout.cases)))
    scheme = None if description is None else description.labels
    total = len(layout.cases)
    reporter(StageStarted(STAGE, total, "cases"))
    for done, case in enumerate(layout.cases, start=1):
        faults.extend(_check_case(case, layout, channels, scheme))
        passed = time.monotonic() - started
        eta = passed / done * (total - done)
        reporter(Progress(STAGE, done, total, eta, case.identifier))
    errors = sum(fault.severity == "error" for fault in faults)
    detail = f"{counted(errors, 'error')}, {counted(len(faults) - errors, 'warning')}"
    detail += f" in {counted(total, 'case')}"
    reporter(StageFinished(STAGE, time.monotonic() - started, detail=detail))
    return tuple(faults)


def _ending(
    folder: Path, mapping: Mapping[str, Any], description: DatasetDescription | None
) -> str:
    """The ending to look for; where dataset.json names a wrong one, what most files have."""
    if description is not None:
        return description.file_ending
    named = str(mapping.get("file_ending", "")).strip()
    if named.lower() in IMAGE_ENDINGS:
        return named
    present = Counter(str(image_ending(path)) for path in list_images(folder / "imagesTr"))
    return present.most_common(1)[0][0] if present else DEFAULT_ENDING


def _check_count(folder: Path, mapping: Mapping[str, Any], found: int) -> Iterator[Fault]:
    named = mapping.get("numTraining")
    if isinstance(named, int) and not isinstance(named, bool) and named != found:
        yield Fault(
            "case-count",
            folder / FILE_NAME,
            '"numTraining" does not fit the files',
            f"{named} training cases",
            str(found),
            f'add the missing cases, or write "numTraining": {found}',
        )


def _check_case(
    case: CaseFiles, layout: Layout, channels: int | None, scheme: LabelScheme | None
) -> Iterator[Fault]:
    grid: Geometry | None = None
    held = 0
    unread = False
    for path in case.images:
        try:
            image, geometry = read_image(path)
        except SelfsegError as error:
            unread = True
            yield _from_error("unreadable-image", error, path)
            continue
        held += image.shape[0]
        yield from _check_intensities(path, image)
        del image
        if grid is None:
            grid = geometry
        else:
            yield from _check_grid(case, grid, path, geometry)
    if not unread and channels not in (None, held) and case.identifier not in layout.incomplete:
        yield Fault(
            "channel-count",
            case.images[0],
            f"case {case.identifier}: the number of channels is not that of dataset.json",
            f"{channels} channels",
            f"{held} in {len(case.images)} files",
            'add or remove channel files, or correct "channel_names"',
        )
    if case.label is not None:
        yield from _check_label_map(case, case.label, grid, scheme)


def _check_intensities(path: Path, image: np.ndarray[Any, Any]) -> Iterator[Fault]:
    wrong = int(image.size - np.count_nonzero(np.isfinite(image)))
    if wrong:
        yield Fault(
            "not-finite",
            path,
            "the image contains values that are not numbers",
            "finite intensities",
            f"{wrong} voxels of NaN or infinity",
            "replace them, for example by the background intensity",
        )
    for channel in image:
        if channel.min() == channel.max():
            yield Fault(
                "constant-image",
                path,
                "the image has the same intensity everywhere",
                "an image with contrast",
                f"{channel.flat[0]:g} in all voxels",
                "check that the export worked; remove the case if it shows nothing",
                "warning",
            )


def _check_grid(case: CaseFiles, grid: Geometry, path: Path, other: Geometry) -> Iterator[Fault]:
    difference = grid_difference(grid, other)
    if difference:
        same_shape = grid.shape == other.shape
        yield Fault(
            "geometry-mismatch" if same_shape else "shape-mismatch",
            path,
            f"case {case.identifier}: this file does not lie on the grid of the first image",
            f"the grid of {case.images[0]}",
            difference,
            "resample one onto the other, or export both again from the same study",
        )


def _check_label_map(
    case: CaseFiles, path: Path, grid: Geometry | None, scheme: LabelScheme | None
) -> Iterator[Fault]:
    try:
        labels, geometry = read_label_map(path)
    except LabelValueError as error:
        yield _from_error("non-whole-labels", error, path)
        return
    except SelfsegError as error:
        yield _from_error("unreadable-label", error, path)
        return
    if grid is not None:
        yield from _check_grid(case, grid, path, geometry)
    if scheme is not None:
        try:
            require_values(labels, scheme, path)
        except ImageError as error:
            yield _from_error("unexpected-labels", error, path)
    if values_in(labels) == (0,):
        yield Fault(
            "empty-label",
            path,
            "the label map holds background only",
            "at least one structure, unless the case is meant to show none",
            "0 in all voxels",
            "check that the right file was exported",
            "warning",
        )


def _from_error(kind: str, error: SelfsegError, path: Path) -> Fault:
    return Fault(kind, error.path or path, error.what, error.expected, error.found, error.cure)

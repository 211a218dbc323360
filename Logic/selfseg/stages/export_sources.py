"""What can be exported: .seg.nrrd files, label maps with names, folders of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.anatomy import appearances_of
from ..domain.errors import ImageError, SelfsegError, UsageError
from ..domain.geometry import Geometry
from ..domain.labels import LabelScheme
from ..domain.segments import Segment, SegmentsInPlace
from ..domain.terminology import Codes
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.images import read_label_map
from ..io.seg_nrrd_files import read_seg_nrrd
from ..io.seg_nrrd_header import ENDING as SEG_NRRD
from ..review.cases import (
    ReviewCase,
    ReviewFolder,
    case_name,
    is_plain_name,
    read_review_folder,
)
from ..review.log import ReviewLog
from ..review.tables import REVIEWED_FOLDER, trainable


@dataclass(frozen=True)
class ExportCase:
    """One segmentation in a file.

    Args:
        identifier: becomes the name of its files.
        path: a .seg.nrrd file or a label map.
        labels: what the values of a label map mean.
        model: the name of what made a label map, "" where nobody has noted it.
        note: what was predicted about it, where anything was.
    """

    identifier: str
    path: Path
    labels: LabelScheme | None = None
    model: str = ""
    note: ReviewCase | None = None


@dataclass(frozen=True)
class LoadedSegments:
    """A segmentation in memory: what lies where, and the layers (Z, Y, X)."""

    place: SegmentsInPlace
    layers: tuple[NDArray[Any], ...]


def find_segmentations(
    sources: Sequence[Path], *, reviewed: bool = False
) -> tuple[ExportCase, ...]:
    """The cases in files and folders.

    Args:
        sources: .seg.nrrd files, label maps, folders of them as `selfseg predict` and the
            review write them.
        reviewed: of folders of predictions, takes what reviewers approved or corrected, and
            nothing else.

    Raises:
        ProjectError: a folder holds no segmentation.
        UsageError: nothing was found, or two cases have one name.
    """
    found: list[ExportCase] = []
    for source in map(Path, sources):
        if not source.is_dir():
            found.append(_of_file(source))
        elif reviewed:
            found += _reviewed(source)
        else:
            found += _of_folder(source)
    names = [case.identifier.casefold() for case in found]
    doubled = sorted(
        {case.identifier for case in found if names.count(case.identifier.casefold()) > 1}
    )
    if doubled or not found:
        raise UsageError(
            "two segmentations have the same name" if doubled else "there is nothing to export",
            expected="different names" if doubled else "approved or corrected cases",
            found=", ".join(doubled[:10]) or "none",
            cure="export them into different folders" if doubled else "review some cases first",
        )
    return tuple(found)


def load_segments(case: ExportCase) -> LoadedSegments:
    """Reads a segmentation.

    The structures of a label map keep their values; overlapping regions get a layer each.

    Raises:
        ImageError: it cannot be read, or nobody says what its values mean.
    """
    if case.path.name.lower().endswith(SEG_NRRD):
        place, layers = read_seg_nrrd(case.path)
        return LoadedSegments(place, tuple(layers))
    labels, grid = read_label_map(case.path)
    if case.labels is None:
        raise ImageError(
            "nobody says what the values of this label map mean",
            expected='predictions.json with "labels", or dataset.json, in its folder',
            found="neither",
            cure="predict again with this version of selfseg, or put the data set's dataset.json "
            "beside it",
            path=case.path,
        )
    return segments_of_labels(labels, case.labels, grid, case.model)


def segments_of_labels(
    labels: NDArray[Any], scheme: LabelScheme, grid: Geometry, model: str
) -> LoadedSegments:
    """The segments of a label map (Z, Y, X) that a model has made."""
    segments, layers = [], [] if scheme.has_regions else [labels]
    for index, (label, look) in enumerate(
        zip(scheme.foreground, appearances_of(scheme), strict=True)
    ):
        if scheme.has_regions:
            layers.append(np.isin(labels, label.values).astype(np.uint8))
        segments.append(
            Segment(
                name=label.name,
                layer=index if scheme.has_regions else 0,
                value=1 if scheme.has_regions else label.values[0],
                colour=look.colour,
                codes=Codes.of(look),
                algorithm="AUTOMATIC" if model else "MANUAL",
                algorithm_name=model,
                identifier=f"Segment_{index + 1}",
            )
        )
    return LoadedSegments(SegmentsInPlace(grid, len(layers), tuple(segments), grid), tuple(layers))


def _of_file(path: Path) -> ExportCase:
    if not path.is_file():
        raise ImageError(
            "the segmentation does not exist",
            expected="a .seg.nrrd file, a label map, or a folder of them",
            found="nothing",
            cure="check the path and its spelling",
            path=path,
        )
    case = ExportCase(case_name(path) or path.stem, path)
    if path.name.lower().endswith(SEG_NRRD) or image_ending(path) not in ITK_ENDINGS:
        return case
    beside = read_review_folder(path.parent)
    return replace(case, labels=beside.labels, model=beside.model)


def _of_folder(folder: Path) -> list[ExportCase]:
    read = read_review_folder(folder)
    return sorted(
        (ExportCase(c.identifier, c.label_map, read.labels, read.model, c) for c in read.cases),
        key=lambda case: case.identifier,
    )


def _reviewed(folder: Path) -> list[ExportCase]:
    """What the log says was approved; files that somebody put there by hand are not taken."""
    if folder.name == REVIEWED_FOLDER and not (folder / REVIEWED_FOLDER).is_dir():
        folder = folder.parent
    latest = trainable(ReviewLog.of(folder).latest())
    predicted: ReviewFolder | None = None
    with suppress(SelfsegError):  # the predictions may be gone; what was reviewed is there
        predicted = read_review_folder(folder)
    notes = {} if predicted is None else {case.identifier: case for case in predicted.cases}
    return [
        ExportCase(
            decision.case,
            folder / REVIEWED_FOLDER / str(decision.file),
            note=notes.get(decision.case),
        )
        for decision in latest
        if is_plain_name(decision.case) and is_plain_name(str(decision.file))
    ]

"""DICOM segmentations and the series they were drawn on, paired by what they reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..domain.errors import DatasetError, ImageError
from ..io.dicom_headers import INSTALL, SegmentationFile, SeriesHeaders, read_headers
from ..io.dicom_seg_reading import read_dicom_segments
from .collection import (
    CollectedCase,
    CollectedImage,
    CollectedSegment,
    CollectedSegmentation,
    CollectOptions,
    VoxelSource,
)
from .pairing import Candidate, choose_images, words_of
from .seg_nrrd import ReadSegmentation

EXPORT_AGAIN = "export series and segmentation again from the same study"


def dicom_cases(
    folder: Path, files: Sequence[Path], options: CollectOptions
) -> Iterator[CollectedCase]:
    """The cases of a folder's DICOM files: one per segmentation, one by one.

    The image is the series that the segmentation references; where it names none, the only one
    of the same study and frame of reference.
    """
    try:
        series, segmentations = read_headers(files)
    except DatasetError as error:
        yield _needs(CollectedCase(folder.name, folder), error)
        return
    if not segmentations:
        yield CollectedCase(folder.name, folder).with_problem(
            "no-segmentation",
            f"none of the {len(series)} DICOM series is a segmentation (SEG)",
            "add the segmentations, or save them as .seg.nrrd",
        )
    for found in segmentations:
        yield _case(folder, found, series, segmentations, options)


def _case(
    folder: Path,
    found: SegmentationFile,
    series: Sequence[SeriesHeaders],
    segmentations: Sequence[SegmentationFile],
    options: CollectOptions,
) -> CollectedCase:
    case = CollectedCase(_identifier(found, segmentations), found.path, group=found.patient or None)
    try:
        read = _segmentation(found.path)
    except ImageError as error:
        return case.with_problem("unreadable", f"{error.what} ({error.found})", error.cure)
    except DatasetError as error:
        return _needs(case, error)
    case = replace(case, segmentation=read.segmentation, segments=read.segments)
    fits = [s for s in series if s.uid in found.series or s.instances & found.instances]
    if not fits:
        fits = [s for s in series if s.study == found.study and s.frame == found.frame and s.frame]
        if fits:
            case = case.with_note("paired by its frame of reference: it names no series")
    usable = [s for s in fits if s.grid is not None]
    if not usable:
        reasons = "; ".join(f"{s.description or s.uid}: {s.fault}" for s in fits)
        return case.with_problem(
            "no-image",
            f"the series it was drawn on cannot be used: {reasons}"
            if fits
            else "the series it was drawn on is not there",
            EXPORT_AGAIN,
        )
    if len(options.channels) > 1:
        usable = [s for s in series if s.study == found.study and s.grid is not None]
    candidates = [
        Candidate(
            CollectedImage(s.modality, VoxelSource(s.files[0], "series", s.grid, files=s.files)),
            " ".join(words_of(f"{s.modality} {s.description}")),
        )
        for s in usable
        if s.grid is not None
    ]
    choice = choose_images(candidates, read.reference, options)
    if choice.problem is not None:
        return case.with_problem(*choice.problem)
    images = choice.images
    if len(images) == 1 and not options.channels:
        images = (replace(images[0], channel=usable[0].modality),)
    case = replace(case, images=images)
    return case.with_note(choice.note) if choice.note else case


def _segmentation(path: Path) -> ReadSegmentation:
    grid, found = read_dicom_segments(path)
    layers = tuple(
        VoxelSource(path, "dicom-seg", grid, component=segment.number, components=len(found))
        for segment in found
    )
    segments = tuple(
        CollectedSegment(segment.name, layer, (1,), segment.codes, segment.colour)
        for layer, segment in enumerate(found)
    )
    return ReadSegmentation(CollectedSegmentation(str(path), layers), segments, grid)


def _identifier(found: SegmentationFile, all_of_them: Sequence[SegmentationFile]) -> str:
    """The patient, where that tells the segmentations apart; with the file's name otherwise."""
    same = [other for other in all_of_them if other.patient == found.patient]
    patient = "".join(c if c.isalnum() or c in "-_" else "_" for c in found.patient)
    if patient and len(same) == 1:
        return patient
    return "_".join(part for part in (patient, found.path.parent.name, found.path.stem) if part)


def _needs(case: CollectedCase, error: DatasetError) -> CollectedCase:
    kind = "needs-dicom" if error.cure == INSTALL else "unreadable"
    return case.with_problem(kind, f"{error.what} ({error.found})", error.cure)

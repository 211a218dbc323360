"""Headers of DICOM files, read with pydicom: series as stacks of slices, and segmentations.

Needs the extra `dicom`; `dicom_series` finds and reads series without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import DatasetError, ImageError
from ..domain.geometry import Geometry
from .dicom_series import TILTED, UNEVEN, read_slices, tilt_of

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of DICOM segmentations (PS3.4, B.5)."""

INSTALL = 'pip install "selfseg[dicom]"'

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID",
    "FrameOfReferenceUID", "Modality", "SeriesDescription", "SeriesNumber", "Rows", "Columns",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "NumberOfFrames", "SamplesPerPixel",
]  # fmt: skip


def required(name: Literal["pydicom", "highdicom", "highdicom.seg"]) -> Any:
    """A package of the extra `dicom`.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DatasetError(
            "DICOM needs a package that is not installed",
            expected="pydicom and highdicom",
            found=str(error),
            cure=INSTALL,
        ) from error


@dataclass(frozen=True)
class SeriesHeaders:
    """What the headers of a series say.

    Args:
        files: in the order of its slices; none where it is no volume.
        grid: of the volume, None where it is none.
        fault: why it is none.
    """

    uid: str
    study: str
    frame: str
    patient: str
    modality: str
    description: str
    instances: frozenset[str]
    files: tuple[Path, ...] = ()
    grid: Geometry | None = None
    fault: str = ""


@dataclass(frozen=True)
class SegmentationFile:
    """A DICOM segmentation, and what it says it was drawn on."""

    path: Path
    study: str
    frame: str
    patient: str
    description: str
    series: frozenset[str]
    instances: frozenset[str]


def read_headers(
    paths: Sequence[Path],
) -> tuple[tuple[SeriesHeaders, ...], tuple[SegmentationFile, ...]]:
    """Sorts DICOM files into series and segmentations; other objects are left out.

    Raises:
        DatasetError: pydicom is not installed.
    """
    pydicom = required("pydicom")
    slices: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    segmentations = []
    for path in paths:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            if header.get("SOPClassUID") == SEGMENTATION:
                whole = pydicom.dcmread(path, stop_before_pixels=True)
                segmentations.append(_segmentation(path, whole))
            elif "Rows" in header:
                slices[str(header.get("SeriesInstanceUID", ""))].append((path, header))
        except (OSError, pydicom.errors.InvalidDicomError, ValueError, AttributeError):
            continue  # not an image: DICOMDIR, reports, damaged headers
    return tuple(_series(uid, files) for uid, files in sorted(slices.items())), tuple(segmentations)


@dataclass(frozen=True)
class SliceStack:
    """Slices of one size and direction, one behind the other.

    Args:
        headers: in the order of the slices.
        positions: of their first voxels (N, 3), LPS mm.
        turn: directions of rows and columns (2, 3).
        normal: on both, (3,).
    """

    headers: tuple[Any, ...]
    positions: NDArray[np.float64]
    turn: NDArray[np.float64]
    normal: NDArray[np.float64]

    def grid(self, step: float) -> Geometry:
        """Of the volume, with this distance (mm) between slices."""
        first = self.headers[0]
        down, across = (float(part) for part in first.PixelSpacing)
        rows = np.stack([*self.turn, self.normal], axis=1).tolist()
        x, y, z = self.positions[0].tolist()
        return Geometry(
            (len(self.headers), int(first.Rows), int(first.Columns)),
            (step, down, across),
            (x, y, z),
            (tuple(rows[0]), tuple(rows[1]), tuple(rows[2])),
        )


def stacked(headers: Sequence[Any]) -> SliceStack:
    """Slices in the order in which they lie.

    Args:
        headers: of single slices, with position, direction and spacing.
    """
    turn = np.array(headers[0].ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    normal = np.cross(turn[0], turn[1])
    positions = np.array([header.ImagePositionPatient for header in headers], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    return SliceStack(tuple(headers[i] for i in order), positions[order], turn, normal)


def _segmentation(path: Path, header: Any) -> SegmentationFile:
    series, instances = set(), set()
    for entry in header.get("ReferencedSeriesSequence", []):
        series.add(str(entry.get("SeriesInstanceUID", "")))
        for instance in entry.get("ReferencedInstanceSequence", []):
            instances.add(str(instance.get("ReferencedSOPInstanceUID", "")))
    return SegmentationFile(
        path,
        str(header.get("StudyInstanceUID", "")),
        str(header.get("FrameOfReferenceUID", "")),
        str(header.get("PatientID", "")),
        str(header.get("SeriesDescription", "")),
        frozenset(series - {""}),
        frozenset(instances - {""}),
    )


def _series(uid: str, files: list[tuple[Path, Any]]) -> SeriesHeaders:
    first = files[0][1]
    paths: tuple[Path, ...] = ()
    grid, fault = None, ""
    try:
        paths, grid = _volume(files)
    except (_NoVolume, ImageError) as error:
        fault = error.what if isinstance(error, ImageError) else str(error)
    return SeriesHeaders(
        uid,
        str(first.get("StudyInstanceUID", "")),
        str(first.get("FrameOfReferenceUID", "")),
        str(first.get("PatientID", "")),
        str(first.get("Modality", "")),
        str(first.get("SeriesDescription", "")),
        frozenset(str(header.get("SOPInstanceUID", "")) for _, header in files),
        paths,
        grid,
        fault,
    )


class _NoVolume(ValueError):
    """A series that does not make a volume; the text says why."""


def _volume(files: list[tuple[Path, Any]]) -> tuple[tuple[Path, ...], Geometry]:
    """The files in the order of the slices, and their grid."""
    if len(files) == 1 and int(files[0][1].get("NumberOfFrames", 1) or 1) > 1:
        path = files[0][0]
        return (path,), read_slices([path])[1]
    headers = [header for _, header in files]
    if any(int(header.get("SamplesPerPixel", 1) or 1) != 1 for header in headers):
        raise _NoVolume("colour pictures are no volume")
    keys = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
    if any(key not in header for header in headers for key in keys):
        raise _NoVolume("its slices do not say where they lie")
    stack = stacked(headers)
    first = headers[0]
    for header in headers:
        other = np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        same = list(header.PixelSpacing) == list(first.PixelSpacing)
        size = (header.Rows, header.Columns) == (first.Rows, first.Columns)
        if not (same and size and np.allclose(stack.turn, other, rtol=0, atol=1e-3)):
            raise _NoVolume("its slices have different sizes or directions")
    paths = {id(header): path for path, header in files}
    return tuple(paths[id(header)] for header in stack.headers), stack.grid(_step(stack))


def _step(stack: SliceStack) -> float:
    if len(stack.headers) == 1:
        return float(stack.headers[0].get("SliceThickness", 1.0) or 1.0)
    steps = np.diff(stack.positions, axis=0)
    along = steps @ stack.normal
    mean = float(along.mean())
    if along.min() <= 1e-6:
        raise _NoVolume("several slices lie in the same place (more than one time or echo)")
    if np.ptp(along) > UNEVEN * mean:
        raise _NoVolume("slices are missing, or not evenly spaced")
    if tilt_of(stack.positions, stack.normal) > TILTED:
        raise _NoVolume("the gantry was tilted: slices are shifted against each other")
    return mean

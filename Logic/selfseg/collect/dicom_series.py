"""DICOM series as images: headers with pydicom, voxels with SimpleITK's GDCM."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from ..domain.errors import DatasetError, ImageError
from ..domain.geometry import Geometry
from .collection import VoxelSource

sitk: Any = SimpleITK

UNEVEN = 0.01
"""Largest difference of distances between slices, as a share of their distance: more means that
a slice is missing or the gantry was tilted."""

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP class of DICOM segmentations (PS3.4, B.5)."""

INSTALL = 'pip install "selfseg[dicom]"'

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID",
    "FrameOfReferenceUID", "Modality", "SeriesDescription", "SeriesNumber", "Rows", "Columns",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "NumberOfFrames", "SamplesPerPixel",
]  # fmt: skip


def pydicom_or_error() -> Any:
    """The pydicom package.

    Raises:
        DatasetError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise DatasetError(
            "DICOM needs a package that is not installed",
            expected="pydicom and highdicom",
            found=str(error),
            cure=INSTALL,
        ) from error
    return pydicom


@dataclass(frozen=True)
class Series:
    """One series: its files in the order of its slices, or the reason why it is no volume."""

    uid: str
    study: str
    frame: str
    patient: str
    modality: str
    description: str
    instances: frozenset[str]
    voxels: VoxelSource | None
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


def read_headers(paths: Sequence[Path]) -> tuple[tuple[Series, ...], tuple[SegmentationFile, ...]]:
    """Sorts DICOM files into series and segmentations; other objects are left out.

    Raises:
        DatasetError: pydicom is not installed.
    """
    pydicom = pydicom_or_error()
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


def read_series(files: Sequence[Path]) -> tuple[NDArray[Any], Geometry]:
    """The voxels of a series (1, Z, Y, X), rescaled to its units (Hounsfield for CT), and its grid.

    Raises:
        ImageError: GDCM cannot read it.
    """
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files])
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = reader.Execute() if len(files) > 1 else sitk.ReadImage(str(files[0]))
    except RuntimeError as error:
        raise ImageError(
            "the DICOM series cannot be read",
            expected="slices that GDCM can decode",
            found=str(error).strip().splitlines()[-1],
            cure="load it in Slicer, save the volume as .nrrd and collect that",
            path=files[0],
        ) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    rows = [(float(r[0]), float(r[1]), float(r[2])) for r in direction]
    x, y, z = (float(n) for n in image.GetSpacing())
    width, height, depth = (int(n) for n in image.GetSize())
    origin = tuple(float(n) for n in image.GetOrigin())
    grid = Geometry(
        (depth, height, width), (z, y, x), (origin[0], origin[1], origin[2]),
        (rows[0], rows[1], rows[2]),
    )  # fmt: skip
    return sitk.GetArrayFromImage(image)[None], grid


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


def _series(uid: str, files: list[tuple[Path, Any]]) -> Series:
    first = files[0][1]
    voxels, fault = None, ""
    try:
        voxels = _voxels(files)
    except (_NoVolume, ImageError) as error:
        fault = error.what if isinstance(error, ImageError) else str(error)
    return Series(
        uid,
        str(first.get("StudyInstanceUID", "")),
        str(first.get("FrameOfReferenceUID", "")),
        str(first.get("PatientID", "")),
        str(first.get("Modality", "")),
        str(first.get("SeriesDescription", "")),
        frozenset(str(header.get("SOPInstanceUID", "")) for _, header in files),
        voxels,
        fault,
    )


class _NoVolume(ValueError):
    """A series that does not make a volume; the text says why."""


def _voxels(files: list[tuple[Path, Any]]) -> VoxelSource:
    if len(files) == 1 and int(files[0][1].get("NumberOfFrames", 1) or 1) > 1:
        path = files[0][0]
        _, grid = read_series([path])
        return VoxelSource(path, "series", grid, files=(path,))
    if any(int(header.get("SamplesPerPixel", 1) or 1) != 1 for _, header in files):
        raise _NoVolume("colour pictures are no volume")
    keys = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
    if any(key not in header for _, header in files for key in keys):
        raise _NoVolume("its slices do not say where they lie")
    first = files[0][1]
    turn = np.array(first.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
    for _, header in files:
        other = np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        same = list(header.PixelSpacing) == list(first.PixelSpacing)
        size = (header.Rows, header.Columns) == (first.Rows, first.Columns)
        if not (same and size and np.allclose(turn, other, rtol=0, atol=1e-3)):
            raise _NoVolume("its slices have different sizes or directions")
    normal = np.cross(turn[0], turn[1])
    placed = sorted(
        ((np.array(header.ImagePositionPatient, dtype=np.float64), path) for path, header in files),
        key=lambda entry: float(entry[0] @ normal),
    )
    positions = np.array([position for position, _ in placed])
    step = _step(positions, normal, first)
    rows = np.stack([turn[0], turn[1], normal], axis=1)
    row_spacing, column_spacing = (float(s) for s in first.PixelSpacing)
    origin = (float(positions[0][0]), float(positions[0][1]), float(positions[0][2]))
    columns = [(float(r[0]), float(r[1]), float(r[2])) for r in rows]
    grid = Geometry(
        (len(placed), int(first.Rows), int(first.Columns)),
        (step, row_spacing, column_spacing),
        origin,
        (columns[0], columns[1], columns[2]),
    )
    paths = tuple(path for _, path in placed)
    return VoxelSource(paths[0], "series", grid, files=paths)


def _step(positions: NDArray[np.float64], normal: NDArray[np.float64], first: Any) -> float:
    if len(positions) == 1:
        return float(first.get("SliceThickness", 1.0) or 1.0)
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    mean = float(along.mean())
    if along.min() <= 1e-6:
        raise _NoVolume("several slices lie in the same place (more than one time or echo)")
    if np.abs(along - mean).max() > UNEVEN * mean:
        raise _NoVolume("slices are missing, or not evenly spaced")
    if np.abs(steps - along[:, None] * normal).max() > UNEVEN * mean:
        raise _NoVolume("the gantry was tilted: slices are shifted against each other")
    return mean

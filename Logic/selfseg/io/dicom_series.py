"""DICOM series in folders, read with SimpleITK: one series is one image, and can be one file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import ArrayLike, NDArray

from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from .atomic_files import written_atomically
from .image_endings import image_ending
from .itk_images import itk_geometry, quiet

sitk: Any = SimpleITK

NO_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG", "DOC"})
"""Modalities of objects that belong to a study without being a scan."""

UNEVEN = 0.05
"""Largest difference of two distances of slices, as a share of the distance, in one volume."""

TILTED = 0.01
"""Largest shift of the last slice against the first, as a share of their distance: more means that
the gantry was tilted, and the voxels are no boxes."""

_MAGIC_AT, _MAGIC = 128, b"DICM"


@dataclass(frozen=True)
class Series:
    """One series.

    Args:
        uid: its SeriesInstanceUID.
        files: in the order of its slices.
        name: of its folder, with the series number where the folder holds several.
    """

    uid: str
    files: tuple[Path, ...]
    name: str


def find_series(folder: Path) -> tuple[Series, ...]:
    """The series of images in a folder and in those below it, by folder and number."""
    found: list[Series] = []
    for place in _dicom_folders(folder):
        here: list[tuple[str, str, tuple[Path, ...]]] = []
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(place)):
            files = tuple(
                Path(name)
                for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid)
            )
            tags = _tags(files[0]) if files else {}
            if files and tags.get("0008|0060", "") not in NO_IMAGES:
                here.append((tags.get("0020|0011", ""), uid, files))
        for number, uid, files in sorted(here):
            name = place.resolve().name
            found.append(Series(uid, files, name if len(here) == 1 else f"{name}_{number or uid}"))
    return tuple(found)


def read_series(series: Series) -> tuple[NDArray[Any], Geometry]:
    """Reads a series.

    Returns:
        the voxels (Z, Y, X) with rescale slope and intercept applied, and their grid.

    Raises:
        ImageError: a file is damaged, slices are missing, or it is no volume.
    """
    if len(series.files) > 1:
        _require_even(series)
    voxels, grid = read_slices(series.files, name=series.name)
    if len(voxels) != 1:
        raise _unusable(
            series.name, series.files, "a volume of one channel", f"{len(voxels)} channels"
        )
    return voxels[0], grid


def write_series(path: Path, voxels: NDArray[Any], grid: Geometry) -> None:
    """Writes what `read_series` has read as one file, uncompressed and at once.

    Raises:
        ProjectError: the file cannot be written.
    """
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(grid.spacing[::-1])
    image.SetOrigin(grid.origin)
    image.SetDirection([cosine for row in grid.direction for cosine in row])
    with written_atomically(path) as part:
        sitk.WriteImage(image, str(part), useCompression=False)
        if part.stat().st_size < voxels.nbytes:  # ITK does not notice a full disk
            raise OSError("the file was not written whole")


def read_slices(files: Sequence[Path], *, name: str = "") -> tuple[NDArray[Any], Geometry]:
    """Reads the slices of one series, or one file with several frames.

    Args:
        files: in the order of the slices.
        name: of the series, for people; its folder's otherwise.

    Returns:
        the voxels (C, Z, Y, X) with rescale slope and intercept applied (Hounsfield for CT), and
        their grid.

    Raises:
        ImageError: GDCM cannot read it, or it is no volume.
    """
    name = name or files[0].parent.name
    reader: Any = sitk.ImageSeriesReader() if len(files) > 1 else sitk.ImageFileReader()
    if len(files) > 1:
        reader.SetFileNames([str(path) for path in files])
    else:
        reader.SetFileName(str(files[0]))
    try:
        with quiet():
            image = reader.Execute()
    except RuntimeError as error:
        found = str(error).strip().splitlines()[-1]
        raise _unusable(name, files, "complete files that GDCM can decode", found) from error
    if image.GetDimension() != 3:
        raise _unusable(name, files, "a volume", f"size {image.GetSize()}")
    voxels = sitk.GetArrayFromImage(image)
    channels = voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
    z, y, x = channels.shape[1:]
    return channels, itk_geometry(files[0], image, (z, y, x))


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def _dicom_folders(folder: Path) -> Iterator[Path]:
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        others = (Path(place) / name for name in files if not name.startswith("."))
        if any(is_dicom(path) for path in others if image_ending(path) is None):
            yield Path(place)


def _tags(path: Path) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return {}  # what is wrong with it is said when it is read
    return {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}


def _require_even(series: Series) -> None:
    """ITK reads a series with a missing slice without a word, and everything behind it shifted."""
    positions, orientation = [], None
    for path in series.files:
        tags = _tags(path)
        try:
            positions.append([float(part) for part in tags["0020|0032"].split("\\")])
            orientation = [float(part) for part in tags["0020|0037"].split("\\")]
        except (KeyError, ValueError) as error:
            raise _unusable(
                series.name, series.files, "the position of every slice", f"none in {path.name}"
            ) from error
    require_even_slices(positions, orientation or [], series.name)


def require_even_slices(positions: ArrayLike, orientation: ArrayLike, name: str) -> None:
    """Refuses slices (LPS mm, in order) that are not at even distances, straight behind each other.

    Raises:
        ImageError: one is missing, the gantry was tilted, or they are not of one volume.
    """
    rows, columns = np.reshape(orientation, (2, 3))
    normal = np.cross(rows, columns)
    along = np.asarray(positions) @ normal
    distances = np.diff(along)
    if len(distances) and np.ptp(distances) > UNEVEN * abs(float(np.median(distances))):
        raise ImageError(
            f"the slices of the DICOM series {name} are not at even distances",
            expected=f"one distance, as {abs(float(np.median(distances))):.3g} mm",
            found=f"{np.abs(distances).min():.3g} to {np.abs(distances).max():.3g} mm",
            cure="check that no slice is missing, and that the folder holds one acquisition",
        )
    if (tilt := tilt_of(np.asarray(positions), normal)) > TILTED:
        raise ImageError(
            f"the gantry was tilted when the DICOM series {name} was made",
            expected="slices straight behind each other",
            found=f"a shift of {tilt:.2g} mm per mm",
            cure="load it in 3D Slicer, harden its transform, and save it as .nrrd",
        )


def tilt_of(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """How far the last slice is shifted against the first, as a share of their distance.

    Args:
        positions: (n, 3) of the slices in order, LPS mm.
        normal: of their planes, of length 1.
    """
    way = positions[-1] - positions[0]
    along = float(way @ normal)
    return float(np.linalg.norm(way - along * normal)) / abs(along) if along else 0.0


def _unusable(name: str, files: Sequence[Path], expected: str, found: str) -> ImageError:
    return ImageError(
        f"the DICOM series {name} cannot be used",
        expected=expected,
        found=found,
        cure="load it in 3D Slicer and save it as .nrrd, or export it again",
        path=files[0].parent,
    )

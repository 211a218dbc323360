"""Images and label maps from files and back: arrays (C, Z, Y, X), geometry converted once."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.case import FloatArray, IntArray, RawCase
from ..domain.dataset import CaseFiles
from ..domain.errors import ImageError, ProjectError
from ..domain.geometry import Geometry
from ..domain.labels import LabelScheme
from .atomic_files import TEMPORARY_PREFIX, written_atomically
from .image_endings import IMAGE_ENDINGS, ITK_ENDINGS, TIFF_ENDINGS, image_ending
from .itk_images import itk_channel_count, read_itk, write_itk
from .natural_images import read_photo, read_tiff, write_photo, write_tiff

GRID_TOLERANCE = 1e-3
"""Largest difference between grids taken as the same: in spacing and origin as a part of the
spacing, in direction as a cosine. Covers float32 headers and rounded text headers."""

LABEL_MAP_DRAFT = f"{TEMPORARY_PREFIX}map-"
"""Folders whose names begin so hold label maps that are being written."""

WHOLE_TOLERANCE = 1e-3
"""How far a label value of a float file may be from a whole number (scaled NIfTI)."""


class LabelValueError(ImageError):
    """A label map holds values that are not whole numbers, or not those of the data set."""


def read_image(path: Path) -> tuple[FloatArray, Geometry]:
    """Reads one image file: 3D, 4D or vector volumes, photographs, TIFF stacks.

    Returns:
        (C, Z, Y, X) float32 and its grid; 2D images are one slice with spacing 999 mm.

    Raises:
        ImageError: missing, of unknown ending, damaged, or on a sheared grid.
    """
    path = Path(path)
    ending = _existing_ending(path)
    if ending in ITK_ENDINGS:
        return read_itk(path, np.float32)
    array, geometry = read_tiff(path) if ending in TIFF_ENDINGS else read_photo(path)
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which RawCase refuses
        return np.ascontiguousarray(array, dtype=np.float32), geometry


def read_label_map(path: Path) -> tuple[IntArray, Geometry]:
    """Reads one label map.

    Float files with whole numbers are taken, and colour files whose channels are all equal.

    Returns:
        (Z, Y, X) whole numbers (the file's integer type; int32 for float files), its grid.

    Raises:
        LabelValueError: values that are not whole numbers.
        ImageError: as `read_image`, and for several different channels.
    """
    path = Path(path)
    ending = _existing_ending(path)
    if ending in ITK_ENDINGS:
        array, geometry = read_itk(path)
    elif ending in TIFF_ENDINGS:
        array, geometry = read_tiff(path, indices=True)
    else:
        array, geometry = read_photo(path, indices=True)
    labels = array[0]
    if any(not np.array_equal(labels, other) for other in array[1:]):
        raise ImageError(
            "the label map has several channels",
            expected="one label value per voxel (or a grey picture stored as colours)",
            found=f"{array.shape[0]} different channels",
            cure="store one number per voxel; overlapping structures go into combination "
            "labels and regions",
            path=path,
        )
    if labels.dtype == np.bool_:
        labels = labels.astype(np.uint8)
    return np.ascontiguousarray(_whole(labels, path)), geometry


def read_case(files: CaseFiles, labels: LabelScheme | None, *, with_labels: bool = True) -> RawCase:
    """Reads all channels of a case, and its label map where it has one, onto one grid.

    Args:
        files: one file per channel; a file may hold several.
        labels: which values the label map may hold; None takes any.
        with_labels: False leaves the label map unread.

    Raises:
        ImageError: a file is unreadable, grids differ, a voxel is not finite.
        LabelValueError: a label value is not in `labels`.
    """
    parts: list[FloatArray] = []
    geometry: Geometry | None = None
    for path in files.images:
        image, grid = read_image(path)
        if geometry is None:
            geometry = grid
        else:
            _require_same_grid(files.identifier, files.images[0], geometry, path, grid)
        parts.append(image)
    if geometry is None:
        raise ImageError(
            f"case {files.identifier} has no image",
            expected="at least one image file",
            found="none",
            cure="add the image, or leave the case out",
        )
    channels = parts[0] if len(parts) == 1 else np.concatenate(parts)
    label_map: IntArray | None = None
    if with_labels and files.label is not None:
        label_map, grid = read_label_map(files.label)
        _require_same_grid(files.identifier, files.images[0], geometry, files.label, grid)
        if labels is not None:
            require_values(label_map, labels, files.label)
    return RawCase(files.identifier, channels, geometry, label_map)


def require_values(label_map: IntArray, labels: LabelScheme, path: Path) -> None:
    """Refuses a label map with values outside the scheme.

    Raises:
        LabelValueError: names the unexpected values.
    """
    unexpected = sorted(set(values_in(label_map)) - labels.allowed_values)
    if unexpected:
        raise LabelValueError(
            "the label map holds values that no label stands for",
            expected="only " + _listed(sorted(labels.allowed_values)),
            found=_listed(unexpected),
            cure='correct the label map, or add the values to "labels" in dataset.json',
            path=path,
        )


def values_in(label_map: IntArray) -> tuple[int, ...]:
    """All values of a label map, sorted; slice by slice, so that memory stays small."""
    found: set[int] = set()
    for part in label_map:
        found.update(np.unique(part).tolist())
    return tuple(sorted(found))


def grid_difference(first: Geometry, second: Geometry) -> str:
    """Says how two grids differ by more than GRID_TOLERANCE, or "" where they do not."""
    if first.shape != second.shape:
        return f"size {first.shape} against {second.shape} voxels (Z, Y, X)"
    if any(
        abs(a - b) > GRID_TOLERANCE * a for a, b in zip(first.spacing, second.spacing, strict=True)
    ):
        return f"spacing {_mm(first.spacing)} against {_mm(second.spacing)} mm (Z, Y, X)"
    shift = max(abs(a - b) for a, b in zip(first.origin, second.origin, strict=True))
    if shift > GRID_TOLERANCE * min(first.spacing):
        return f"origin {_mm(first.origin)} against {_mm(second.origin)} mm (LPS)"
    turn = np.abs(np.subtract(first.direction, second.direction)).max()
    if turn > GRID_TOLERANCE:
        return f"direction {first.direction} against {second.direction}"
    return ""


def channel_count(path: Path) -> int:
    """How many channels an image file holds; reads only the header where that says it.

    Raises:
        ImageError: see `read_image`.
    """
    path = Path(path)
    ending = _existing_ending(path)
    if ending in ITK_ENDINGS:
        return itk_channel_count(path)
    array, _ = read_tiff(path) if ending in TIFF_ENDINGS else read_photo(path)
    return int(array.shape[0])


def write_label_map(path: Path, labels: NDArray[Any], geometry: Geometry) -> None:
    """Writes a label map compressed, in the smallest unsigned type, all of it or nothing.

    Args:
        path: the format is its ending; the folder is made where it is missing.
        labels: (Z, Y, X) whole numbers from 0.
        geometry: their grid.

    Raises:
        ImageError: the labels do not fit the grid, or the format cannot hold values or grid.
        ProjectError: the folder cannot be written.
    """
    path = Path(path)
    ending = _known_ending(path)
    if labels.shape != geometry.shape:
        raise ImageError(
            "the label map does not fit its grid",
            expected=str(geometry.shape),
            found=str(labels.shape),
            cure="this is a fault of the calling code: pass labels as (Z, Y, X)",
            path=path,
        )
    whole = _whole(labels, path)
    small = np.ascontiguousarray(whole, dtype=_smallest_type(whole, path))
    # A folder of its own: some formats are two files, and one names the other.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=LABEL_MAP_DRAFT, dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        draft = folder / path.name
        try:
            if ending in ITK_ENDINGS:
                write_itk(draft, small, geometry)
            else:
                (write_tiff if ending in TIFF_ENDINGS else write_photo)(draft, small, geometry)
                if not np.array_equal(read_label_map(draft)[0], small):
                    raise OSError("the file was not written whole")
        except OSError as error:
            raise _unwritable(path, error) from error
        except ImageError as error:
            raise error.retold(path=path) from error
        # The file that is asked for comes last: where it is, its companions are.
        for part in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            with written_atomically(path.parent / part.name) as target:
                os.replace(part, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> ProjectError:
    return ProjectError(
        "the label map cannot be written",
        expected="a folder with the right to write and enough free space",
        found=error.strerror or str(error),
        cure="free some space, or choose another folder for the output",
        path=path,
    )


def _known_ending(path: Path) -> str:
    ending = image_ending(path)
    if ending is None:
        raise ImageError(
            "unknown kind of image",
            expected="one of " + ", ".join(IMAGE_ENDINGS),
            found=path.suffix or "no ending",
            cure="convert it to .nii.gz (volumes) or .png (pictures)",
            path=path,
        )
    return ending.lower()


def _existing_ending(path: Path) -> str:
    ending = _known_ending(path)
    if not path.is_file():
        raise ImageError(
            "the image file does not exist",
            expected="a file",
            found="a folder" if path.is_dir() else "nothing",
            cure="check the path and its spelling",
            path=path,
        )
    return ending


def _whole(labels: NDArray[Any], path: Path) -> IntArray:
    if np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_:
        return labels
    rounded = np.rint(labels)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(labels - rounded) <= WHOLE_TOLERANCE)  # NaN and infinity are off too
    off |= np.abs(rounded) > np.iinfo(np.int32).max
    if off.any():
        examples = ", ".join(f"{value:g}" for value in np.unique(labels[off])[:5])
        raise LabelValueError(
            "the label map holds values that are not whole numbers",
            expected=f"whole numbers, at most {np.iinfo(np.int32).max}",
            found=f"{int(off.sum())} voxels such as {examples}",
            cure="resample label maps with nearest neighbour, and store whole numbers",
            path=path,
        )
    return np.asarray(rounded, dtype=np.int32)


def _smallest_type(labels: IntArray, path: Path) -> type[np.unsignedinteger[Any]]:
    lowest, highest = int(labels.min()), int(labels.max())
    for kind in (np.uint8, np.uint16, np.uint32):
        if lowest >= 0 and highest <= np.iinfo(kind).max:
            return kind
    raise LabelValueError(
        "the label map cannot be stored",
        expected=f"values from 0 to {2**32 - 1}",
        found=f"{lowest} to {highest}",
        cure="give the structures other values",
        path=path,
    )


def _require_same_grid(
    identifier: str, first: Path, grid: Geometry, second: Path, other: Geometry
) -> None:
    difference = grid_difference(grid, other)
    if difference:
        raise ImageError(
            f"case {identifier}: {first.name} and {second.name} lie on different grids",
            expected=f"the grid of {first}",
            found=difference,
            cure="resample one onto the other, or export both again from the same study",
            path=second,
        )


def _mm(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)


def _listed(values: list[int], limit: int = 20) -> str:
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(map(str, values[:limit])) + more

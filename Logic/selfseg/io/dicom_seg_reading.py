"""DICOM segmentations (SEG), read with highdicom, each segment as a mask of its own.

Needs the extra `dicom` (pydicom and highdicom).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.appearance import Code
from ..domain.errors import ImageError, ModelError
from ..domain.geometry import Geometry
from ..domain.labels import Colour
from ..domain.terminology import Codes
from .dicom_headers import required

HALF = 0.5
"""A fractional segment is where its probability or occupancy is at least this."""


@dataclass(frozen=True)
class DicomSegment:
    """A segment as the file describes it.

    Args:
        number: from 1.
        name: shown to people.
        codes: what it is; None where the file does not say.
        colour: RGB 0-255.
    """

    number: int
    name: str
    codes: Codes | None = None
    colour: Colour | None = None


def read_dicom_segments(path: Path) -> tuple[Geometry, tuple[DicomSegment, ...]]:
    """The grid of a DICOM segmentation and what is in it.

    Raises:
        DatasetError: highdicom is not installed.
        ImageError: it cannot be read, or its frames make no volume.
    """
    opened = _opened(path)
    try:
        grid = _grid(opened.get_volume_geometry(allow_missing_positions=True))
        numbers = [int(number) for number in opened.segment_numbers]
        descriptions = [opened.get_segment_description(number) for number in numbers]
    except (ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise _unreadable(path, error) from error
    segments = tuple(
        DicomSegment(
            number,
            str(described.get("SegmentLabel", "")).strip() or f"segment {number}",
            _codes(described),
            _colour(described),
        )
        for number, described in zip(numbers, descriptions, strict=True)
    )
    return grid, segments


def read_segment(path: Path, number: int, grid: Geometry) -> NDArray[np.uint8]:
    """The mask (Z, Y, X) of a segment.

    Raises:
        ImageError: it cannot be read, or has changed.
    """
    opened = _opened(path)
    try:
        volume = opened.get_volume(
            segment_numbers=[number],
            combine_segments=False,
            rescale_fractional=True,
            allow_missing_positions=True,
        )
    except (ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise _unreadable(path, error) from error
    mask: NDArray[np.uint8] = (np.asarray(volume.array)[..., 0] >= HALF).astype(np.uint8)
    found = _grid(volume.get_geometry())
    if mask.shape != tuple(grid.shape) or found.mismatch(grid):
        raise _unreadable(path, ValueError("another grid than before"))
    return mask


@lru_cache(maxsize=1)
def _opened(path: Path) -> Any:
    segread = required("highdicom.seg").segread
    try:
        return segread(path)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise _unreadable(path, error) from error


def _grid(geometry: Any) -> Geometry:
    """From indices (slice, row, column) to LPS, as highdicom's affine has it."""
    if geometry is None:
        raise ValueError("its frames are not evenly spaced slices of a volume")
    affine = np.array(geometry.affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    return Geometry.from_affine(affine.tolist(), geometry.spatial_shape)


def _codes(description: Any) -> Codes | None:
    def code(items: Any) -> Code | None:
        for item in items or []:
            value = item.get("CodeValue") or item.get("LongCodeValue") or ""
            try:
                return Code(
                    str(item.get("CodingSchemeDesignator", "")),
                    str(value),
                    str(item.get("CodeMeaning", "")),
                )
            except ModelError:
                return None
        return None

    types = description.get("SegmentedPropertyTypeCodeSequence")
    what = code(types)
    if what is None:
        return None
    regions = description.get("AnatomicRegionSequence")
    return Codes(
        code(description.get("SegmentedPropertyCategoryCodeSequence")),
        what,
        code(types[0].get("SegmentedPropertyTypeModifierCodeSequence")),
        code(regions),
        code(regions[0].get("AnatomicRegionModifierSequence")) if regions else None,
    )


def _colour(description: Any) -> Colour | None:
    """The recommended colour, stored as CIELab in 16 bits (PS3.3, C.10.7.1.1)."""
    stored = description.get("RecommendedDisplayCIELabValue")
    if stored is None or len(stored) != 3:
        return None
    from skimage.color import lab2rgb

    lightness, a, b = (float(part) / 65535 for part in stored)
    colour = lab2rgb(np.array([[[lightness * 100, a * 255 - 128, b * 255 - 128]]]))[0, 0]
    red, green, blue = (round(float(part) * 255) for part in colour)
    return red, green, blue


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(
        "the DICOM segmentation cannot be read",
        expected="a DICOM SEG object whose frames are slices of one volume",
        found=str(error)[:300] or type(error).__name__,
        cure="load it in Slicer, save the segmentation as .seg.nrrd and collect that",
        path=path,
    )

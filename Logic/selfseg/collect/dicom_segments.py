"""DICOM segmentations (SEG), read with highdicom, each segment as a mask of its own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.appearance import Code
from ..domain.errors import DatasetError, ImageError, ModelError
from ..domain.geometry import Geometry
from ..domain.labels import Colour
from .collection import CollectedSegment, CollectedSegmentation, VoxelSource
from .dicom_series import INSTALL
from .seg_nrrd import ReadSegmentation
from .terminology import Terms

HALF = 0.5
"""A fractional segment is where its probability or occupancy is at least this."""


def read_dicom_segmentation(path: Path) -> ReadSegmentation:
    """What is in a DICOM segmentation, and where it lies.

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
    layers = tuple(
        VoxelSource(path, "dicom-seg", grid, component=number, components=len(numbers))
        for number in numbers
    )
    segments = tuple(
        CollectedSegment(
            str(description.get("SegmentLabel", "")).strip() or f"segment {numbers[layer]}",
            layer,
            (1,),
            _terms(description),
            _colour(description),
        )
        for layer, description in enumerate(descriptions)
    )
    return ReadSegmentation(CollectedSegmentation(str(path), layers), segments, grid)


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
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise DatasetError(
            "DICOM segmentations need a package that is not installed",
            expected="highdicom",
            found=str(error),
            cure=INSTALL,
        ) from error
    try:
        return segread(path)
    except (OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        raise _unreadable(path, error) from error


def _grid(geometry: Any) -> Geometry:
    """From indices (slice, row, column) to LPS, as highdicom's affine has it."""
    if geometry is None:
        raise ValueError("its frames are not evenly spaced slices of a volume")
    affine = np.array(geometry.affine, dtype=np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = (affine[:3, :3] / spacing)[:, ::-1]
    rows = [(float(r[0]), float(r[1]), float(r[2])) for r in direction]
    depth, height, width = (int(n) for n in geometry.spatial_shape)
    return Geometry(
        (depth, height, width),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (float(affine[0, 3]), float(affine[1, 3]), float(affine[2, 3])),
        (rows[0], rows[1], rows[2]),
    )


def _terms(description: Any) -> Terms | None:
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
    return Terms(
        what,
        code(description.get("SegmentedPropertyCategoryCodeSequence")),
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

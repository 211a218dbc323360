"""Segmentations as 3D Slicer stores them: `.seg.nrrd`, segments described in the header.

Segments that do not overlap share a layer, each with a label value of its own; layers are the
channels of the file. The file may be cropped to what is segmented. Format:
https://slicer.readthedocs.io/en/latest/user_guide/modules/segmentations.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..domain.labels import Colour
from .collection import CollectedSegment, CollectedSegmentation
from .headers import image_source, layers_of
from .nrrd_header import NrrdHeader, read_nrrd_header
from .terminology import parse_terms

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS to LPS and back."""


@dataclass(frozen=True)
class ReadSegmentation:
    """A segmentation with its segments.

    `reference` is the grid of the image it was drawn on, where the file says it, and otherwise
    that of the file: Slicer may have cropped it.
    """

    segmentation: CollectedSegmentation
    segments: tuple[CollectedSegment, ...]
    reference: Geometry


def holds_segments(header: NrrdHeader) -> bool:
    """Whether a NRRD file is a segmentation (and not just called so)."""
    return any(key.startswith("Segment0_") for key in header.values) or (
        "Segmentation_ContainedRepresentationNames" in header.values
    )


def read_seg_nrrd(path: Path) -> ReadSegmentation:
    """Reads what is in a `.seg.nrrd`, from its header.

    Raises:
        ImageError: it cannot be read.
    """
    header = read_nrrd_header(path)
    source = image_source(path)
    segments = []
    number = 0
    while any(key.startswith(f"Segment{number}_") for key in header.values):
        segments.append(_segment(header, number, source.components))
        number += 1
    reference = _reference(header.values.get("Segmentation_ConversionParameters", ""))
    return ReadSegmentation(
        CollectedSegmentation(str(path), layers_of(source)),
        tuple(segments),
        reference or source.grid,
    )


def _segment(header: NrrdHeader, number: int, layers: int) -> CollectedSegment:
    def value(key: str) -> str:
        return header.values.get(f"Segment{number}_{key}", "").strip()

    # Before Slicer 4.11 every segment had a layer of its own, and the value 1.
    layer = int(value("Layer")) if value("Layer").isdecimal() else min(number, layers - 1)
    label = int(value("LabelValue")) if value("LabelValue").isdecimal() else 1
    extent = [int(part) for part in value("Extent").split() if part.lstrip("-").isdecimal()]
    # An upper bound: what was erased again leaves its extent behind.
    empty = len(extent) == 6 and any(extent[i] > extent[i + 1] for i in (0, 2, 4))
    tags = dict(
        tag.partition(":")[::2] for tag in value("Tags").split("|") if tag.partition(":")[1]
    )
    return CollectedSegment(
        name=value("Name") or value("ID") or f"segment {number}",
        layer=layer,
        values=(label,),
        terms=parse_terms(
            tags.get("TerminologyEntry") or tags.get("Segmentation.TerminologyEntry")
        ),
        colour=_colour(value("Color")),
        empty=True if empty else None,
    )


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = (round(float(part) * 255) for part in text.split())
    except (ValueError, OverflowError):
        return None
    return (red, green, blue) if all(0 <= part <= 255 for part in (red, green, blue)) else None


def _reference(parameters: str) -> Geometry | None:
    """The grid "Reference image geometry|m00;...;m33;x0;x1;y0;y1;z0;z1;|..." of an image."""
    words = parameters.replace("&", "|").split("|")
    if "Reference image geometry" not in words[:-1]:
        return None
    text = words[words.index("Reference image geometry") + 1]
    try:
        numbers = [float(part) for part in text.split(";") if part.strip()]
        to_ras = np.array(numbers[:16]).reshape(4, 4)
        extent = [int(number) for number in numbers[16:22]]
    except (ValueError, OverflowError):
        return None
    if len(extent) != 6 or not np.isfinite(to_ras).all():
        return None
    shape = tuple(extent[i + 1] - extent[i] + 1 for i in (4, 2, 0))
    if min(shape) < 1:
        return None
    return grid_from_ijk(to_ras, (shape[0], shape[1], shape[2]), (extent[0], extent[2], extent[4]))


def grid_from_ijk(
    to_ras: NDArray[np.float64],
    shape: tuple[int, int, int],
    start: tuple[int, int, int] = (0, 0, 0),
) -> Geometry | None:
    """The grid of a matrix from voxel indices (x, y, z) to RAS; None where it has no straight one.

    Args:
        to_ras: 4 x 4.
        shape: (Z, Y, X).
        start: index (x, y, z) of the first voxel.
    """
    to_lps = _FLIP @ to_ras
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    if not (spacing > 0).all():
        return None
    direction = to_lps[:3, :3] / spacing
    origin = to_lps @ np.array([*start, 1.0])
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in direction]
    try:
        return Geometry(
            shape,
            (float(spacing[2]), float(spacing[1]), float(spacing[0])),
            (float(origin[0]), float(origin[1]), float(origin[2])),
            (rows[0], rows[1], rows[2]),
        )
    except ImageError:
        return None

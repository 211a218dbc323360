"""Slicer's .seg.nrrd files, whole: segments that may overlap, their names, colours and codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.anatomy import TISSUE
from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..domain.segments import (
    ALGORITHM_NAME_TAG,
    GREY,
    Segment,
    SegmentsInPlace,
    algorithm_of,
)
from ..domain.terminology import Codes, parse_terms
from .itk_images import read_itk
from .nrrd_files import slabs, write_compressed
from .nrrd_header import read_nrrd_header
from .seg_nrrd_header import (
    CODE_TAG,
    StoredSegment,
    as_stored,
    reference_grid,
    stored_header,
    stored_segments,
)


@dataclass(frozen=True)
class StoredSegmentation:
    """What a file holds.

    Args:
        grid: of the layers; Slicer may have cropped it to what is segmented.
        layers: (L, Z, Y, X), whole numbers.
        segments: as the file describes them.
        reference: grid of the image that was segmented, where the file says it.
    """

    grid: Geometry
    layers: NDArray[Any]
    segments: tuple[StoredSegment, ...]
    reference: Geometry | None = None


def read_stored(path: Path) -> StoredSegmentation:
    """Reads a .seg.nrrd file as it is.

    Raises:
        ImageError: unreadable, no segment, or not stored as label maps.
    """
    header = read_nrrd_header(path)
    layers, grid = read_itk(path)
    if not np.issubdtype(layers.dtype, np.integer):
        raise _no_segmentation(path, f"voxels of type {layers.dtype}")
    segments = stored_segments(header, layers.shape[0])
    if not segments:
        raise _no_segmentation(path, "no segments in its header")
    for segment in segments:
        if segment.layer >= layers.shape[0]:
            raise _no_segmentation(
                path, f"the segment {segment.name!r} in layer {segment.layer} of {layers.shape[0]}"
            )
    return StoredSegmentation(grid, layers, segments, reference_grid(header))


def read_seg_nrrd(path: Path) -> tuple[SegmentsInPlace, NDArray[Any]]:
    """Reads a .seg.nrrd file.

    Returns:
        what lies where; and the layers (L, Z, Y, X), whole numbers.

    Raises:
        ImageError: unreadable, no segment, or not stored as label maps.
    """
    stored = read_stored(path)
    segments = tuple(
        Segment(
            name=found.name,
            layer=found.layer,
            value=found.value,
            colour=found.colour or GREY,
            codes=_codes(found),
            algorithm=algorithm_of(found.tags),
            algorithm_name=found.tags.get(ALGORITHM_NAME_TAG, ""),
            identifier=found.identifier,
        )
        for found in stored.segments
    )
    place = SegmentsInPlace(stored.grid, stored.layers.shape[0], segments, stored.reference)
    return place, stored.layers


def write_seg_nrrd(path: Path, place: SegmentsInPlace, layers: Sequence[NDArray[Any]]) -> None:
    """Writes a .seg.nrrd file, compressed, all of it or nothing.

    Args:
        path: ends in .seg.nrrd.
        place: what lies where.
        layers: (Z, Y, X) each, whole numbers from 0.

    Raises:
        ProjectError: it cannot be written.
    """
    segments = [as_stored(segment, index) for index, segment in enumerate(place.segments)]
    write_stored(path, place.grid, layers, segments, reference=place.reference)


def write_stored(
    path: Path,
    grid: Geometry,
    layers: Sequence[NDArray[Any]],
    segments: Sequence[StoredSegment],
    *,
    reference: Geometry | None = None,
    level: int = 4,
) -> None:
    """Writes segments that are described already; see `write_seg_nrrd`.

    Args:
        path: ends in .seg.nrrd.
        grid: of the layers.
        layers: (Z, Y, X) each, whole numbers from 0.
        segments: in their order.
        reference: grid of the image that was segmented; that of the layers otherwise.
        level: of compression: 1 is fast, 9 small.

    Raises:
        ProjectError: it cannot be written.
    """
    highest = max((int(layer.max()) for layer in layers), default=0)
    kind = np.dtype("u1" if highest < 2**8 else "<u2" if highest < 2**16 else "<u4")
    header = stored_header(
        grid,
        len(layers),
        segments,
        reference=reference,
        item_bytes=kind.itemsize,
        encoding="gzip",
    )
    write_compressed(path, header, slabs(layers, kind), level=level)


def _codes(found: StoredSegment) -> Codes:
    """What a segment is: by its terminology, or by the code that its model has given it."""
    codes = parse_terms(found.terminology)
    if codes is not None:
        return codes
    own = parse_terms(found.tags.get(CODE_TAG))
    return Codes() if own is None else Codes(TISSUE, own.type)


def _no_segmentation(path: Path, found: str) -> ImageError:
    return ImageError(
        "this is no segmentation stored as label maps",
        expected="a .seg.nrrd file with the fields Segment0_Name, Segment0_LabelValue, ...",
        found=found,
        cure="in Slicer, make its binary labelmap the source representation and save it again",
        path=path,
    )

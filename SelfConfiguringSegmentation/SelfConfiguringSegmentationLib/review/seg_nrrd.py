"""Segments of one case as `.seg.nrrd` files.

Not by Slicer's own storage node, which would hold up the interface.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfseg.domain.segments import ALGORITHM_TYPE_TAG, TERMINOLOGY_TAG
from selfseg.io.seg_nrrd_header import CODE_TAG, StoredSegment

from .segments import Segment, Segments, packed

FAST = 1
"""Of compression: somebody waits for it."""

GREEN = (128, 174, 128)
"""Of a segment without a colour, as Slicer paints tissue."""


def write_segments(path: Path, given: Segments) -> None:
    """Writes segments, all of the file or nothing.

    Raises:
        ProjectError: it cannot be written.
    """
    from selfseg.io.seg_nrrd_files import write_stored

    stored = packed(given)
    described = [_stored(stored, segment) for segment in stored.segments]
    write_stored(path, stored.grid, stored.layers, described, level=FAST)


def read_segments(path: Path, *, exclusive: bool = False) -> Segments:
    """Reads a `.seg.nrrd`, with its segments in their order.

    Raises:
        ImageError: it cannot be read, or holds no segments.
    """
    from selfseg.io.seg_nrrd_files import read_stored

    stored = read_stored(path)
    segments = tuple(
        Segment(
            identifier=found.identifier,
            name=found.name,
            layer=found.layer,
            value=found.value,
            colour=found.colour,
            code=found.tags.get(CODE_TAG),
            terminology=found.terminology,
            made=found.tags.get(ALGORITHM_TYPE_TAG, "AUTOMATIC"),
        )
        for found in stored.segments
    )
    return Segments(stored.grid, tuple(stored.layers), segments, exclusive)


def _stored(given: Segments, segment: Segment) -> StoredSegment:
    tags = {
        ALGORITHM_TYPE_TAG: segment.made,
        TERMINOLOGY_TAG: segment.terminology,
        CODE_TAG: segment.code or "",
    }
    return StoredSegment(
        segment.identifier,
        segment.name,
        segment.layer,
        segment.value,
        segment.colour or GREEN,
        tags,
        _extent(given.mask(segment)),
    )


def _extent(mask: Any) -> tuple[int, ...]:
    """First and last voxel along x, y and z; the last before the first where there is none."""
    import numpy as np

    bounds: list[int] = []
    for axis in (2, 1, 0):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        bounds += [int(found[0]), int(found[-1])] if len(found) else [0, -1]
    return tuple(bounds)

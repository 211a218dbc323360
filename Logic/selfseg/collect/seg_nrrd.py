"""Segmentations as 3D Slicer stores them: `.seg.nrrd`, segments described in the header.

Segments that do not overlap share a layer, each with a label value of its own; layers are the
channels of the file. The file may be cropped to what is segmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..domain.terminology import parse_terms
from ..io.nrrd_header import read_nrrd_header
from ..io.seg_nrrd_header import reference_grid, stored_segments
from .collection import CollectedSegment, CollectedSegmentation
from .headers import image_source, layers_of

LARGEST_VALUE = 2**31 - 1
"""Of a voxel: Slicer's label maps have 32 bits at most."""


@dataclass(frozen=True)
class ReadSegmentation:
    """A segmentation with its segments.

    `reference` is the grid of the image it was drawn on, where the file says it, and otherwise
    that of the file: Slicer may have cropped it.
    """

    segmentation: CollectedSegmentation
    segments: tuple[CollectedSegment, ...]
    reference: Geometry


def read_seg_nrrd(path: Path) -> ReadSegmentation:
    """Reads what is in a `.seg.nrrd`, from its header.

    Raises:
        ImageError: it cannot be read.
    """
    header = read_nrrd_header(path)
    source = image_source(path)
    segments = tuple(
        CollectedSegment(
            name=found.name,
            layer=found.layer,
            values=(found.value,),
            terms=parse_terms(found.terminology),
            colour=found.colour,
            # What was erased again may leave its extent behind: only the voxels would tell.
            empty=True if found.empty else None,
        )
        for found in stored_segments(header, source.components)
    )
    for segment in segments:
        _check(path, segment, source.components)
    return ReadSegmentation(
        CollectedSegmentation(str(path), layers_of(source)),
        segments,
        reference_grid(header) or source.grid,
    )


def _check(path: Path, segment: CollectedSegment, layers: int) -> None:
    if segment.layer >= layers or segment.values[0] > LARGEST_VALUE:
        raise ImageError(
            f"the segment {segment.name!r} cannot be in this file",
            expected=f"one of {layers} layers, counted from 0, and a value up to {LARGEST_VALUE}",
            found=f"layer {segment.layer}, value {segment.values[0]}",
            cure="open the segmentation in 3D Slicer and save it again",
            path=path,
        )

"""Segments: structures that may overlap, as Slicer's segmentations and DICOM know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .errors import ImageError
from .geometry import Geometry
from .labels import Colour
from .terminology import Codes

AlgorithmType = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
"""Who drew a segment, in DICOM's words (PS3.3 C.8.20.2): a program, both, or a person."""

ALGORITHM_TYPE_TAG = "DICOM.SegmentAlgorithmType"
ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmName"
STATUS_TAG = "Segmentation.Status"
TERMINOLOGY_TAG = "TerminologyEntry"
"""Names of tags, as Slicer writes them into .seg.nrrd files."""

UNTOUCHED = ("", "notstarted")
"""States of a segment that nobody has edited: the Segment Editor's first stroke makes it
"inprogress"."""

GREY: Colour = (127, 127, 127)


@dataclass(frozen=True)
class Segment:
    """One structure in one case.

    Args:
        name: shown to people; need not be unique.
        layer: which of the layers it lies in.
        value: its label value there.
        colour: RGB 0-255.
        codes: what it is.
        algorithm: who drew it.
        algorithm_name: the program, "" where there was none.
        identifier: unique in its segmentation.
    """

    name: str
    layer: int
    value: int
    colour: Colour = GREY
    codes: Codes = field(default_factory=Codes)
    algorithm: AlgorithmType = "MANUAL"
    algorithm_name: str = ""
    identifier: str = ""


@dataclass(frozen=True)
class SegmentsInPlace:
    """Where the segments of a case lie, without their voxels.

    Args:
        grid: of the layers.
        layer_count: label maps on that grid; segments in different layers may overlap.
        segments: in their order.
        reference: grid of the image that was segmented, where it is known: `grid` may be a
            part of it.

    Raises:
        ImageError: a segment names a layer that is not there, or has no valid value.
    """

    grid: Geometry
    layer_count: int
    segments: tuple[Segment, ...]
    reference: Geometry | None = None

    def __post_init__(self) -> None:
        for segment in self.segments:
            if not 0 <= segment.layer < self.layer_count or segment.value < 1:
                raise ImageError(
                    f"the segment {segment.name!r} is nowhere",
                    expected=f"a layer below {self.layer_count} and a label value above 0",
                    found=f"layer {segment.layer}, value {segment.value}",
                    cure="save the segmentation again in Slicer",
                )


def algorithm_of(tags: Mapping[str, str]) -> AlgorithmType:
    """Who drew a segment, from its tags: what a program has drawn and a person has edited is both.

    Without a tag it is a person's, as Slicer takes it.
    """
    kind = tags.get(ALGORITHM_TYPE_TAG, "MANUAL")
    if kind == "AUTOMATIC":
        return "AUTOMATIC" if tags.get(STATUS_TAG, "") in UNTOUCHED else "SEMIAUTOMATIC"
    return "SEMIAUTOMATIC" if kind == "SEMIAUTOMATIC" else "MANUAL"


def label_values(segments: Sequence[Segment]) -> tuple[int, ...]:
    """A value for each segment in one label map: its own, or 1, 2, ... where two have the same."""
    own = tuple(segment.value for segment in segments)
    return own if len(set(own)) == len(own) else tuple(range(1, len(own) + 1))

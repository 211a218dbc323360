"""Segments: structures that may overlap, as Slicer's segmentations and DICOM know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .appearance import Appearance, Code
from .errors import ImageError, ModelError
from .geometry import Geometry
from .labels import Colour

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
class Codes:
    """What a structure is in a terminology; None where nobody has said."""

    category: Code | None = None
    type: Code | None = None
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @classmethod
    def from_slicer(cls, text: str) -> Codes:
        """Reads Slicer's text "<context>~<category>~<type>~<modifier>~<context>~<region>~..."."""
        parts = [*text.split("~"), *[""] * 7]
        category, kind, modifier, _, region, region_modifier = parts[1:7]
        return cls(*map(_code, (category, kind, modifier, region, region_modifier)))

    @classmethod
    def of(cls, look: Appearance) -> Codes:
        """Those of an appearance."""
        return cls(look.category, look.type, look.modifier)

    @property
    def slicer_text(self) -> str:
        """The text that `from_slicer` reads; "" without a type."""
        if self.type is None:
            return ""
        texts = [
            "^^" if code is None else str(code)
            for code in (self.category, self.type, self.modifier, self.region, self.region_modifier)
        ]
        contexts = (
            "Segmentation category and type - DICOM master list",
            "Anatomic codes - DICOM master list",
        )
        return "~".join((contexts[0], *texts[:3], contexts[1], *texts[3:]))


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
    codes: Codes = Codes()
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


def _code(text: str) -> Code | None:
    try:
        return Code.from_text(text)
    except ModelError:  # "^^", or what another program has left there
        return None

"""What a structure is: entries of a terminology as Slicer and DICOM write them; folded names."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .appearance import Appearance, Code
from .errors import ModelError

GENERIC = frozenset({("SCT", "85756007"), ("SRT", "T-D0050")})
"""Tissue: what Slicer gives every segment that nobody has named. It says nothing."""

_PARTS = 7
"""Of Slicer's text: context, category, type, modifier, anatomic context, region, its modifier."""

_CONTEXTS = (
    "Segmentation category and type - DICOM master list",
    "Anatomic codes - DICOM master list",
)


@dataclass(frozen=True)
class Codes:
    """What a structure is: "Kidney" with the modifier "Left", or "Mass" in the region "Liver".

    None where nobody has said.
    """

    category: Code | None = None
    type: Code | None = None
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @classmethod
    def of(cls, look: Appearance) -> Codes:
        """Those of an appearance."""
        return cls(look.category, look.type, look.modifier)

    @property
    def key(self) -> tuple[str, ...] | None:
        """What must be equal for two segments to be one structure; None where it says nothing.

        The category is left out: terminologies disagree about it, and about meanings' wording.
        """
        if self.type is None:
            return None
        if (self.type.scheme, self.type.value) in GENERIC and self.region is None:
            return None
        codes = (self.type, self.modifier, self.region, self.region_modifier)
        return tuple(f"{code.scheme}^{code.value}" if code else "" for code in codes)

    @property
    def text(self) -> str:
        """For dataset.json and back: the codes that are known, separated by ~."""
        return "~".join("" if code is None else str(code) for code in self._parts).rstrip("~")

    @property
    def slicer_text(self) -> str:
        """The text that Slicer stores with a segment; "" without a type."""
        if self.type is None:
            return ""
        texts = ["^^" if code is None else str(code) for code in self._parts]
        return "~".join((_CONTEXTS[0], *texts[:3], _CONTEXTS[1], *texts[3:]))

    @property
    def _parts(self) -> tuple[Code | None, ...]:
        return (self.category, self.type, self.modifier, self.region, self.region_modifier)


def parse_terms(text: str | None) -> Codes | None:
    """Reads Slicer's terminology text, the form of `Codes.text`, or one code alone.

    Args:
        text: "<context>~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~...", or
            "SCT^10200004^Liver".

    Returns:
        None where it names no type, or has another form: such text identifies nothing.
    """
    if not text:
        return None
    parts = text.split("~")
    if len(parts) == 1:
        alone = _code(parts[0])
        return None if alone is None else Codes(type=alone)
    if len(parts) > 5 or (parts[0] and _code(parts[0]) is None):
        parts = [*parts[1:], *[""] * _PARTS]
        category, kind, modifier, _, region, region_modifier = parts[:6]
    else:
        category, kind, modifier, region, region_modifier = [*parts, *[""] * _PARTS][:5]
    found = Codes(*map(_code, (category, kind, modifier, region, region_modifier)))
    return None if found.type is None else found


def folded(name: str) -> str:
    """A name without what people write differently: case, blanks, underscores, hyphens."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", "", text)


def _code(text: str) -> Code | None:
    parts = [part.strip() for part in text.split("^")]
    if len(parts) != 3 or not parts[0] or not parts[1]:
        return None
    try:
        return Code(parts[0], parts[1], parts[2] or parts[1])
    except ModelError:
        return None

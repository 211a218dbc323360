"""What a segment is: entries of a terminology as Slicer and DICOM write them, and folded names."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ..domain.appearance import Code
from ..domain.errors import ModelError

GENERIC = frozenset({("SCT", "85756007"), ("SRT", "T-D0050")})
"""Tissue: what Slicer gives every segment that nobody has named. It says nothing."""

_PARTS = 7
"""Of Slicer's text: context, category, type, modifier, anatomic context, region, its modifier."""


@dataclass(frozen=True)
class Terms:
    """What a structure is: "Kidney" with the modifier "Left", or "Mass" in the region "Liver"."""

    type: Code
    category: Code | None = None
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @property
    def key(self) -> tuple[str, ...] | None:
        """What must be equal for two segments to be one structure; None where it says nothing.

        The category is left out: terminologies disagree about it, and about meanings' wording.
        """
        if (self.type.scheme, self.type.value) in GENERIC and self.region is None:
            return None
        codes = (self.type, self.modifier, self.region, self.region_modifier)
        return tuple(f"{code.scheme}^{code.value}" if code else "" for code in codes)

    @property
    def text(self) -> str:
        """For dataset.json and back: the codes that are known, separated by ~."""
        codes = (self.category, self.type, self.modifier, self.region, self.region_modifier)
        return "~".join("" if code is None else str(code) for code in codes).rstrip("~")


def parse_terms(text: str | None) -> Terms | None:
    """Reads Slicer's terminology text, the form of `Terms.text`, or one code alone.

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
        return None if alone is None else Terms(alone)
    if len(parts) > 5 or (parts[0] and _code(parts[0]) is None):
        parts = [*parts[1:], *[""] * _PARTS]
        category, kind, modifier, _, region, region_modifier = parts[:6]
    else:
        category, kind, modifier, region, region_modifier = [*parts, *[""] * _PARTS][:5]
    what = _code(kind)
    if what is None:
        return None
    return Terms(what, _code(category), _code(modifier), _code(region), _code(region_modifier))


def folded(name: str) -> str:
    """A name without what people write differently: case, blanks, underscores, hyphens."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", "", text)


def _code(text: str) -> Code | None:
    parts = text.split("^")
    if len(parts) != 3 or not parts[0].strip() or not parts[1].strip():
        return None
    try:
        return Code(parts[0].strip(), parts[1].strip(), parts[2].strip() or parts[1].strip())
    except ModelError:
        return None

"""Names and codes of structures in Slicer's terminology, as far as they are known."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from selfseg.domain.anatomy import TISSUE
from selfseg.domain.appearance import Appearance, Code
from selfseg.domain.labels import Colour, Label
from selfseg.domain.terminology import parse_terms

CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
"""Slicer's own list, which also knows a colour for each structure."""

GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True)
class Look:
    """How a structure appears: RGB 0-255, and Slicer's terminology string or ""."""

    colour: Colour
    terminology: str = ""


def look_of(label: Label, index: int, appearance: Appearance | None = None) -> Look:
    """Colour and terminology of a structure.

    The model's own colour and code come first, then Slicer's list under the structure's name,
    then what the appearance says, then a colour by position that is far from its neighbours'.

    Args:
        label: the structure.
        index: its position in the scheme.
        appearance: what the model says of it, if anything.
    """
    codes = _codes(label, appearance)
    colour, terminology = _from_list(label.name)
    if codes is not None and not _names(terminology, codes):
        terminology = _from_codes(*codes) or terminology
    own = label.colour or (appearance.colour if appearance is not None else None)
    return Look(own or colour or colour_by_position(index), terminology)


def colour_by_position(index: int) -> Colour:
    """Hues a golden ratio apart, so that neighbours differ however many there are."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * GOLDEN_RATIO) % 1.0, 0.62, 0.92)
    return round(red * 255), round(green * 255), round(blue * 255)


def _codes(label: Label, appearance: Appearance | None) -> tuple[Code, Code, Code | None] | None:
    """Category, type and modifier; None where the type is not known."""
    if appearance is not None and appearance.type is not None:
        return appearance.category or TISSUE, appearance.type, appearance.modifier
    codes = parse_terms(label.code)
    return None if codes is None or codes.type is None else (TISSUE, codes.type, None)


def _names(terminology: str, codes: tuple[Code, Code, Code | None]) -> bool:
    """Whether an entry of Slicer's list says the same, and so says it best."""
    _, kind, modifier = codes
    wanted = (kind, modifier) if modifier is not None else (kind,)
    return all(f"{code.scheme}^{code.value}" in terminology for code in wanted)


def _from_list(name: str) -> tuple[Colour | None, str]:
    import slicer

    if not hasattr(slicer.modules, "terminologies"):
        return None, ""
    logic = slicer.modules.terminologies.logic()
    if not logic.IsTerminologyContextLoaded(CONTEXT):
        return None, ""
    for spelling in (name, name.lower(), name.lower().replace("_", " ")):
        entry = slicer.vtkSlicerTerminologyEntry()
        if logic.FindTypeInTerminologyBy3dSlicerLabel(CONTEXT, spelling, entry):
            red, green, blue = entry.GetTypeObject().GetRecommendedDisplayRGBValue()
            return (red, green, blue), logic.SerializeTerminologyEntry(entry)
    return None, ""


def _from_codes(category: Code, kind: Code, modifier: Code | None) -> str:
    """Slicer's terminology string of these codes."""
    import slicer

    if not hasattr(slicer.modules, "terminologies"):
        return ""
    logic = slicer.modules.terminologies.logic()
    texts = [
        text
        for code in (category, kind, modifier)
        for text in ((code.value, code.scheme, code.meaning) if code else ("", "", ""))
    ]
    no_region = [""] * 7
    entry: str = logic.SerializeTerminologyEntry(CONTEXT, *texts, *no_region)
    return entry

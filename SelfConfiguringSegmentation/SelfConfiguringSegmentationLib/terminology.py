"""Names and codes of structures in Slicer's terminology, as far as they are known."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from selfseg.domain.labels import Colour, Label

CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
"""Slicer's own list, which also knows a colour for each structure."""

CATEGORY = ("85756007", "SCT", "Tissue")
"""Category of a structure of which only the code is known (SNOMED CT)."""

GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True)
class Look:
    """How a structure appears: RGB 0-255, and Slicer's terminology string or ""."""

    colour: Colour
    terminology: str = ""


def look_of(label: Label, index: int) -> Look:
    """Colour and terminology of a structure.

    The model's own colour and code come first, then Slicer's list under the structure's name,
    then a colour by position that is far from its neighbours'.

    Args:
        label: the structure.
        index: its position in the scheme.
    """
    colour, terminology = _from_list(label.name)
    if label.code and "^".join(label.code.split("^")[:2]) not in terminology:
        terminology = _from_code(label.code) or terminology
    return Look(label.colour or colour or colour_by_position(index), terminology)


def colour_by_position(index: int) -> Colour:
    """Hues a golden ratio apart, so that neighbours differ however many there are."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * GOLDEN_RATIO) % 1.0, 0.62, 0.92)
    return round(red * 255), round(green * 255), round(blue * 255)


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


def _from_code(code: str) -> str:
    """The terminology string of "SCT^10200004^Liver", "" where the code has another form."""
    import slicer

    parts = code.split("^")
    if len(parts) != 3 or not hasattr(slicer.modules, "terminologies"):
        return ""
    scheme, value, meaning = parts
    logic = slicer.modules.terminologies.logic()
    entry: str = logic.SerializeTerminologyEntry(
        CONTEXT, *CATEGORY, value, scheme, meaning, "", "", "", "", "", "", "", "", "", ""
    )
    return entry

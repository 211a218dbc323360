"""Pictures of single cases for the page: slices, and bodies in space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from ..domain.labels import Colour
from .canvas import png_uri
from .content import OverlayCase, ReportContent, number
from .overlays import draw_overlay
from .surfaces import draw_surfaces

MOST_OVERLAYS = 9
"""Cases shown at most."""


@dataclass(frozen=True)
class DrawnCase:
    """A case with its pictures, not yet turned into text: (figure, alternative text, colours)."""

    case: OverlayCase
    figures: tuple[tuple[Figure, str, bool], ...]

    def part(self, dots_per_inch: int) -> dict[str, Any]:
        """Title, score and pictures as data URIs with their width and alternative text."""
        case = self.case
        return {
            "title": case.title or "Case",
            "identifier": case.identifier,
            "score": "" if number(case.score) is None else f"{case.score:.3f}",
            "pictures": [
                {
                    "uri": png_uri(figure, dots_per_inch=dots_per_inch, few_colours=few_colours),
                    "width": str(round(figure.get_figwidth() * 100)),
                    "alt": alt,
                }
                for figure, alt, few_colours in self.figures
            ],
        }


def draw_cases(content: ReportContent, colours: Mapping[str, Colour]) -> list[DrawnCase]:
    """The slices and bodies of the cases that are shown."""
    labels = content.description.labels
    is_ct = content.description.channel_names[0].strip().lower() == "ct"
    drawn = []
    for case in content.overlays[:MOST_OVERLAYS]:
        slices = draw_overlay(case, labels, dict(colours), is_ct=is_ct)
        bodies = draw_surfaces(case, labels, colours)
        figures = [(slices, _slices_alt(case), False)]
        if bodies is not None:
            figures.append((bodies, _bodies_alt(case), True))
        drawn.append(DrawnCase(case, tuple(figures)))
    return drawn


def _slices_alt(case: OverlayCase) -> str:
    text = f"Slices of case {case.identifier} with the predicted structures as coloured areas"
    return text + (" and the reference as outlines." if case.reference is not None else ".")


def _bodies_alt(case: OverlayCase) -> str:
    text = f"The structures of case {case.identifier} as bodies in space, seen from the front"
    if case.reference is None:
        return text + ": the prediction."
    return (
        text + ": the reference, the prediction, and the prediction coloured by its distance to "
        "the surface of the reference."
    )

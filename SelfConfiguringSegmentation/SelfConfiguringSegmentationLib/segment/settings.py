"""How to segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SegmentationSettings:
    """How to segment: where to compute, how thoroughly, and what to make of the result.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        checkpoint: of a project, "final" or "best"; what its selection says otherwise.
        mirror: average over mirrored images: better, and up to eight times slower.
        step: distance of neighbouring tiles as a share of the patch; smaller is slower.
        folds: whose networks vote; all of the model without any.
        structures: names of those to keep; all without any.
        closed_surface: makes surfaces too, for the 3D view.
    """

    device: str = "auto"
    checkpoint: Literal["final", "best"] | None = None
    mirror: bool = True
    step: float = 0.5
    folds: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    closed_surface: bool = False

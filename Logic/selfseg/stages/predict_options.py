"""How to predict, as the user wants it."""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.geometry import VoxelRanges


@dataclass(frozen=True)
class PredictOptions:
    """How to predict, beside what the model says.

    Args:
        step: distance of neighbouring tiles as a share of the patch.
        mirror: averages over mirrored images, along the axes that the training has mirrored.
        structures: names of those to write; none means all.
        region: looks first where the structures are, and predicts only there in full.
        probabilities: also writes them, at the network's resolution.
        confidence: measures how sure the model is of each case, and predicts its quality where
            the model has learned to.
        memory_bytes: what the process may use in all; None: what the machine has.
        limit: the voxels to segment, the rest becomes background; None: all. No region is
            looked for then.
    """

    step: float = 0.5
    mirror: bool = True
    structures: tuple[str, ...] = ()
    region: bool = False
    probabilities: bool = False
    confidence: bool = True
    memory_bytes: int | None = None
    limit: VoxelRanges | None = None

"""Takes what predicts the quality of a segmentation while it is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ..domain.case import FloatArray
from ..domain.geometry import Shape3, Vector3
from ..domain.labels import LabelScheme
from ..domain.quality import StructureFeatures
from ..infer.backend import Head
from ..infer.confidence import EntropyMeter
from ..quality.features import PromisedOverlap, shape_features


class QualityMeter(EntropyMeter):
    """An `EntropyMeter` that also takes what predicts the quality."""

    def __init__(
        self,
        labels: LabelScheme,
        shape: Shape3,
        head: Head | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(labels, shape, head, temperature)
        self.promised = PromisedOverlap(labels)

    def add(self, probabilities: FloatArray) -> None:
        """Counts voxels (..., K)."""
        super().add(probabilities)
        self.promised.add(probabilities)

    def features(
        self,
        labels: NDArray[Any],
        spacing: Vector3,
        *,
        mirror_dice: Mapping[str, float | None] | None = None,
    ) -> Mapping[str, StructureFeatures]:
        """What was seen of each structure.

        Args:
            labels: (Z, Y, X) of the native grid, as decided, before postprocessing: that is what
                held-out cases are scored on.
            spacing: mm (Z, Y, X) of that grid.
            mirror_dice: by structure, see `StructureFeatures`; only for a predictor that was
                learned with it.
        """
        entropies = self.result().structures
        promised, mirrored = self.promised.dice(), mirror_dice or {}
        return {
            name: replace(
                found,
                entropy=entropies[name].entropy,
                expected_dice=promised[name],
                mirror_dice=mirrored.get(name),
            )
            for name, found in shape_features(labels, self.labels, spacing).items()
        }

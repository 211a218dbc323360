"""What became of an image: a label map, and what it is probably worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ..domain.geometry import Vector3
from ..domain.quality import QualityModel
from ..infer.confidence import Confidence
from ..quality.judgement import CaseQuality, judge
from ..quality.ranking import TrackRecord
from .quality_meter import QualityMeter


@dataclass(frozen=True)
class Outcome:
    """What became of a case: label values (Z, Y, X) on its native grid, and their worth.

    Args:
        labels: the label map.
        confidence: how sure the model is; None where nobody asked.
        quality: what the label map is probably worth; None where nobody asked or nothing was
            learned.
    """

    labels: NDArray[Any]
    confidence: Confidence | None = None
    quality: CaseQuality | None = None


@dataclass(frozen=True)
class Decided:
    """A label map (Z, Y, X) before postprocessing, and what was seen while it was made.

    Args:
        labels: as all voters have decided.
        networks: as the networks alone have, which is what the meter has seen.
        meter: None where nobody asked.
        fold_dice: how far folds agree, by structure.
    """

    labels: NDArray[Any]
    networks: NDArray[Any]
    meter: QualityMeter | None = None
    fold_dice: Mapping[str, float | None] = field(default_factory=dict)

    def quality(
        self,
        model: QualityModel,
        spacing: Vector3,
        structures: Sequence[str] = (),
        record: TrackRecord | None = None,
    ) -> CaseQuality | None:
        """What the label map is probably worth; None where nobody has measured.

        Args:
            model: what was learned.
            spacing: mm (Z, Y, X) of the label map.
            structures: those to judge; none means all.
            record: of the model.
        """
        if self.meter is None:
            return None
        seen = self.meter.features(self.networks, spacing)
        wanted = structures or tuple(seen)
        features = {name: found for name, found in seen.items() if name in wanted}
        return judge(model, features, self.fold_dice, record=record)

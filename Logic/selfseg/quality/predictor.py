"""Predicts Dice and HD95 of a structure from what can be seen without a reference.

    features -> signs of trouble (more is worse) -> a line for the error of each score

The lines are of log(1 - Dice + 0.02) and log(HD95 + 1 mm): errors multiply. `learning` fits them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..domain.quality import StructureFeatures, StructurePredictor

FEWEST_CASES = 10
"""Below this many held-out cases with the structure nothing is predicted for it."""

_DICE_FLOOR, _MM_FLOOR, _ENTROPY_FLOOR, _SHARE_FLOOR = 0.02, 1.0, 0.01, 0.01
"""Differences below these do not matter: logarithms would make much of them."""


def signs_of(predictor: StructurePredictor, features: StructureFeatures) -> Mapping[str, float]:
    """Signs of trouble of a structure that was found."""
    return signs(features, predictor.volume_median, predictor.volume_spread)


def signs(
    features: StructureFeatures, volume_median: float, volume_spread: float
) -> Mapping[str, float]:
    """The features so that more is worse; what is not known is left out."""
    found: dict[str, float] = {}
    if features.expected_dice is not None:
        found["doubt"] = math.log(max(1 - features.expected_dice, 0.0) + _DICE_FLOOR)
    if features.entropy is not None:
        found["entropy"] = math.log(features.entropy + _ENTROPY_FLOOR)
    if features.mirror_dice is not None:
        found["mirroring"] = math.log(1 - features.mirror_dice + _DICE_FLOOR)
    if features.volume_ml > 0:
        found["volume"] = abs(math.log(features.volume_ml) - volume_median) / volume_spread
    if features.largest_share is not None:
        found["pieces"] = math.log(1 - features.largest_share + _SHARE_FLOOR)
    if features.border_share is not None:
        found["border"] = math.sqrt(features.border_share)
    return found


def dice_error(dice: float) -> float:
    """What the line for Dice is fitted to."""
    return math.log(1 - dice + _DICE_FLOOR)


def dice_of(error: float) -> float:
    """The inverse of `dice_error`, from 0 to 1."""
    return min(1.0, max(0.0, 1 + _DICE_FLOOR - math.exp(min(error, 1.0))))


def hd95_error(millimetres: float) -> float:
    """What the line for HD95 is fitted to."""
    return math.log(millimetres + _MM_FLOOR)


def hd95_of(error: float) -> float:
    """The inverse of `hd95_error`, at least 0 mm."""
    return max(0.0, math.exp(min(error, 20.0)) - _MM_FLOOR)


def predict(
    predictor: StructurePredictor, features: StructureFeatures
) -> tuple[float | None, float | None]:
    """Dice and HD95 (mm) that are to be expected; None where nothing can be said."""
    if features.volume_ml <= 0:
        return None, None
    seen = signs_of(predictor, features)
    dice = None if predictor.dice is None else dice_of(predictor.dice.predict(seen))
    hd95 = None if predictor.hd95 is None else hd95_of(predictor.hd95.predict(seen))
    return dice, hd95

"""What was learned about the quality of a model's segmentations, as data.

It is made by `quality.learning` from held-out cases, goes into model bundles, and `quality`
judges new segmentations by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import ModelError

BEYOND = 1.0
"""Standard deviations beyond the values seen at which a feature is cut off."""


@dataclass(frozen=True)
class StructureFeatures:
    """What can be seen of one structure in one predicted case; None where it says nothing.

    Args:
        volume_ml: of the prediction (cm² in 2D); 0 where the structure was not found.
        entropy: mean over the voxels predicted as the structure, 0 (sure) to 1 (a guess).
        expected_dice: the Dice that the probabilities themselves promise.
        mirror_dice: between the prediction averaged over mirrored images and the plain one.
        pieces: connected parts.
        largest_share: of the voxels, in the largest part.
        border_share: of the voxels, on the image's outermost layer.
    """

    volume_ml: float = 0.0
    entropy: float | None = None
    expected_dice: float | None = None
    mirror_dice: float | None = None
    pieces: int = 0
    largest_share: float | None = None
    border_share: float | None = None


@dataclass(frozen=True)
class Regression:
    """A fitted line; per feature: its name, mean, standard deviation, range seen and weight.

    `weights` are per standard deviation, `intercept` is the mean of the target.

    Raises:
        ModelError: numbers that make no line.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    penalty: float

    def __post_init__(self) -> None:
        columns = (self.means, self.deviations, self.lowest, self.highest, self.weights)
        if any(len(column) != len(self.names) for column in columns):
            raise _no_line("as many numbers as features", f"{len(self.names)} features")
        numbers = [number for column in columns for number in column]
        if not all(map(math.isfinite, (*numbers, self.intercept, self.penalty))):
            raise _no_line("finite numbers", "one that is not")
        if any(deviation <= 0 for deviation in self.deviations):
            raise _no_line("deviations above 0", str(min(self.deviations)))

    def parts(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """What each feature adds to the mean of the target; one that is missing adds nothing."""
        return {
            name: weight * (min(max(values[name], low - BEYOND * sd), high + BEYOND * sd) - mean)
            / sd
            for name, mean, sd, low, high, weight in zip(
                self.names, self.means, self.deviations, self.lowest, self.highest, self.weights,
                strict=True,
            )
            if name in values
        }  # fmt: skip

    def predict(self, values: Mapping[str, float]) -> float:
        """The target for these values of the features."""
        return self.intercept + sum(self.parts(values).values())


@dataclass(frozen=True)
class HeldOutPrediction:
    """The scores of a structure in a case, and what slopes fitted without that case said."""

    case: str
    fold: str
    structure: str
    dice: float | None
    predicted_dice: float | None
    hd95_mm: float | None
    predicted_hd95_mm: float | None


@dataclass(frozen=True)
class StructurePredictor:
    """The predictor of one structure.

    Args:
        cases: held-out cases in which it was found, and which were learned from.
        reference_cases: held-out cases whose reference has it.
        all_cases: held-out cases.
        volume_median: natural logarithm of ml.
        volume_spread: of that logarithm.
        usual: (5th, 95th percentile) of features, to be told to people.
        dice: line for the Dice error; None with too few cases.
        hd95: line for HD95; None with too few cases.

    Raises:
        ModelError: numbers that cannot be.
    """

    cases: int
    reference_cases: int
    all_cases: int
    volume_median: float = 0.0
    volume_spread: float = 1.0
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    dice: Regression | None = None
    hd95: Regression | None = None

    def __post_init__(self) -> None:
        spread = self.volume_spread
        if not (math.isfinite(self.volume_median) and math.isfinite(spread) and spread > 0):
            raise _no_line(
                "a finite volume and a spread above 0", f"{self.volume_median}, {spread}"
            )


@dataclass(frozen=True)
class QualityModel:
    """Predictors by structure, and how they did on cases they were not fitted to.

    Args:
        structures: by name.
        held_out: what the predictors said of held-out cases; no case's own name in a bundle.
        left_out: what was left out at a time: "fold" or "case".
        learned_from: SHA-256 of the observations; "" where nobody has said.
    """

    structures: Mapping[str, StructurePredictor]
    held_out: tuple[HeldOutPrediction, ...] = ()
    left_out: str = "case"
    learned_from: str = ""


def _no_line(expected: str, found: str) -> ModelError:
    return ModelError(
        "the predictor of the quality is not valid",
        expected=expected,
        found=found,
        cure="export the model again, or train it again with this version of selfseg",
    )

"""Predicts Dice and HD95 of a structure from what can be seen without a reference.

    held-out cases: features, and the scores they had
        -> per structure: signs of trouble (more is worse), a line for the error each
        -> every case predicted with slopes fitted without its fold: is the predictor any good?

The line is fitted to log(1 - Dice + 0.02) and log(HD95 + 1 mm): errors multiply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .features import StructureFeatures
from .ranking import Ranking, rank_pairs
from .regression import Regression, fit_regression

FEWEST_CASES = 10
"""Below this many held-out cases with the structure nothing is predicted for it."""

MOST_PARTS = 50
"""One fold's cases are left out one at a time up to this many, and in this many parts beyond."""

_DICE_FLOOR, _MM_FLOOR, _ENTROPY_FLOOR, _SHARE_FLOOR = 0.02, 1.0, 0.01, 0.01
"""Differences below these do not matter: logarithms would make much of them."""

_LEAST_VOLUME_SPREAD = 0.1
"""Of the logarithm: volumes are never taken to be more alike than about 10%."""

_NORMAL_MAD = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution."""

EXPECTED = {"doubt": 1.0}
"""Slope of the Dice error: a model that keeps its word has twice the error where its own
probabilities promise twice the error. What the cases say can overrule it."""

READABLE = (
    "expected_dice", "entropy", "mirror_dice", "volume_ml", "largest_share", "border_share",
)  # fmt: skip
"""Features whose usual range is kept, to be told to people."""


@dataclass(frozen=True)
class Observation:
    """One structure in one held-out case: what could be seen, and how good it was.

    `in_reference` is whether the reference has the structure; scores are None where undefined.
    """

    case: str
    fold: str
    structure: str
    features: StructureFeatures
    dice: float | None
    hd95_mm: float | None
    in_reference: bool


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
        usual: (5th, 95th percentile) of the features named in `READABLE`.
        dice: line for the Dice error; None with too few cases.
        hd95: line for HD95; None with too few cases.
    """

    cases: int
    reference_cases: int
    all_cases: int
    volume_median: float = 0.0
    volume_spread: float = 1.0
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    dice: Regression | None = None
    hd95: Regression | None = None

    def signs(self, features: StructureFeatures) -> Mapping[str, float]:
        """Signs of trouble of a structure that was found."""
        return signs(features, self.volume_median, self.volume_spread)


@dataclass(frozen=True)
class QualityModel:
    """Predictors by structure, and how they did on cases they were not fitted to.

    `left_out` says what was left out at a time: "fold" or "case".
    """

    structures: Mapping[str, StructurePredictor]
    held_out: tuple[HeldOutPrediction, ...] = ()
    left_out: str = "case"

    def ranking(self, structure: str | None = None, *, metric: str = "dice") -> Ranking:
        """How well held-out cases are ranked: of one structure, or by means over structures.

        Args:
            structure: its name; None takes each case's mean over structures.
            metric: "dice" or "hd95_mm".
        """
        by_case: dict[str, list[tuple[float, float]]] = {}
        for entry in self.held_out:
            true, guess = getattr(entry, metric), getattr(entry, f"predicted_{metric}")
            wanted = structure is None or entry.structure == structure
            if wanted and true is not None and guess is not None:
                by_case.setdefault(entry.case, []).append((true, guess))
        pairs = [
            (sum(t for t, _ in found) / len(found), sum(g for _, g in found) / len(found))
            for found in by_case.values()
        ]
        return rank_pairs(pairs)


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


def fit_quality(observations: Sequence[Observation]) -> QualityModel:
    """Fits the predictors, and tries them on cases they have not seen.

    With several folds each fold is predicted from the others; with one, each case from the
    rest. A structure that was found in fewer than `FEWEST_CASES` cases gets no line.

    Args:
        observations: one per held-out case and structure.
    """
    by_structure: dict[str, list[Observation]] = {}
    for entry in observations:
        by_structure.setdefault(entry.structure, []).append(entry)
    several = len({entry.fold for entry in observations}) > 1
    held_out: list[HeldOutPrediction] = []
    for entries in by_structure.values():
        held_out += _tried(entries, by_fold=several)
    return QualityModel(
        {name: _fitted(entries) for name, entries in by_structure.items()},
        tuple(held_out),
        "fold" if several else "case",
    )


def _tried(entries: Sequence[Observation], *, by_fold: bool) -> list[HeldOutPrediction]:
    """Every case predicted with slopes that were fitted without its part.

    The lines go through the mean of all cases: one that is fitted without a good case has a worse
    mean, and would rank cases upside down where it knows nothing.
    """
    whole = _fitted(entries)
    if whole.dice is None:
        return []
    parts: dict[str | int, list[Observation]] = {}
    for place, entry in enumerate(entries):
        parts.setdefault(entry.fold if by_fold else place % MOST_PARTS, []).append(entry)
    found = []
    for part in parts.values():
        inside = {entry.case for entry in part}
        rest = _fitted([entry for entry in entries if entry.case not in inside], fewest=2)
        predictor = replace(
            whole,
            dice=_turned(whole.dice, rest.dice),
            hd95=_turned(whole.hd95, rest.hd95),
        )
        for entry in part:
            dice, hd95 = predict(predictor, entry.features)
            found.append(
                HeldOutPrediction(
                    entry.case, entry.fold, entry.structure, entry.dice, dice, entry.hd95_mm, hd95
                )
            )
    return found


def _turned(whole: Regression | None, rest: Regression | None) -> Regression | None:
    return None if whole is None or rest is None else rest.about(whole)


def predict(
    predictor: StructurePredictor, features: StructureFeatures
) -> tuple[float | None, float | None]:
    """Dice and HD95 (mm) that are to be expected; None where nothing can be said."""
    if features.volume_ml <= 0:
        return None, None
    seen = predictor.signs(features)
    dice = None if predictor.dice is None else dice_of(predictor.dice.predict(seen))
    hd95 = None if predictor.hd95 is None else hd95_of(predictor.hd95.predict(seen))
    return dice, hd95


def _is_learned_from(entry: Observation) -> bool:
    return entry.features.volume_ml > 0 and entry.dice is not None


def _fitted(entries: Sequence[Observation], *, fewest: int = FEWEST_CASES) -> StructurePredictor:
    """The predictor of one structure, without lines where fewer cases are known."""
    known = [entry for entry in entries if _is_learned_from(entry)]
    bare = StructurePredictor(
        len(known), sum(entry.in_reference for entry in entries), len(entries)
    )
    if len(known) < 2:
        return bare
    logs = np.log([entry.features.volume_ml for entry in known])
    median = float(np.median(logs))
    spread = max(float(np.median(np.abs(logs - median))) * _NORMAL_MAD, _LEAST_VOLUME_SPREAD)
    rows = [signs(entry.features, median, spread) for entry in known]
    # A feature that some cases lack cannot be learned from.
    names = [name for name in rows[0] if all(name in row for row in rows)]
    table = np.array([[row[name] for name in names] for row in rows])
    errors = np.array([dice_error(entry.dice) for entry in known if entry.dice is not None])
    near = np.array([entry.hd95_mm is not None for entry in known])
    distances = np.array([hd95_error(e.hd95_mm) for e in known if e.hd95_mm is not None])
    return StructurePredictor(
        bare.cases,
        bare.reference_cases,
        bare.all_cases,
        median,
        spread,
        _usual([entry.features for entry in known]),
        fit_regression(names, table, errors, EXPECTED) if len(errors) >= fewest else None,
        fit_regression(names, table[near], distances) if len(distances) >= fewest else None,
    )


def _usual(features: Sequence[StructureFeatures]) -> Mapping[str, tuple[float, float]]:
    ranges = {}
    for name in READABLE:
        values: NDArray[np.float64] = np.array(
            [getattr(entry, name) for entry in features if getattr(entry, name) is not None],
            dtype=np.float64,
        )
        if len(values):
            low, high = np.percentile(values, [5, 95])
            ranges[name] = (float(low), float(high))
    return ranges

"""Learns from held-out cases what predicts Dice and HD95 of a structure.

held-out cases: features, and the scores they had
    -> per structure: signs of trouble, a line for the error each
    -> every case predicted with slopes fitted without its fold: is the predictor any good?
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..domain.quality import (
    HeldOutPrediction,
    QualityModel,
    Regression,
    StructureFeatures,
    StructurePredictor,
)
from .predictor import FEWEST_CASES, dice_error, hd95_error, predict, signs
from .regression import fit_regression, turned

MOST_PARTS = 50
"""One fold's cases are left out one at a time up to this many, and in this many parts beyond."""

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
        digest_of(observations),
    )


def digest_of(observations: Sequence[Observation]) -> str:
    """SHA-256 that tells whether a predictor was fitted to these observations."""
    return hashlib.sha256(repr(tuple(observations)).encode()).hexdigest()


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
        others = [entry for entry in entries if entry.case not in inside]
        rest = _fitted(others, fewest=2, names=whole.dice.names)
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
    return None if whole is None or rest is None else turned(rest, about=whole)


def _is_learned_from(entry: Observation) -> bool:
    return entry.features.volume_ml > 0 and entry.dice is not None


def _fitted(
    entries: Sequence[Observation],
    *,
    fewest: int = FEWEST_CASES,
    names: Sequence[str] | None = None,
) -> StructurePredictor:
    """The predictor of one structure, without lines where fewer cases are known.

    A feature that some cases lack cannot be learned from; `names` are those that can.
    """
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
    if names is None:
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

"""How well predicted scores rank cases, and how far they are off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..domain.quality import QualityModel
from ..domain.wording import counted
from .predictor import FEWEST_CASES

FEWEST = 5
"""A rank correlation over fewer cases says nothing."""

_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Ranking:
    """Predictions of a score against the score.

    Args:
        cases: how many.
        spearman: rank correlation; 1 ranks as the truth does, 0 is chance. None with fewer
            than 5 cases, or where all scores or all predictions are the same.
        low: of the 95% interval of `spearman` (Fisher's transformation with the standard error
            of Bonett and Wright, 2000).
        high: of that interval.
        error: mean absolute difference of prediction and score.
        error_of_mean: the same, where the mean score of all cases is the prediction.
    """

    cases: int
    spearman: float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    error_of_mean: float | None = None

    @property
    def verdict(self) -> str:
        """In a word: "too few cases", "good", "useful", "weak" or "none".

        The lower end of the interval decides whether it ranks at all.
        """
        if self.spearman is None or self.low is None:
            return "too few cases"
        if self.low <= 0:
            return "none"
        return "good" if self.spearman >= 0.7 else "useful" if self.spearman >= 0.4 else "weak"


@dataclass(frozen=True)
class TrackRecord:
    """How a predictor did on held-out cases it was not fitted to.

    Args:
        dice: of the cases' means over structures.
        hd95: likewise.
        structures: of Dice, by structure.
        held_out: cases that the model was judged on, whether it found anything in them or not.
    """

    dice: Ranking
    hd95: Ranking
    structures: Mapping[str, Ranking] = field(default_factory=dict)
    held_out: int = 0

    @property
    def is_reliable(self) -> bool:
        """Whether predicted Dice ranks held-out cases better than chance."""
        return self.dice.verdict in ("good", "useful", "weak")

    @property
    def note(self) -> str:
        """What has to be said beside every prediction; "" where it can be relied upon."""
        if self.dice.verdict == "too few cases":
            judged = f"this model was judged on {counted(self.held_out, 'held-out case')}"
            if self.held_out < FEWEST_CASES:
                return f"{judged}; from {FEWEST_CASES} on it can say which results to look at"
            return f"{judged}, too few to say how far its predicted Dice can be trusted"
        weak = [
            f"predicted {name} cannot be told from chance (rank correlation {found.spearman:.2f}, "
            f"95% interval {found.low:.2f} to {found.high:.2f}, {found.cases} held-out cases)"
            for name, found in (("Dice", self.dice), ("HD95", self.hd95))
            if found.verdict == "none"
        ]
        return "not reliable on this data: " + "; ".join(weak) if weak else ""


def track_record(model: QualityModel) -> TrackRecord:
    """How the predictor did on held-out cases."""
    structures = {name: rank(model, name) for name in model.structures}
    held_out = max((found.all_cases for found in model.structures.values()), default=0)
    return TrackRecord(rank(model), rank(model, metric="hd95_mm"), structures, held_out)


def rank(model: QualityModel, structure: str | None = None, *, metric: str = "dice") -> Ranking:
    """How well held-out cases are ranked: of one structure, or by means over structures.

    Args:
        model: with its held-out predictions.
        structure: its name; None takes each case's mean over structures.
        metric: "dice" or "hd95_mm".
    """
    by_case: dict[str, list[tuple[float, float]]] = {}
    for entry in model.held_out:
        true, guess = getattr(entry, metric), getattr(entry, f"predicted_{metric}")
        wanted = structure is None or entry.structure == structure
        if wanted and true is not None and guess is not None:
            by_case.setdefault(entry.case, []).append((true, guess))
    pairs = [
        (sum(t for t, _ in found) / len(found), sum(g for _, g in found) / len(found))
        for found in by_case.values()
    ]
    return rank_pairs(pairs)


def rank_pairs(pairs: Sequence[tuple[float, float]]) -> Ranking:
    """Compares (score, prediction) pairs."""
    if not pairs:
        return Ranking(0)
    true, guess = np.array(pairs, dtype=np.float64).T
    error = float(np.abs(true - guess).mean())
    alike = float(np.abs(true - true.mean()).mean())
    rho = spearman(true, guess) if len(pairs) >= FEWEST else None
    if rho is None:
        return Ranking(len(pairs), error=error, error_of_mean=alike)
    middle = math.atanh(min(max(rho, -0.9999), 0.9999))
    width = _NORMAL_95 * math.sqrt((1 + rho**2 / 2) / (len(pairs) - 3))
    return Ranking(
        len(pairs), rho, math.tanh(middle - width), math.tanh(middle + width), error, alike
    )


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation, equal values at their mean rank; None where one is constant."""
    one, other = _ranks(first), _ranks(second)
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles = ends - (counts - 1) / 2
    result: NDArray[np.float64] = middles[place.ravel()]
    return result

"""Ridge regression with expectations, for a handful of features and few cases.

Weights are drawn towards what is expected of them, not towards zero, so that the fit is sensible
where few cases can say little. They cannot be negative: every feature is turned beforehand so
that more of it is worse. A fit that may not reverse this stays sensible where it extrapolates,
and each feature's part in a prediction can be read aloud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ..domain.quality import BEYOND, Regression

Floats = NDArray[np.float64]

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Of the squared distance of weights to their expectation, per case, with features of unit
variance: 1 puts a lone weight halfway, with 100 the cases have little to say."""

PARTS = 5
"""Of the inner cross-validation that chooses the penalty."""


def turned(line: Regression, about: Regression) -> Regression:
    """The slopes of one line through the middle of another, of the same features."""
    return replace(
        about,
        weights=tuple(
            weight * theirs / own
            for weight, theirs, own in zip(
                line.weights, about.deviations, line.deviations, strict=True
            )
        ),
        penalty=line.penalty,
    )


def fit_regression(
    names: Sequence[str],
    features: Floats,
    target: Floats,
    expected: Mapping[str, float] | None = None,
) -> Regression:
    """Fits the line; the penalty is the one that predicts left-out cases best.

    Args:
        names: of the features.
        features: (cases, features), more is worse.
        target: (cases,), more is worse.
        expected: slopes (target per feature) by name; 0 otherwise.

    Raises:
        ValueError: fewer than two cases.
    """
    if len(target) < 2:
        raise ValueError(f"a line cannot be fitted to {len(target)} cases")
    slopes = np.array([(expected or {}).get(name, 0.0) for name in names])
    errors = np.zeros(len(PENALTIES))
    order = np.arange(len(target)) % min(PARTS, len(target))
    for part in range(int(order.max()) + 1):
        kept = order != part
        for place, penalty in enumerate(PENALTIES):
            line = _line(names, features[kept], target[kept], slopes, penalty)
            guess = _predict(line, features[~kept])
            errors[place] += float(((guess - target[~kept]) ** 2).sum())
    # Of equals the larger penalty: it trusts so few cases less.
    best = len(PENALTIES) - 1 - int(np.argmin(errors[::-1]))
    return _line(names, features, target, slopes, PENALTIES[best])


def _line(
    names: Sequence[str], features: Floats, target: Floats, slopes: Floats, penalty: float
) -> Regression:
    means, deviations = features.mean(axis=0), features.std(axis=0)
    constant = deviations < 1e-9
    deviations = np.where(constant, 1.0, deviations)
    scaled = np.where(constant, 0.0, (features - means) / deviations)
    count = features.shape[1]
    # Ridge as ordinary least squares with one more row per weight.
    pull = np.sqrt(penalty * len(target))
    rows = np.vstack([scaled, pull * np.eye(count)])
    wanted = np.concatenate([target - target.mean(), pull * slopes * deviations])
    weights = nnls(rows, wanted)[0]
    return Regression(
        tuple(names),
        tuple(means.tolist()),
        tuple(deviations.tolist()),
        tuple(features.min(axis=0).tolist()),
        tuple(features.max(axis=0).tolist()),
        tuple(weights.tolist()),
        float(target.mean()),
        penalty,
    )


def _predict(line: Regression, features: Floats) -> Floats:
    low = np.array(line.lowest) - BEYOND * np.array(line.deviations)
    high = np.array(line.highest) + BEYOND * np.array(line.deviations)
    scaled = (np.clip(features, low, high) - np.array(line.means)) / np.array(line.deviations)
    result: Floats = line.intercept + scaled @ np.array(line.weights)
    return result

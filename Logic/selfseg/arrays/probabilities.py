"""From logits to probabilities, and the temperature that makes them keep their word."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are looked at: beyond, probabilities are those of a guess or of an oracle."""


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """exp(x / t), so scaled that the last axis (classes) sums to 1."""
    result: Floats = logits - logits.max(axis=-1, keepdims=True)
    if temperature != 1:
        result /= np.float32(temperature)
    np.exp(result, out=result)
    result /= result.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits: Floats, temperature: float = 1.0) -> Floats:
    """1 / (1 + exp(-x / t)), without overflow."""
    # tanh saturates where exp would overflow.
    result: Floats = logits * np.float32(0.5 / temperature)
    np.tanh(result, out=result)
    result += 1
    result *= 0.5
    return result


def logits_of(probabilities: Floats, *, regions: bool) -> Floats:
    """The inverse of `sigmoid` for regions, of `softmax` for classes (up to a number per voxel)."""
    tiny = np.float32(1e-30)
    result: Floats = np.log(np.maximum(probabilities, tiny))
    if regions:
        result -= np.log(np.maximum(1 - probabilities, tiny))
    return result


def entropy(probabilities: Floats) -> Floats:
    """Entropy over the last axis (classes, which sum to 1): 0 is sure, 1 a guess among all."""
    terms = np.maximum(probabilities, np.finfo(np.float32).tiny)
    np.log(terms, out=terms)
    terms *= probabilities
    result: Floats = terms.sum(axis=-1) / np.float32(-math.log(max(2, probabilities.shape[-1])))
    return result


def binary_entropy(probabilities: Floats) -> Floats:
    """Entropy of each probability by itself: 0 is sure, 1 a coin."""
    return entropy(np.stack([probabilities, 1 - probabilities], axis=-1))


def class_loss(logits: Floats, classes: NDArray[np.integer], temperature: float) -> float:
    """Mean negative logarithm of the probability of the true class.

    Args:
        logits: (N, K).
        classes: (N,) indices of the true ones.
        temperature: above 0.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    true = np.take_along_axis(scaled, classes[:, None].astype(np.intp), axis=-1)[:, 0]
    return float(np.mean(np.log(np.exp(scaled).sum(axis=-1)) - true))


def region_loss(logits: Floats, inside: NDArray[np.bool_], temperature: float) -> float:
    """Mean negative logarithm of the probability of what is true, over voxels and regions.

    Args:
        logits: (N, R).
        inside: (N, R).
        temperature: above 0.
    """
    # -log sigmoid(x) = log(1 + exp(-x)), and with the sign turned for what is outside.
    signed = np.where(inside, -logits, logits).astype(np.float64) / temperature
    return float(np.mean(np.logaddexp(0.0, signed)))


def fit_temperature(logits: Floats, truth: NDArray[np.integer] | NDArray[np.bool_]) -> float:
    """The temperature under which the truth is most probable (Guo et al., ICML 2017).

    The loss has one minimum over 1/t, which a bounded search finds.

    Args:
        logits: (N, K) of voxels that the networks have not learned from.
        truth: (N,) true classes, or (N, R) bool for regions.

    Returns:
        between `COLDEST` and `HOTTEST`; 1 where there is no voxel.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if len(logits) != len(truth) or (truth.ndim == 2 and truth.shape != logits.shape):
        raise ValueError(f"shapes do not fit: {logits.shape} and {truth.shape}")
    if not len(logits):
        return 1.0

    def loss(exponent: float) -> float:
        temperature = math.exp(exponent)
        if truth.ndim == 2:
            return region_loss(logits, truth.astype(bool), temperature)
        return class_loss(logits, truth.astype(np.intp), temperature)

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    # Here, because predictions and imports of models need the rest of this file only.
    from scipy import optimize

    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return math.exp(float(found.x))

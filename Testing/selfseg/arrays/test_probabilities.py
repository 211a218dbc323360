from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from selfseg.arrays.probabilities import (
    binary_entropy,
    class_loss,
    entropy,
    fit_temperature,
    region_loss,
    sigmoid,
    softmax,
)


def logits(*shape: int, scale: float = 5.0) -> np.ndarray:
    return (scale * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_against_scipy(temperature: float) -> None:
    x = logits(50, 4)
    np.testing.assert_allclose(
        softmax(x, temperature), special.softmax(x / temperature, axis=-1), atol=1e-6
    )
    np.testing.assert_allclose(sigmoid(x, temperature), special.expit(x / temperature), atol=1e-6)
    assert sigmoid(np.float32([-1e4, 1e4])).tolist() == [0, 1]
    assert softmax(np.float32([[1e4, 0]])).tolist() == [[1, 0]]


def test_entropy_is_0_when_sure_and_1_for_a_guess() -> None:
    found = entropy(np.float32([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]]))
    np.testing.assert_allclose(found, [0, 1, 0.5], atol=1e-6)
    found = binary_entropy(np.float32([[0, 0.5], [1, 0.25]]))
    np.testing.assert_allclose(found, [[0, 1], [0, 0.811278]], atol=1e-5)


def test_losses_against_their_definition() -> None:
    x, classes = logits(40, 3), np.arange(40) % 3
    wanted = -np.log(special.softmax(x / 2, axis=-1)[np.arange(40), classes]).mean()
    assert class_loss(x, classes, 2.0) == pytest.approx(wanted, rel=1e-5)
    inside = x > 1
    p = special.expit(x.astype(float) / 2)
    wanted = -np.where(inside, np.log(p), np.log1p(-p)).mean()
    assert region_loss(x, inside, 2.0) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("regions", [False, True])
def test_the_temperature_that_data_were_drawn_with_is_found(true: float, regions: bool) -> None:
    generator = np.random.default_rng(1)
    x = 4 * generator.standard_normal((20_000, 3)).astype(np.float32)
    if regions:
        truth = generator.random(x.shape) < special.expit(x / true)
    else:
        sums = special.softmax(x / true, axis=-1).cumsum(axis=-1)
        truth = (generator.random(len(x))[:, None] > sums).sum(axis=-1).clip(0, 2)
    assert fit_temperature(x, truth) == pytest.approx(true, rel=0.06)


def test_nothing_to_fit_to() -> None:
    assert fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.intp)) == 1
    perfect = np.float32([[9, 0], [0, 9]])
    assert fit_temperature(perfect, np.array([0, 1])) < 1  # bounded, not 0
    assert math.isfinite(fit_temperature(perfect, np.array([1, 0])))
    with pytest.raises(ValueError, match="shapes"):
        fit_temperature(perfect, np.array([1]))

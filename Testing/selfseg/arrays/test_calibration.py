from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from selfseg.arrays.calibration import no_reliability, reliability


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 15]))
def test_agrees_with_scikit_learn(seed: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    probability = generator.random((3, 5, 7)) ** generator.choice([0.3, 1.0, 3.0])
    truth = generator.random(probability.shape) < probability
    found = reliability(probability, truth, bins=bins)
    true, predicted = calibration_curve(truth.ravel(), probability.ravel(), n_bins=bins)
    gaps = (true - predicted).tolist()
    filled = found.counts > 0
    np.testing.assert_allclose(found.gaps[filled], gaps)
    assert found.expected_error == pytest.approx(
        np.average(np.abs(gaps), weights=found.counts[filled])
    )
    assert found.maximum_error == pytest.approx(np.abs(gaps).max())


def test_parts_add_up_and_masked_voxels_do_not_count() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random((6, 5, 4)).astype(np.float32)
    truth, counted = generator.random((2, *probability.shape)) < 0.5
    whole = reliability(probability, truth, counted=counted)
    total = no_reliability()
    for p, t, c in zip(probability, truth, counted, strict=True):
        total += reliability(p, t, counted=c)
    assert whole.counts.sum() == counted.sum()
    np.testing.assert_array_equal(total.counts, whole.counts)
    np.testing.assert_array_equal(total.true_counts, whole.true_counts)
    np.testing.assert_allclose(total.probability_sums, whole.probability_sums)


def test_known_numbers_and_ends() -> None:
    found = reliability(
        np.array([0.0, 1.0, 0.5, 0.55]), np.array([False, True, True, False]), bins=2
    )
    assert found.counts.tolist() == [1, 3]
    assert found.gaps.tolist() == pytest.approx([0.0, 2 / 3 - 2.05 / 3])
    assert found.expected_error == pytest.approx(0.05 / 4)
    assert no_reliability().expected_error is None
    assert no_reliability().maximum_error is None
    assert np.isnan(no_reliability().gaps).all()


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        reliability(np.zeros(3), np.zeros(4, bool))
    with pytest.raises(ValueError, match="probabilities from"):
        reliability(np.array([1.5]), np.array([True]))
    with pytest.raises(ValueError, match="probabilities from"):
        reliability(np.array([np.nan]), np.array([True]))

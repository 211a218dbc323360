from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from selfseg.arrays.bootstrap import interval, resampled_means


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).normal(0.8, 0.1, 50)
    found = interval(resampled_means(values[:, None], resamples=20_000)[:, 0], level=0.9)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", confidence_level=0.9, n_resamples=20_000, rng=0
    ).confidence_interval
    assert found is not None
    assert found.low == pytest.approx(expected.low, abs=1e-3)
    assert found.high == pytest.approx(expected.high, abs=1e-3)


def test_columns_share_the_cases_and_leave_out_what_is_undefined() -> None:
    values = np.array([[0.1, 0.1], [0.5, np.nan], [0.9, np.nan]])
    means = resampled_means(values, resamples=500)
    assert np.isfinite(means[:, 0]).all()
    defined = means[np.isfinite(means[:, 1]), 1]
    np.testing.assert_allclose(defined, 0.1)
    assert 0 < len(defined) < 500  # some resamples hold no case that has a value
    found = interval(means[:, 1])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    doubled = resampled_means(np.repeat(values[:, :1], 2, axis=1), resamples=50)
    np.testing.assert_array_equal(doubled[:, 0], doubled[:, 1])


def test_groups_are_drawn_together() -> None:
    # Two patients with three scans each: only three means are possible.
    values = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    means = resampled_means(values, groups=list("aaabbb"), resamples=200)[:, 0]
    assert set(means.tolist()) == {0.0, 0.5, 1.0}
    assert len(set(resampled_means(values, resamples=200)[:, 0].tolist())) > 3


def test_the_same_seed_gives_the_same_and_nothing_gives_none() -> None:
    values = np.random.default_rng(0).random((5, 2))
    np.testing.assert_array_equal(resampled_means(values), resampled_means(values))
    assert (resampled_means(values, seed=1) != resampled_means(values)).any()
    assert interval(np.array([np.nan, np.nan])) is None
    assert resampled_means(np.zeros((0, 2)), resamples=3).shape == (3, 2)

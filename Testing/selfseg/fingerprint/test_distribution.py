"""Exact distributions, their mixture, and what the sketch may be off by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.fingerprint.distribution import (
    EXACT_VALUES,
    SKETCH_VALUES,
    Distribution,
    mixture,
)

whole_numbers = st.lists(st.integers(-1000, 3000), min_size=1, max_size=60)


def as_voxels(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


@given(whole_numbers, st.sampled_from([0.0, 0.25]))
def test_one_case_is_described_exactly(values: list[int], offset: float) -> None:
    voxels = as_voxels(values) + np.float32(offset)
    found = Distribution.of(voxels)
    assert found.mean == pytest.approx(voxels.astype(float).mean())
    assert found.std == pytest.approx(voxels.astype(float).std())
    assert (found.smallest, found.largest) == (voxels.min(), voxels.max())
    assert found.weights.sum() == pytest.approx(1)
    expected = np.quantile(voxels, (0.005, 0.5, 0.995), method="averaged_inverted_cdf")
    assert found.quantiles((0.005, 0.5, 0.995)) == pytest.approx(tuple(expected))


@given(st.lists(whole_numbers, min_size=1, max_size=5))
def test_in_a_mixture_every_case_weighs_the_same(cases: list[list[int]]) -> None:
    # Repeated up to the same size, the cases can simply be put together.
    common = int(np.lcm.reduce([len(case) for case in cases]))
    if common > 200_000:
        return
    pooled = np.concatenate([np.repeat(as_voxels(c), common // len(c)) for c in cases])
    found = mixture([Distribution.of(as_voxels(case)) for case in cases])
    assert found.mean == pytest.approx(pooled.astype(float).mean(), abs=1e-9)
    assert found.std == pytest.approx(pooled.astype(float).std(), abs=1e-9)
    assert (found.smallest, found.largest) == (pooled.min(), pooled.max())
    expected = np.quantile(pooled, (0.005, 0.5, 0.995), method="averaged_inverted_cdf")
    assert found.quantiles((0.005, 0.5, 0.995)) == pytest.approx(tuple(expected))


def test_many_values_are_sketched_within_the_stated_rank_error() -> None:
    voxels = np.random.default_rng(0).lognormal(3, 1, 300_000).astype(np.float32)
    found = Distribution.of(voxels)
    assert len(found.values) == SKETCH_VALUES < EXACT_VALUES
    in_order = np.sort(voxels)
    for share in (0.005, 0.3, 0.5, 0.995):
        (value,) = found.quantiles((share,))
        rank = np.searchsorted(in_order, value) / len(voxels)
        assert abs(rank - share) <= 1 / SKETCH_VALUES
    assert found.mean == pytest.approx(voxels.astype(float).mean())
    assert found.largest == voxels.max()


def test_very_wide_whole_numbers_need_no_table_of_their_range() -> None:
    found = Distribution.of(np.array([0, 1e9, 2e9], dtype=np.float32))
    assert found.values.tolist() == [0, 1e9, 2e9]

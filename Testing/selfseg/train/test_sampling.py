from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import TrainingError
from selfseg.train.sampling import (
    ANNOTATED,
    CasesInMemory,
    choose_start,
    first_forced,
    generator_for,
    read_patch,
)


@pytest.mark.parametrize(
    ("batch_size", "first"), [(1, 1), (2, 1), (3, 2), (4, 3), (9, 6), (12, 8), (13, 9)]
)
def test_a_third_of_the_batch_is_forced(batch_size: int, first: int) -> None:
    assert first_forced(batch_size, 0.33) == first


def test_batches_of_one_seed_differ_and_repeat() -> None:
    draws = {
        (seed, stream, index): generator_for(seed, stream, index).random()
        for seed in (0, 1)
        for stream in (0, 1)
        for index in (0, 1, 10**6)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, 1, 10**6] == generator_for(1, 1, 10**6).random()


@given(
    st.tuples(*[st.integers(1, 30)] * 3),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.booleans(),
    st.integers(0, 1000),
)
def test_patches_reach_no_further_over_the_border_than_they_must(
    make_case: Any, shape: Any, patch: Any, forced: bool, seed: int
) -> None:
    case = make_case(seed % 7, shape)
    start = choose_start(case, patch, forced, np.random.default_rng(seed))
    for a, size, n in zip(start, patch, shape, strict=True):
        if size <= n:
            assert 0 <= a <= n - size
        else:
            assert a == -((size - n) // 2)


def test_the_border_of_an_image_is_seen_about_as_often_as_its_middle(make_case: Any) -> None:
    case = make_case(0, (40, 40, 40))
    rng = np.random.default_rng(0)
    starts = np.array([choose_start(case, (20, 20, 20), False, rng) for _ in range(600)])
    at_the_border = (starts == 0).mean(axis=0)
    assert (at_the_border > 0.2).all()  # drawing the corner would give 1/21
    assert ((starts == 20).mean(axis=0) > 0.15).all()


def test_forced_patches_contain_foreground(make_case: Any) -> None:
    case = make_case(0, (40, 40, 40))
    for seed in range(50):
        start = choose_start(case, (6, 6, 6), True, np.random.default_rng(seed))
        assert read_patch(case, start, (6, 6, 6)).labels.any()


def test_unforced_patches_of_partly_annotated_cases_touch_annotation(make_case: Any) -> None:
    case = make_case(0, (40, 40, 40))
    case.foreground = {**case.foreground, ANNOTATED: np.array([[3, 3, 3]], np.int32)}
    for seed in range(20):
        start = choose_start(case, (6, 6, 6), False, np.random.default_rng(seed))
        assert start == (0, 0, 0)
        assert choose_start(case, (6, 6, 6), True, np.random.default_rng(seed)) != (0, 0, 0)


def test_a_2d_patch_is_one_slice(make_case: Any) -> None:
    case = make_case(0, (10, 20, 18))
    slices = {choose_start(case, (8, 8), False, np.random.default_rng(s))[0] for s in range(200)}
    assert slices == set(range(10))


@given(
    st.tuples(*[st.integers(-30, 30)] * 3),
    st.tuples(*[st.integers(1, 25)] * 3),
)
def test_outside_is_zero_and_inside_is_the_image(make_case: Any, start: Any, size: Any) -> None:
    case = make_case(1, (7, 9, 8), channels=2)
    patch = read_patch(case, start, size)
    wide = np.pad(case.image, [(0, 0)] + [(60, 60)] * 3)
    where = tuple(slice(60 + a, 60 + a + n) for a, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(patch.image, wide[(slice(None), *where)])
    np.testing.assert_array_equal(patch.labels, np.pad(case.labels, 60)[where])


@pytest.mark.parametrize("limit", [0, 1e9])
def test_kept_cases_read_the_same(make_case: Any, limit: float) -> None:
    case = make_case(2)
    case.nonzero = case.labels > 0
    cases = CasesInMemory([case], limit)
    assert cases.kept == (limit > 0)
    direct, kept = (read_patch(c, (-2, 3, 4), (8, 8, 8)) for c in (case, cases[0]))
    np.testing.assert_array_equal(direct.image, kept.image)
    np.testing.assert_array_equal(direct.labels, kept.labels)
    assert direct.nonzero is not None
    assert kept.nonzero is not None
    np.testing.assert_array_equal(direct.nonzero, kept.nonzero)
    assert list(cases[0].foreground) == [(1,)]


def test_incomplete_case_is_refused(make_case: Any) -> None:
    case = make_case(0)
    case.image = case.image[:, :5]
    with pytest.raises(TrainingError, match="not complete"):
        read_patch(case, (0, 0, 0), (8, 8, 8))

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
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
    draw_place,
    first_forced,
    generator_for,
    read_patch,
)


@pytest.mark.parametrize(
    ("batch_size", "first"), [(1, 1), (2, 1), (3, 2), (4, 3), (9, 6), (12, 8), (13, 9)]
)
def test_a_third_of_the_batch_is_forced(batch_size: int, first: int) -> None:
    assert first_forced(batch_size, 0.33) == first


def test_samples_of_one_seed_differ_and_repeat() -> None:
    draws = {
        (seed, stream, index, sample): generator_for(seed, stream, index, sample).random()
        for seed in (0, 1)
        for stream in (0, 1)
        for index in (0, 1, 10**6)
        for sample in (0, 1, 500)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, 1, 10**6, 500] == generator_for(1, 1, 10**6, 500).random()
    assert draws[1, 1, 1, 0] == generator_for(1, 1, 1).random()


def test_samples_never_run_into_each_others_numbers() -> None:
    one = generator_for(0, 0, 0, 0).integers(2**63, size=4000)
    other = generator_for(0, 0, 0, 1).integers(2**63, size=4000)
    assert not set(one.tolist()) & set(other.tolist())


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


@given(st.tuples(*[st.integers(-30, 30)] * 3))
def test_the_first_stage_travels_with_its_patch(make_case: Any, start: Any) -> None:
    case = make_case(1, (7, 9, 8))
    assert read_patch(case, start, (5, 6, 7)).previous is None
    case.previous = (case.labels * 3 + 1).astype(np.int16)
    for source in (case, CasesInMemory([case], 1e9)[0]):
        previous = read_patch(source, start, (5, 6, 7)).previous
        where = tuple(slice(60 + a, 60 + a + n) for a, n in zip(start, (5, 6, 7), strict=True))
        assert previous is not None
        assert previous.dtype == np.int16
        np.testing.assert_array_equal(previous, np.pad(case.previous, 60)[where])


def _lesion_case(make_case: Any, number: int, *, lesion: bool, organ: bool) -> Any:
    """Label 1 an organ of half the image, label 2 a lesion of one voxel."""
    case = make_case(number, (30, 30, 30))
    case.labels = np.zeros((30, 30, 30), np.int16)
    case.labels[:, :, 15:] = organ
    if lesion:
        case.labels[4, 5, 6] = 2
    case.foreground = {
        (value,): np.argwhere(case.labels == value).astype(np.int32) for value in (1, 2)
    }
    return case


def _share_with_lesion(cases: CasesInMemory, rule: Any, batches: int = 100) -> float:
    """Share of the samples of batches of 12, a third forced, that show the lesion."""
    shown = 0
    for index in range(batches):
        for sample in range(12):
            rng = generator_for(0, 0, index, sample)
            forced = sample >= first_forced(12, 0.33)
            case, start = draw_place(cases, (4, 4, 4), forced, rng, rule)
            shown += 2 in read_patch(case, start, (4, 4, 4)).labels
    return shown / (12 * batches)


@pytest.mark.parametrize("rule", ["with_foreground", "by_structure"])
def test_one_lesion_in_fifty_cases_is_seen_at_the_configured_share(
    make_case: Any, rule: Any
) -> None:
    found = [_lesion_case(make_case, i, lesion=i == 37, organ=False) for i in range(50)]
    # Four of twelve are forced; drawn from all cases, 1 sample in 150 would show it.
    assert _share_with_lesion(CasesInMemory(found, 1e9), rule) == pytest.approx(4 / 12, abs=0.005)


def test_a_lesion_beside_a_common_organ_is_seen_by_structure(make_case: Any) -> None:
    found = [_lesion_case(make_case, i, lesion=i == 37, organ=True) for i in range(50)]
    cases = CasesInMemory(found, 1e9)
    assert _share_with_lesion(cases, "with_foreground") < 0.02
    assert _share_with_lesion(cases, "by_structure") == pytest.approx(2 / 12, abs=0.03)


@pytest.mark.parametrize("rule", ["with_foreground", "by_structure"])
@pytest.mark.parametrize("patch", [(6, 6), (6, 6, 6)])
def test_unforced_samples_come_from_all_cases_and_forced_ones_show_foreground(
    make_case: Any, rule: Any, patch: Any
) -> None:
    found = [make_case(i) for i in range(5)]
    found[3].labels[:] = 0
    found[3].foreground = {(1,): np.empty((0, 3), np.int32)}
    cases = CasesInMemory(found, 1e9)
    size = (1,) * (3 - len(patch)) + patch
    drawn: dict[bool, set[str]] = {False: set(), True: set()}
    for seed in range(100):
        for forced in (False, True):
            case, start = draw_place(cases, patch, forced, np.random.default_rng(seed), rule)
            drawn[forced].add(case.identifier)
            assert not forced or read_patch(case, start, size).labels.any()
    assert drawn[False] == {f"case_{i}" for i in range(5)}
    assert drawn[True] == {f"case_{i}" for i in (0, 1, 2, 4)}


@pytest.mark.parametrize("rule", ["with_foreground", "by_structure"])
@pytest.mark.parametrize(
    "foreground",
    [
        {},
        {(1,): np.empty((0, 3), np.int32)},
        {(1,): np.empty((0, 3), np.int32), ANNOTATED: np.array([[3, 3, 3]], np.int32)},
    ],
)
def test_data_without_foreground_can_be_drawn_from(
    make_case: Any, rule: Any, foreground: Any
) -> None:
    found = [make_case(i) for i in range(3)]
    for case in found:
        case.foreground = foreground
    cases = CasesInMemory(found, 1e9)
    assert cases.structures == ((),) * 3
    places = [
        draw_place(cases, (6, 6, 6), True, np.random.default_rng(seed), rule) for seed in range(30)
    ]
    assert {case.identifier for case, _ in places} == {"case_0", "case_1", "case_2"}
    assert ({start for _, start in places} == {(0, 0, 0)}) == (ANNOTATED in foreground)


def test_a_part_of_a_batch_is_the_same_as_in_the_whole(make_case: Any) -> None:
    cases = CasesInMemory([make_case(i) for i in range(4)], 1e9)

    def part(samples: range) -> list[tuple[str, tuple[int, int, int]]]:
        places = [
            draw_place(cases, (6, 6, 6), i >= first_forced(5, 0.33), generator_for(3, 0, 7, i))
            for i in samples
        ]
        return [(case.identifier, start) for case, start in places]

    assert part(range(0, 3)) + part(range(3, 5)) == part(range(5))


def test_a_copy_in_another_process_draws_the_same_and_keeps_nothing(make_case: Any) -> None:
    found = [_lesion_case(make_case, i, lesion=i == 1, organ=True) for i in range(3)]
    cases = CasesInMemory(found, 1e9)
    cases[0]
    copy = pickle.loads(pickle.dumps(cases))  # noqa: S301
    assert not copy.kept
    assert copy.structures == cases.structures == (((1,),), ((1,), (2,)), ((1,),))
    for seed in range(20):
        one, other = (
            draw_place(c, (6, 6, 6), True, np.random.default_rng(seed), "by_structure")
            for c in (cases, copy)
        )
        assert (one[0].identifier, one[1]) == (other[0].identifier, other[1])


def test_threads_read_cases_side_by_side_and_each_once(make_case: Any) -> None:
    meeting = threading.Barrier(2, timeout=10)
    reads: list[str] = []

    def slow(case: Any) -> Any:
        read = case.read_image

        def read_image(start: Any, stop: Any) -> Any:
            reads.append(case.identifier)
            meeting.wait()  # only passed when both cases are being read at the same time
            return read(start, stop)

        case.read_image = read_image
        return case

    cases = CasesInMemory([slow(make_case(i)) for i in range(2)], 1e9)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cases.__getitem__, [0, 1, 0, 1]))
    assert sorted(reads) == ["case_0", "case_1"]
    assert found[0] is found[2]


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

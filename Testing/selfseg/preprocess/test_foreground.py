"""Locations for oversampling: where, how many, and always the same."""

from __future__ import annotations

import numpy as np
import pytest

from selfseg.domain.labels import LabelScheme
from selfseg.preprocess.foreground import ANNOTATED, LOCATIONS, foreground_locations

PLAIN = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2, "c": 7})


def blocks(shape: tuple[int, int, int] = (20, 30, 40)) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.int16)
    labels[2:8, 3:20, 5:30] = 1
    labels[10:12, 5:9, 6:9] = 2
    labels[15:, 20:, 30:] = 9
    return labels


def assert_drawn_from(mask: np.ndarray, where: np.ndarray, count: int) -> None:
    assert where.dtype == np.int32
    assert where.shape == (count, 3)
    assert mask[tuple(where.T)].all()
    assert len(np.unique(where, axis=0)) == count


def test_small_structures_are_taken_whole_and_absent_ones_are_empty() -> None:
    labels = blocks()
    found = foreground_locations(labels, PLAIN, "case")
    assert list(found) == [(1,), (2,), (7,)]
    assert_drawn_from(labels == 1, found[(1,)], int((labels == 1).sum()))
    assert_drawn_from(labels == 2, found[(2,)], int((labels == 2).sum()))
    assert found[(7,)].shape == (0, 3)


def test_large_structures_give_ten_thousand_or_a_hundredth() -> None:
    labels = np.ones((30, 40, 50), dtype=np.int16)
    assert_drawn_from(labels == 1, foreground_locations(labels, PLAIN, "x")[(1,)], LOCATIONS)
    labels = np.ones((120, 100, 100), dtype=np.int16)
    assert_drawn_from(labels == 1, foreground_locations(labels, PLAIN, "x")[(1,)], 12_000)


def test_the_draw_depends_on_the_name_alone() -> None:
    labels = np.ones((30, 40, 50), dtype=np.int16)
    one, again, other = (foreground_locations(labels, PLAIN, n)[(1,)] for n in ("a", "a", "b"))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_the_draw_is_spread_evenly() -> None:
    labels = np.ones((40, 40, 40), dtype=np.int16)
    where = foreground_locations(labels, PLAIN, "case")[(1,)]
    assert where.mean(axis=0) == pytest.approx([19.5] * 3, abs=0.5)


def test_regions_are_the_union_of_their_labels() -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "whole": [1, 2], "inner": 2}, [1, 2])
    labels = blocks()
    found = foreground_locations(labels, scheme, "case")
    assert_drawn_from(np.isin(labels, (1, 2)), found[(1, 2)], int(np.isin(labels, (1, 2)).sum()))
    assert_drawn_from(labels == 2, found[(2,)], int((labels == 2).sum()))


def test_with_an_ignore_label_all_annotated_voxels_are_a_key() -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2, "ignore": 9})
    labels = blocks()
    found = foreground_locations(labels, scheme, "case")
    assert set(found) == {(1,), (2,), ANNOTATED}
    assert_drawn_from(labels != 9, found[ANNOTATED], LOCATIONS)
    assert (labels[tuple(found[ANNOTATED].T)] == 0).any()


def test_a_case_that_is_ignored_altogether() -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "a": 1, "ignore": 9})
    found = foreground_locations(np.full((3, 4, 5), 9, dtype=np.int16), scheme, "case")
    assert {key: len(where) for key, where in found.items()} == {(1,): 0, ANNOTATED: 0}


def test_going_through_the_array_in_pieces_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "whole": [1, 2], "inner": 2}, [1, 2])
    labels = np.random.default_rng(0).integers(0, 4, (20, 30, 40)).astype(np.int16)
    in_one = foreground_locations(labels, scheme, "case")
    monkeypatch.setattr("selfseg.preprocess.foreground._PIECE", 1000)
    in_pieces = foreground_locations(labels, scheme, "case")
    assert list(in_pieces) == list(in_one) == [(1, 2), (2,)]
    for key, where in in_one.items():
        np.testing.assert_array_equal(in_pieces[key], where)
        assert np.isin(labels[tuple(where.T)], key).all()

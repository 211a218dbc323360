"""Structures that overlap, in one label map."""

from __future__ import annotations

import numpy as np

from collect_examples import SHAPE, box
from selfseg.collect.collection import Structure
from selfseg.collect.overlaps import Combinations, join, scheme_of

OUTER = box((0, 10), (0, 18), (0, 12))
MIDDLE = box((2, 8), (2, 12), (2, 9))
INNER = box((2, 7), (2, 11), (2, 9))
"""Larger than what is left of the middle around it: sizes alone do not tell the order of values."""


def test_nested_structures_come_back_as_they_were() -> None:
    masks = {0: INNER, 1: OUTER, 2: MIDDLE}
    names = ("inner", "outer", "middle")
    combinations = Combinations(3)
    joined = join(SHAPE, masks.items(), combinations, names)
    scheme = scheme_of([Structure(n) for n in names], combinations, joined.voxels, ignore=False)
    assert [label.name for label in scheme.foreground] == ["outer", "middle", "inner"]
    for label in scheme.foreground:
        index = names.index(label.name)
        np.testing.assert_array_equal(np.isin(joined.labels, label.values), masks[index])
    # What a region model writes: each region's value over those before.
    painted = np.zeros(SHAPE, dtype=np.int32)
    for label, value in zip(scheme.foreground, scheme.regions_class_order, strict=True):
        painted[masks[names.index(label.name)]] = value
    np.testing.assert_array_equal(painted, joined.labels)
    assert joined.notes == ()


def test_without_overlap_labels_stay_plain() -> None:
    combinations = Combinations(2)
    first, second = box((0, 3), (0, 3), (0, 3)), box((3, 6), (0, 3), (0, 3))
    joined = join(SHAPE, [(0, first), (1, second)], combinations, ("a", "b"))
    scheme = scheme_of([Structure("a"), Structure("b")], combinations, joined.voxels, ignore=True)
    assert scheme.to_mapping() == {"background": 0, "a": 1, "b": 2, "ignore": 3}
    assert scheme.regions_class_order is None


def test_values_stay_while_combinations_grow() -> None:
    combinations = Combinations(2)
    first, second = box((0, 3), (0, 9), (0, 9)), box((2, 6), (0, 9), (0, 9))
    before = join(SHAPE, [(0, first), (1, second)], combinations, ("a", "b"))
    again = join(SHAPE, [(1, second), (0, first)], combinations, ("a", "b"))
    np.testing.assert_array_equal(before.labels, again.labels)
    assert combinations.values == {(0,): 1, (1,): 2, (0, 1): 3}

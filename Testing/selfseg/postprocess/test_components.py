"""Every kind of postprocessing step on label maps small enough to see."""

from __future__ import annotations

import numpy as np
import pytest

from selfseg.domain.bundle import PostprocessingStep as Step
from selfseg.domain.errors import UsageError
from selfseg.domain.labels import Label, LabelScheme
from selfseg.postprocess.components import postprocess
from selfseg.postprocess.subset import keep_values, values_of

SCHEME = LabelScheme((Label("liver", (1,)), Label("left kidney", (2,)), Label("gland", (300,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))


def a_picture(*rows: str, scheme: LabelScheme = SCHEME) -> np.ndarray:
    """One slice; a letter is a label value."""
    values = {".": 0, "1": 1, "2": 2, "3": 300}
    del scheme
    return np.array([[[values[letter] for letter in row] for row in rows]], dtype=np.uint16)


BEFORE = a_picture(
    "11...2",
    "11.1..",
    "....22",
    "22....",
)


@pytest.mark.parametrize(
    ("step", "after"),
    [
        (Step("largest_component", ("liver",)), ("11...2", "11....", "....22", "22....")),
        (Step("largest_component"), ("11....", "11....", "....22", "22....")),
        (Step("largest_component_all"), ("11....", "11....", "......", "......")),
        (Step("largest_component_all", ("left kidney",)),
         ("11....", "11.1..", "....22", "22....")),
        (Step("k_largest_components", ("left kidney",), count=2),
         ("11....", "11.1..", "....22", "22....")),
        (Step("k_largest_components", ("liver",), count=1),
         ("11...2", "11....", "....22", "22....")),
        (Step("remove_small_components", (), min_voxels=2),
         ("11....", "11....", "....22", "22....")),
        (Step("remove_small_components", ("gland",), min_voxels=9),
         ("11...2", "11.1..", "....22", "22....")),
    ],
    ids=lambda value: value.kind if isinstance(value, Step) else "",
)  # fmt: skip
def test_components(step: Step, after: tuple[str, ...]) -> None:
    labels = BEFORE.copy()
    result = postprocess(labels, (step,), SCHEME)
    assert result is labels
    np.testing.assert_array_equal(result, a_picture(*after))


def test_components_touch_by_corners_and_ties_stay_as_in_the_peer() -> None:
    labels = a_picture("1..2.", ".1...", "....1", "...1.")
    postprocess(labels, (Step("largest_component", ("liver",)),), SCHEME)
    np.testing.assert_array_equal(labels, a_picture("1..2.", ".1...", "....1", "...1."))


def test_holes_are_background_only_and_what_others_hold_stays() -> None:
    labels = a_picture("11111", "1.121", "11111", "....1")
    postprocess(labels, (Step("fill_holes", ("liver",)),), SCHEME)
    np.testing.assert_array_equal(labels, a_picture("11111", "11121", "11111", "....1"))


def test_a_region_is_the_union_of_its_values() -> None:
    labels = a_picture("1222", "....", "..11")
    postprocess(labels, (Step("largest_component", ("whole",)),), REGIONS)
    np.testing.assert_array_equal(labels, a_picture("1222", "....", "...."))
    labels = a_picture("1111", "12.1", "1111")
    postprocess(labels, (Step("fill_holes", ("whole",)),), REGIONS)
    np.testing.assert_array_equal(labels, a_picture("1111", "1211", "1111"))


def test_steps_come_in_order_and_may_find_nothing() -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    steps = tuple(Step(kind) for kind in ("largest_component", "fill_holes"))  # type: ignore[arg-type]
    assert not postprocess(labels, steps, SCHEME).any()
    assert not postprocess(labels, (Step("largest_component_all"),), SCHEME).any()


def test_some_structures_instead_of_all() -> None:
    assert values_of((), SCHEME) is None
    assert values_of(("Liver", "gland"), SCHEME) == {1, 300}
    assert values_of(("core",), REGIONS) == {2}
    labels = a_picture("123", "...")
    np.testing.assert_array_equal(
        keep_values(labels, values_of(("gland", "liver"), SCHEME)), a_picture("1.3", "...")
    )
    labels = np.array([[[0, 1, 2]]], np.uint8)
    assert keep_values(labels, frozenset({300})).tolist() == [[[0, 0, 0]]]
    assert keep_values(BEFORE, None) is BEFORE


@pytest.mark.parametrize(
    ("name", "cure"), [("livr", "liver"), ("kidney_left", "choose"), ("left kidny", "left kidney")]
)
def test_unknown_structures_name_close_ones(name: str, cure: str) -> None:
    with pytest.raises(UsageError, match=cure) as caught:
        values_of(("liver", name), SCHEME)
    assert "liver, left kidney, gland" in caught.value.expected

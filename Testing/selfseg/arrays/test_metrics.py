from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.arrays.metrics import Overlap, boxes_of_values, count_pairs

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(
    seeds,
    st.sampled_from([np.uint8, np.int16, np.int32, np.uint32, np.int64]),
    st.sampled_from([(0, 1, 2, 3), (0, 7, 120), (0, 5, 100)]),
    st.sampled_from([None, 3, 120]),
)
def test_agrees_with_masks(
    seed: int, kind: type, values: tuple[int, ...], ignore: int | None
) -> None:
    generator = np.random.default_rng(seed)
    reference = generator.choice(values, size=(3, 4, 5)).astype(kind)
    prediction = generator.choice(values, size=(3, 4, 5)).astype(kind)
    counts = count_pairs(reference, prediction)
    kept = np.ones(reference.shape, bool) if ignore is None else reference != ignore
    for structure in [*[(v,) for v in values[1:]], values[1:], (77,)]:
        a, b = np.isin(reference, structure) & kept, np.isin(prediction, structure) & kept
        assert counts.overlap(structure, ignore) == Overlap(
            int((a & b).sum()),
            int((~a & b).sum()),
            int((a & ~b).sum()),
            int((~a & ~b & kept).sum()),
        )


def test_values_beyond_the_table_and_below_zero() -> None:
    reference = np.array([[[0, 70_000, -1]]])
    prediction = np.array([[[70_000, 70_000, -1]]])
    counts = count_pairs(reference, prediction)
    assert counts.values == (-1, 0, 70_000)
    assert counts.overlap((70_000,)) == Overlap(1, 1, 0, 1)


def test_dice_and_iou() -> None:
    overlap = Overlap(2, 1, 3, 10)
    assert overlap.dice == pytest.approx(4 / 8)
    assert overlap.iou == pytest.approx(2 / 6)
    assert Overlap(0, 1, 0, 5).dice == 0
    assert Overlap(0, 0, 0, 5).dice is None
    assert Overlap(0, 0, 0, 5).iou is None


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        count_pairs(np.zeros((1, 2, 3), int), np.zeros((1, 3, 2), int))


def test_sizes_and_relative_volume_difference() -> None:
    overlap = Overlap(2, 1, 3, 10)
    assert (overlap.reference_size, overlap.prediction_size) == (5, 3)
    assert overlap.relative_volume_difference == pytest.approx(-2 / 5)
    assert Overlap(0, 4, 0, 5).relative_volume_difference is None


def test_confusion_counts_pairs_of_values() -> None:
    reference = np.array([[[0, 1, 1, 7, 9]]])
    prediction = np.array([[[1, 1, 0, 7, 7]]])
    counts = count_pairs(reference, prediction)
    assert counts.confusion() == {0: {1: 1}, 1: {0: 1, 1: 1}, 7: {7: 1}, 9: {7: 1}}
    assert counts.confusion(ignore=9) == {0: {1: 1}, 1: {0: 1, 1: 1}, 7: {7: 1}}


@settings(deadline=None)
@given(
    seeds,
    st.sampled_from([np.uint8, np.int16, np.uint32, np.int64]),
    st.sampled_from([(0, 1, 2), (0, 7, 120), (3,), (0,), (-2, 0, 5), (0, 1, 70_000)]),
)
def test_boxes_of_values(seed: int, kind: type, values: tuple[int, ...]) -> None:
    if np.iinfo(kind).min > min(values) or np.iinfo(kind).max < max(values):
        return
    labels = np.random.default_rng(seed).choice(values, size=(3, 4, 5)).astype(kind)
    labels[:, 2:] = values[0]
    boxes = boxes_of_values(labels, sorted({*values, 99}))
    assert set(boxes) == {v for v in np.unique(labels).tolist() if v > 0}
    for value, box in boxes.items():
        places = np.argwhere(labels == value)
        assert [(s.start, s.stop) for s in box] == list(
            zip(places.min(0), places.max(0) + 1, strict=True)
        )

"""The non-zero box and mask, against SciPy and against plain searching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from selfseg.arrays.bounding_box import bounding_box, nonzero_box, nonzero_mask


def scattered(seed: int, shape: tuple[int, ...], share: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.random(shape) < share).astype(np.float32) * 7


shapes = st.tuples(*[st.integers(1, 9)] * 3)


@given(st.integers(0, 10_000), st.integers(1, 3), shapes, st.sampled_from([0.0, 0.02, 0.5]))
def test_box_holds_every_nonzero_voxel_and_touches_them(
    seed: int, channels: int, shape: tuple[int, int, int], share: float
) -> None:
    image = scattered(seed, (channels, *shape), share)
    start, stop = nonzero_box(image)
    where = np.argwhere(image.any(axis=0))
    if len(where) == 0:
        assert (start, stop) == ((0, 0, 0), shape)
    else:
        assert start == tuple(where.min(axis=0))
        assert stop == tuple(where.max(axis=0) + 1)
    assert bounding_box(image.any(axis=0)) == (start, stop)


@given(st.integers(0, 10_000), shapes, st.sampled_from([0.3, 0.6, 0.8, 1.0]))
def test_mask_is_scipys_filling_of_holes(
    seed: int, shape: tuple[int, int, int], share: float
) -> None:
    image = scattered(seed, (2, *shape), share)
    expected = ndimage.binary_fill_holes(image.any(axis=0))
    np.testing.assert_array_equal(nonzero_mask(image), expected)


def test_a_hole_is_filled_and_a_bay_is_not() -> None:
    image = np.ones((1, 7, 7, 7), dtype=np.float32)
    image[0, 3, 3, 3] = 0
    image[0, 5, 5, 5:] = 0
    mask = nonzero_mask(image)
    assert mask[3, 3, 3]
    assert not mask[5, 5, 5]


def test_a_single_slice_has_no_holes() -> None:
    # Its faces above and below are the outside.
    image = np.ones((1, 1, 5, 5), dtype=np.float32)
    image[0, 0, 2, 2] = 0
    assert not nonzero_mask(image)[0, 2, 2]


@pytest.mark.parametrize("value", [-3.0, 0.5])
def test_any_value_but_zero_counts(value: float) -> None:
    image = np.zeros((2, 4, 4, 4), dtype=np.float32)
    image[1, 2, 1, 3] = value
    assert nonzero_box(image) == ((2, 1, 3), (3, 2, 4))

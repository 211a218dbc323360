"""Resampling against scikit-image and SciPy, and the rules of RECIPE about the coarse axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from selfseg.arrays.axis_weights import bands, linear_weights, nearest_index
from selfseg.arrays.resample import (
    resample_image,
    resample_labels,
    resample_linear,
    separate_axis,
    shape_at_spacing,
)

ISOTROPIC = (1.0, 1.0, 1.0)
sizes = st.tuples(*[st.integers(1, 20)] * 3)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def patches(shape: tuple[int, ...], seed: int = 0, count: int = 4) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, count, [max(1, n // 3) for n in shape])
    repeated = [np.minimum(np.arange(n) // 3, max(1, n // 3) - 1) for n in shape]
    return (coarse[np.ix_(*repeated)] * 3).astype(np.int16)


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, st.sampled_from([1, 3]))
def test_images_are_as_skimage_resizes_them(
    shape: tuple[int, int, int], new: tuple[int, int, int], order: int
) -> None:
    image = noise((1, *shape))
    resample = resample_image if order == 3 else resample_linear
    result = resample(image, new, ISOTROPIC, ISOTROPIC)[0]
    expected = resize(image[0].astype(float), new, order, mode="edge", anti_aliasing=False)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("size", "new"), [(300, 211), (150, 401), (97, 640)])
def test_long_axes_in_bands_are_as_exact(size: int, new: int) -> None:
    image = noise((1, 2, size, size // 2))
    target = (3, new, new // 2)
    result = resample_image(image, target, ISOTROPIC, ISOTROPIC)[0]
    expected = resize(image[0].astype(float), target, 3, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(result, expected, atol=3e-4, rtol=0)
    assert len(bands(size, new, 3)) > 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_coarse_axis_is_copied_and_slices_are_clipped_on_their_own(axis: int) -> None:
    spacing = tuple(5.0 if a == axis else 1.0 for a in range(3))
    image = noise((2, 7, 8, 9))
    new = (11, 10, 6)
    result = resample_image(image, new, spacing, ISOTROPIC)  # type: ignore[arg-type]
    old_size, new_size = image.shape[axis + 1], new[axis]
    for k in range(new_size):
        source = nearest_index(old_size, new_size)[k]
        for c in range(2):
            cut = np.take(image[c], source, axis=axis).astype(float)
            shape = tuple(n for a, n in enumerate(new) if a != axis)
            expected = resize(cut, shape, 3, mode="edge", anti_aliasing=False)
            np.testing.assert_allclose(np.take(result[c], k, axis=axis), expected, atol=2e-4)


def test_output_stays_in_the_range_of_the_input() -> None:
    image = np.zeros((1, 8, 8, 8), dtype=np.float32)
    image[0, 4:] = 1
    result = resample_image(image, (19, 8, 8), ISOTROPIC, ISOTROPIC)
    assert result.min() == 0
    assert result.max() == 1


def test_nothing_is_copied_where_nothing_changes() -> None:
    image, labels = noise((1, 4, 5, 6)), patches((4, 5, 6))
    assert resample_image(image, (4, 5, 6), ISOTROPIC, ISOTROPIC) is image
    assert resample_labels(labels, (4, 5, 6), ISOTROPIC, ISOTROPIC) is labels


@pytest.mark.parametrize(
    ("before", "after", "axis"),
    [
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),
        ((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), None),
        ((3.1, 1.0, 1.0), (1.0, 1.0, 1.0), 0),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 4.0), 2),
        ((1.0, 4.0, 1.0), (5.0, 1.0, 1.0), 1),
        ((4.0, 4.0, 1.0), (1.0, 1.0, 1.0), None),
        # Two axes tie as coarsest now: the target is not asked any more.
        ((4.0, 4.0, 1.0), (5.0, 1.0, 1.0), None),
        ((999.0, 1.0, 1.0), (999.0, 0.5, 0.5), 0),
    ],
)
def test_which_axis_is_kept_apart(
    before: tuple[float, float, float], after: tuple[float, float, float], axis: int | None
) -> None:
    assert separate_axis(before, after) == axis


def test_new_shapes_round_half_to_even_and_are_never_empty() -> None:
    assert shape_at_spacing((5, 7, 1), (1.0, 1.0, 1.0), (2.0, 2.0, 9.0)) == (2, 4, 1)
    assert shape_at_spacing((10, 1, 3), (1.0, 999.0, 1.5), (1.0, 999.0, 1.0)) == (10, 1, 4)


def reference_labels(labels: np.ndarray, new: tuple[int, ...]) -> np.ndarray:
    """Largest share by skimage, label by label; shares equal to the last bit stay with nearest."""
    values = np.unique(labels)
    shares = np.stack(
        [
            resize((labels == v).astype(float), new, 1, mode="edge", anti_aliasing=False)
            for v in values
        ]
    )
    nearest = resize(labels.astype(float), new, 0, mode="edge", anti_aliasing=False)
    best = shares.max(axis=0)
    tied = np.take_along_axis(
        shares, np.searchsorted(values, nearest.astype(labels.dtype))[None], axis=0
    )[0]
    return np.where(tied == best, nearest, values[shares.argmax(axis=0)])


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, st.integers(0, 100))
def test_labels_are_the_largest_interpolated_share(
    shape: tuple[int, int, int], new: tuple[int, int, int], seed: int
) -> None:
    labels = patches(shape, seed)
    result = resample_labels(labels, new, ISOTROPIC, ISOTROPIC)
    np.testing.assert_array_equal(result, reference_labels(labels, new))


def test_ties_of_doubling_and_halving() -> None:
    labels = patches((12, 12, 12), 3, count=6)
    for new in ((24, 24, 24), (6, 6, 6), (24, 6, 12)):
        result = resample_labels(labels, new, ISOTROPIC, ISOTROPIC)
        np.testing.assert_array_equal(result, reference_labels(labels, new))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_of_thick_slices_are_resampled_slice_by_slice(axis: int) -> None:
    spacing = tuple(5.0 if a == axis else 1.0 for a in range(3))
    labels = patches((9, 12, 10))
    new = (14, 10, 15)
    result = resample_labels(labels, new, spacing, ISOTROPIC)  # type: ignore[arg-type]
    assert result.flags.c_contiguous
    in_plane = tuple(n for a, n in enumerate(new) if a != axis)
    for k, source in enumerate(nearest_index(labels.shape[axis], new[axis])):
        expected = reference_labels(np.take(labels, source, axis=axis), in_plane)
        np.testing.assert_array_equal(np.take(result, k, axis=axis), expected)


def test_where_one_label_has_the_majority_it_is_the_threshold_of_one_half() -> None:
    labels = patches((15, 15, 15), 5)
    new = (22, 13, 19)
    result = resample_labels(labels, new, ISOTROPIC, ISOTROPIC)
    for value in np.unique(labels):
        share = resize((labels == value).astype(float), new, 1, mode="edge", anti_aliasing=False)
        assert (result[share > 0.5] == value).all()


def test_a_thin_plate_survives() -> None:
    labels = np.zeros((30, 30, 30), dtype=np.int16)
    labels[:, 14] = 7
    result = resample_labels(labels, (24, 41, 30), ISOTROPIC, ISOTROPIC)
    assert (result == 7).any(axis=1).all()


def test_masks_are_resampled_as_labels() -> None:
    mask = patches((10, 11, 12)) > 3
    result = resample_labels(mask, (15, 9, 20), ISOTROPIC, ISOTROPIC)
    assert result.dtype == np.bool_
    as_labels = resample_labels(mask.astype(np.int16), (15, 9, 20), ISOTROPIC, ISOTROPIC)
    np.testing.assert_array_equal(result, as_labels.astype(bool))


@given(st.integers(1, 200), st.integers(1, 200))
@settings(deadline=None, max_examples=30)
def test_linear_weights_sum_to_one_and_do_the_same_as_resampling(size: int, new: int) -> None:
    weights = linear_weights(size, new)
    assert weights.shape == (new, size)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    line = noise((size,))
    expected = resample_linear(line.reshape(1, 1, 1, -1), (1, 1, new), ISOTROPIC, ISOTROPIC)
    np.testing.assert_allclose(weights @ line, expected.ravel(), atol=1e-4)

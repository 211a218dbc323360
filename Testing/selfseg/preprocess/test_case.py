"""Preprocessed cases against nnunetv2's arrays, and the record of what was done."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfseg.arrays.bounding_box import nonzero_box
from selfseg.domain.case import RawCase
from selfseg.domain.errors import Cancelled, ImageError, PlanError
from selfseg.preprocess.case import preprocess_case
from synthetic_preprocessing import GOLDEN, GOLDEN_STEP, Recipe, made_case, made_plan

GOLDEN_FOLDER = Path(__file__).parent / "golden"
ZSCORE = ("zscore",)


@pytest.mark.parametrize("name", GOLDEN)
def test_arrays_are_those_of_the_peer(name: str) -> None:
    recipe = GOLDEN[name]
    case = preprocess_case(made_case(recipe), made_plan(recipe), recipe.configuration)
    every = slice(None, None, GOLDEN_STEP)
    cut = (slice(None) if recipe.shape[0] == 1 else every, every, every)
    with np.load(GOLDEN_FOLDER / f"{name}.npz") as golden:
        assert case.labels is not None
        assert case.labels.shape == tuple(golden["shape"])
        assert case.image.dtype == np.float32
        np.testing.assert_allclose(case.image[:, *cut], golden["image"], atol=1e-4, rtol=0)
        np.testing.assert_array_equal(case.labels[cut], golden["labels"])
        if any(recipe.in_mask):
            assert case.nonzero is not None
            inside = case.nonzero[cut]
            expected = np.unpackbits(golden["nonzero"], count=inside.size).astype(bool)
            np.testing.assert_array_equal(inside.ravel(), expected)
        else:
            assert case.nonzero is None


@pytest.mark.parametrize("name", GOLDEN)
def test_the_record_leads_back_to_the_native_grid(name: str) -> None:
    recipe = GOLDEN[name]
    raw = made_case(recipe)
    case = preprocess_case(raw, made_plan(recipe), recipe.configuration)
    record = case.record
    assert record.native == raw.geometry
    assert case.labels is not None
    assert case.image.shape[1:] == case.labels.shape == record.shape_after_resampling
    assert tuple(record.transposed_shape[recipe.transpose.index(a)] for a in range(3)) == (
        raw.geometry.shape
    )
    start, stop = nonzero_box(raw.channels.transpose(0, *(a + 1 for a in recipe.transpose)))
    assert (record.crop_start, record.crop_stop) == (start, stop)
    assert record.shape_before_resampling == tuple(b - a for a, b in zip(start, stop, strict=True))


def test_a_2d_plan_leaves_the_distance_of_slices_alone() -> None:
    recipe = GOLDEN["slices_2d"]
    case = preprocess_case(made_case(recipe), made_plan(recipe), "2d")
    assert case.image.shape[1] == recipe.shape[0]
    assert case.record.spacing_after == (recipe.spacing[0], *recipe.target)


def test_the_image_as_read_is_freed_before_it_is_resampled() -> None:
    recipe = GOLDEN["cubic"]
    seen: list[weakref.ref[np.ndarray]] = []
    alive: list[bool] = []

    def read() -> RawCase:
        raw = made_case(recipe)
        seen.append(weakref.ref(raw.channels))
        return raw

    def looks() -> bool:
        alive.append(seen[0]() is not None)
        return False

    preprocess_case(read(), made_plan(recipe), recipe.configuration, looks)
    assert alive[0]
    assert not any(alive[1:])


def test_the_input_is_not_changed() -> None:
    recipe = GOLDEN["cubic"]
    raw, untouched = made_case(recipe), made_case(recipe)
    preprocess_case(raw, made_plan(recipe), recipe.configuration)
    np.testing.assert_array_equal(raw.channels, untouched.channels)
    np.testing.assert_array_equal(raw.labels, untouched.labels)


def test_without_labels_the_image_is_the_same() -> None:
    recipe = GOLDEN["thick_slices"]
    raw, plan = made_case(recipe), made_plan(recipe)
    with_labels = preprocess_case(raw, plan, "3d_fullres")
    without = preprocess_case(replace(raw, labels=None), plan, "3d_fullres")
    np.testing.assert_array_equal(without.image, with_labels.image)
    np.testing.assert_array_equal(without.nonzero, with_labels.nonzero)
    assert without.labels is None
    assert without.foreground == {}


def test_outside_the_mask_stays_zero() -> None:
    recipe = replace(GOLDEN["thick_slices"], target=(6.0, 0.8, 0.8))
    case = preprocess_case(made_case(recipe), made_plan(recipe), "3d_fullres")
    assert case.nonzero is not None
    assert not case.nonzero.all()
    assert (case.image[0][~case.nonzero] == 0).all()
    inside = case.image[0][case.nonzero]
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-5)


def test_an_image_of_zeros_is_kept_whole() -> None:
    recipe = Recipe((4, 5, 6), (1, 1, 1), (1.0, 1.0, 1.0), ZSCORE, (True,))
    raw = made_case(replace(recipe, shape=(14, 15, 16)))
    empty = RawCase("empty", np.zeros_like(raw.channels), raw.geometry, raw.labels)
    case = preprocess_case(empty, made_plan(recipe), "3d_fullres")
    assert case.image.shape == (1, 14, 15, 16)
    assert not case.image.any()


def test_locations_are_of_the_resampled_labels() -> None:
    recipe = GOLDEN["cubic"]
    case = preprocess_case(made_case(recipe), made_plan(recipe), recipe.configuration)
    assert case.labels is not None
    assert set(case.foreground) == {(1,), (2,), (5,)}
    for (value,), where in case.foreground.items():
        assert len(where) > 0
        assert (case.labels[tuple(where.T)] == value).all()


def test_an_unknown_configuration_is_an_error() -> None:
    recipe = GOLDEN["cubic"]
    with pytest.raises(PlanError, match="3d_lowres"):
        preprocess_case(made_case(recipe), made_plan(recipe), "3d_lowres")


def test_another_number_of_channels_is_an_error() -> None:
    two, one = GOLDEN["cubic"], replace(GOLDEN["cubic"], schemes=ZSCORE, in_mask=(False,))
    with pytest.raises(PlanError, match="number of channels"):
        preprocess_case(made_case(two), made_plan(one), "3d_fullres")


def test_label_values_beyond_int16_are_an_error() -> None:
    recipe = GOLDEN["cubic"]
    raw = made_case(recipe)
    assert raw.labels is not None
    labels = raw.labels.astype(np.int32)
    labels[10, 10, 10] = 40_000
    with pytest.raises(ImageError, match="too large"):
        preprocess_case(replace(raw, labels=labels), made_plan(recipe), "3d_fullres")


def test_it_can_be_stopped_on_the_way() -> None:
    recipe = GOLDEN["thick_target"]
    raw, plan = made_case(recipe), made_plan(recipe)
    asked = []

    def count() -> bool:
        asked.append(1)
        return False

    preprocess_case(raw, plan, recipe.configuration, count)
    assert len(asked) > 3
    for last in range(1, len(asked) + 1):
        left = iter([False] * (last - 1) + [True])
        with pytest.raises(Cancelled):
            preprocess_case(raw, plan, recipe.configuration, lambda left=left: next(left))

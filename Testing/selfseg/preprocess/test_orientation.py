"""Images turned to RAS before all else, and label maps turned back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import SimpleITK

from selfseg.domain.case import RawCase
from selfseg.domain.geometry import Geometry, Matrix3
from selfseg.domain.plan import Plan
from selfseg.preprocess.case import preprocess_case
from selfseg.preprocess.orientation import axes_to_ras
from synthetic_preprocessing import Recipe, made_case, made_plan

sitk: Any = SimpleITK
ORIENTATIONS = ("RAS", "LPS", "LAI", "PIR", "ASL", "SPL", "IRP", "SAR", "RSA")


def stored_as(raw: RawCase, orientation: str) -> tuple[RawCase, Any]:
    """The same image with its axes stored in another way, as ITK does it."""
    parts = [*raw.channels, raw.labels]
    turned = []
    for part in parts:
        image = sitk.GetImageFromArray(part)
        image.SetSpacing(raw.geometry.spacing[::-1])
        image.SetOrigin(raw.geometry.origin)
        image.SetDirection([cosine for row in raw.geometry.direction for cosine in row])
        turned.append(sitk.DICOMOrient(image, orientation))
    image = turned[0]
    cosines = np.array(image.GetDirection()).reshape(3, 3)
    direction: Matrix3 = tuple(tuple(map(float, row)) for row in cosines)  # type: ignore[assignment]
    arrays = [sitk.GetArrayFromImage(one) for one in turned]
    geometry = Geometry(arrays[0].shape, image.GetSpacing()[::-1], image.GetOrigin(), direction)
    return RawCase(raw.identifier, np.stack(arrays[:-1]), geometry, arrays[-1]), image


def tilted(geometry: Geometry, degrees: float = 20.0) -> Geometry:
    """Rotated about x and then z, so that no axis is straight."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    rows = about_z @ about_x @ np.array(geometry.direction)
    direction: Matrix3 = tuple(tuple(map(float, row)) for row in rows)  # type: ignore[assignment]
    return replace(geometry, direction=direction)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe((14, 18, 22), (2.0, 1.0, 1.5), (2.0, 1.2, 1.2), ("zscore",), (True,), (1, 2, 0))


def turning(recipe: Recipe) -> Plan:
    return replace(made_plan(recipe), orientation="ras")


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_turned_axes_are_itks(orientation: str, oblique: bool, recipe: Recipe) -> None:
    raw = made_case(recipe)
    if oblique:
        raw = replace(raw, geometry=tilted(raw.geometry))
    stored, image = stored_as(raw, orientation)
    order, flips = axes_to_ras(stored.geometry)
    view = stored.channels[0].transpose(order)
    for axis, flip in enumerate(flips):
        view = np.flip(view, axis) if flip else view
    expected = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "RAS"))
    np.testing.assert_array_equal(view, expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_network_sees_the_same_however_the_image_is_stored(
    orientation: str, recipe: Recipe
) -> None:
    raw = made_case(recipe)
    plan = turning(recipe)
    first = preprocess_case(stored_as(raw, "RAS")[0], plan, recipe.configuration)
    # An image that is stored as RAS needs no turning.
    as_stored = preprocess_case(stored_as(raw, "RAS")[0], made_plan(recipe), recipe.configuration)
    np.testing.assert_array_equal(first.image, as_stored.image)
    assert first.record.flipped == (False, False, False)
    other = preprocess_case(stored_as(raw, orientation)[0], plan, recipe.configuration)
    np.testing.assert_array_equal(first.image, other.image)
    assert first.labels is not None
    assert other.labels is not None
    assert first.nonzero is not None
    assert other.nonzero is not None
    np.testing.assert_array_equal(first.labels, other.labels)
    np.testing.assert_array_equal(first.nonzero, other.nonzero)
    assert first.record.shape_after_resampling == other.record.shape_after_resampling


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_record_leads_back(orientation: str) -> None:
    recipe = Recipe((9, 11, 13), (1.0,) * 3, (1.0,) * 3, ("nonorm",), (False,), (2, 0, 1))
    stored, _ = stored_as(made_case(recipe), orientation)
    case = preprocess_case(stored, turning(recipe), recipe.configuration)
    assert case.labels is not None
    assert stored.labels is not None
    # Nothing was resampled: filling the view undoes crop, transposition and turning.
    native, inside = np.zeros(stored.geometry.shape), np.zeros(stored.geometry.shape, dtype=bool)
    place = tuple(map(slice, case.record.crop_start, case.record.crop_stop))
    case.record.on_plan_axes(native)[place] = case.labels
    case.record.on_plan_axes(inside)[place] = True
    assert inside.any()
    np.testing.assert_array_equal(native, np.where(inside, stored.labels, 0))


def test_the_default_leaves_images_as_they_are(recipe: Recipe) -> None:
    stored, _ = stored_as(made_case(recipe), "PIR")
    case = preprocess_case(stored, made_plan(recipe), recipe.configuration)
    assert case.record.transpose == recipe.transpose
    assert case.record.flipped == (False, False, False)

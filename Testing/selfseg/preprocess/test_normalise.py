"""Every normalisation scheme, by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import ImageError, PlanError
from selfseg.domain.fingerprint import IntensityProperties
from selfseg.preprocess.normalise import SCHEMES, normalise

PROPERTIES = IntensityProperties(100.0, 90.0, 20.0, -50.0, 400.0, 40.0, 160.0)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 50, (4, 5, 6)).astype(np.float32)


def normalised(channel: np.ndarray, scheme: str, mask: np.ndarray | None = None) -> np.ndarray:
    channels = channel[None].copy()
    normalise(channels, (scheme,), (mask is not None,), (PROPERTIES,), mask)
    return channels[0]  # type: ignore[no-any-return]


def test_all_of_nnunets_names_are_known() -> None:
    assert set(SCHEMES) == {
        "ct",
        "zscore",
        "nonorm",
        "rescale_to_0_1",
        "rgb_to_0_1",
    }


def test_ct_is_clipped_and_scaled_by_the_data_set() -> None:
    expected = (np.clip(image(), 40, 160) - 100) / 20
    np.testing.assert_allclose(normalised(image(), "ct"), expected, atol=1e-5)


@given(st.floats(-1e4, 1e4, width=32), st.floats(0.5, 1e3, width=32))
def test_z_score_takes_out_shift_and_scale(shift: float, scale: float) -> None:
    plain = normalised(image(), "zscore")
    moved = normalised(image() * np.float32(scale) + np.float32(shift), "zscore")
    np.testing.assert_allclose(plain, moved, atol=1e-3)
    assert plain.mean() == pytest.approx(0, abs=1e-5)
    assert plain.std() == pytest.approx(1, abs=1e-5)


def test_z_score_in_the_mask_sees_and_changes_nothing_else() -> None:
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1:3] = True
    given_image = image()
    given_image[~mask] = 0
    result = normalised(given_image, "zscore", mask)
    assert (result[~mask] == 0).all()
    expected = (given_image[mask] - given_image[mask].mean()) / given_image[mask].std()
    np.testing.assert_allclose(result[mask], expected, atol=1e-5)


def test_constant_images_become_zero_without_division_by_zero() -> None:
    flat = np.full((3, 3, 3), 7, dtype=np.float32)
    assert not normalised(flat, "zscore").any()
    assert not normalised(flat, "rescale_to_0_1").any()


def test_ranges() -> None:
    rescaled = normalised(image(), "rescale_to_0_1")
    assert (rescaled.min(), rescaled.max()) == (0, 1)
    rgb = np.clip(image(), 0, 255)
    np.testing.assert_allclose(normalised(rgb, "rgb_to_0_1"), rgb / 255, atol=1e-7)
    np.testing.assert_array_equal(normalised(image(), "nonorm"), image())


def test_what_is_not_rgb_is_refused() -> None:
    with pytest.raises(ImageError, match="declared as RGB"):
        normalised(np.full((2, 2, 2), 300, dtype=np.float32), "rgb_to_0_1")


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(PlanError, match="unknown normalisation"):
        normalised(image(), "os.system")

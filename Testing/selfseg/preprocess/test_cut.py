from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from selfseg.domain.case import RawCase
from selfseg.preprocess.case import preprocess_case
from selfseg.preprocess.cut import cut_normalised
from synthetic_preprocessing import GOLDEN, made_case, made_plan


@pytest.mark.parametrize("name", ["cubic", "thick_slices", "thick_target", "two_coarse_axes"])
def test_a_part_has_the_intensities_of_the_whole(name: str) -> None:
    """Without resampling, the part's voxels are those of the whole, to the last bit."""
    recipe = replace(GOLDEN[name], target=GOLDEN[name].spacing, transpose=(0, 1, 2))
    raw = replace(made_case(recipe), labels=None)
    plan = made_plan(recipe)
    whole = preprocess_case(raw, plan, "3d_fullres")
    box = tuple(slice(n // 4, n - n // 4) for n in recipe.shape)
    part = cut_normalised(raw, plan, "3d_fullres", box)
    assert part.box == box
    found = preprocess_case(part.image, part.plan, "3d_fullres")
    start = whole.record.crop_start
    inside = tuple(slice(s.start - a, s.stop - a) for s, a in zip(box, start, strict=True))
    np.testing.assert_array_equal(found.image, whole.image[(slice(None), *inside)])
    grid, native = part.image.geometry, raw.geometry
    assert grid.shape == tuple(s.stop - s.start for s in box)
    steps = zip(reversed(box), reversed(native.spacing), strict=True)
    np.testing.assert_allclose(grid.origin, [s.start * mm for s, mm in steps])


def test_what_is_empty_around_is_left_out() -> None:
    recipe = replace(GOLDEN["cubic"], border=0)
    raw = made_case(recipe)
    channels = raw.channels.copy()
    channels[:, :6] = 0
    part = cut_normalised(
        RawCase("made", channels, raw.geometry), made_plan(recipe), "3d_fullres",
        (slice(2, 15), slice(3, 9), slice(0, 8)),
    )  # fmt: skip
    assert part.box == (slice(6, 15), slice(3, 9), slice(0, 8))
    assert part.image.channels.shape[1:] == (9, 6, 8)

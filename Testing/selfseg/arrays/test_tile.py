from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.arrays.tile import axis_tiles, gaussian_line, tile_starts

axes = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=2)


@settings(deadline=None)
@given(axes, st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_tiles_cover_everything_evenly(pairs: list[tuple[int, int]], step: float) -> None:
    patch = [p for p, _ in pairs]
    shape = [p + extra for p, extra in pairs]
    starts = np.array(tile_starts(shape, patch, step))
    for axis, (size, width) in enumerate(zip(shape, patch, strict=True)):
        places = np.unique(starts[:, axis])
        assert places[0] == 0
        assert places[-1] == size - width
        gaps = np.diff(places)
        if len(gaps):
            assert gaps.max() <= max(1, np.ceil(width * step))
            assert gaps.max() - gaps.min() <= 1


def test_starts_that_nnunet_takes() -> None:
    # compute_steps_for_sliding_window of nnunetv2 2.8.1
    assert [s for (s,) in tile_starts([110], [64])] == [0, 23, 46]
    assert [s for (s,) in tile_starts([64], [64])] == [0]
    assert [s for (s,) in tile_starts([97], [40])] == [0, 19, 38, 57]
    assert [s for (s,) in tile_starts([65], [64])] == [0, 1]
    assert tile_starts([5, 9], [4, 6], 0.5) == [(0, 0), (0, 3), (1, 0), (1, 3)]


def test_an_image_below_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="pad"):
        tile_starts([10, 10], [10, 11])
    with pytest.raises(ValueError, match="step"):
        tile_starts([10], [5], 0)


@pytest.mark.parametrize("width", [1, 2, 5, 7, 12, 32, 129])
def test_weights_peak_in_the_middle_and_are_never_zero(width: int) -> None:
    line = gaussian_line(width)
    assert line.shape == (width,)
    assert line.max() == line[width // 2] == 1
    assert line.min() > 0


def test_weights_are_a_gaussian_of_an_eighth_of_the_tile() -> None:
    assert gaussian_line(64)[32 + 8] == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert gaussian_line(32)[16 - 4] == pytest.approx(np.exp(-0.5), rel=1e-5)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_the_weights_of_all_tiles_at_a_voxel_sum_to_one(
    width: int, extra: int, step: float
) -> None:
    axis = axis_tiles(width + extra, width, step)
    total = np.zeros(width + extra)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + axis.width] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert not axis.weights.flags.writeable

"""Where the tiles of a case lie, what is in them, and where their results go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.domain.errors import ModelError
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.infer.backend import weighted
from selfseg.infer.tiling import Tiling
from synthetic_inference import a_case, noise


def a_plan(*patch: int) -> ConfigurationPlan:
    n = len(patch)
    network = NetworkPlan("plain", (4,), ((3,) * n,), ((1,) * n,), (1,), ())
    return ConfigurationPlan(
        "test", (1.0,) * n, patch, (8.0,) * n, 2, ("zscore",), (False,), False, network
    )


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(1, 13)] * 3),
    st.lists(st.integers(1, 8), min_size=2, max_size=3),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_every_tile_comes_once_and_weights_sum_to_one(
    shape: tuple[int, int, int], patch: list[int], step: float, rows_at_once: int, size: int
) -> None:
    case = a_case(noise(2, *shape))
    tiling = Tiling(case, a_plan(*patch), (), step)
    total = np.zeros(tiling.image.shape[1:])
    seen, batches = [], []
    for rows in tiling.row_groups(rows_at_once):
        origin = tiling.z.starts[rows.start]
        for group in tiling.batches(rows, origin, size):
            batches.append(len(group))
            tiles = tiling.cut(group)
            assert tiles.shape == (len(group), 2, *patch)
            for tile, (start, targets) in zip(tiles, group, strict=True):
                seen.append(start)
                place = tuple(
                    slice(a, a + n) for a, n in zip(start, ([1] * 3 + patch)[-3:], strict=True)
                )
                image = tiling.image[(slice(None), *place)]
                np.testing.assert_array_equal(tile.reshape(image.shape), image)
                for target in targets:
                    z, y, x = target.place
                    total[z.start + origin : z.stop + origin, y, x] += weighted(target)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert len(set(seen)) == len(seen) <= tiling.count
    assert max(batches) <= size
    assert max(batches) - min(batches) <= 1 or len(set(batches)) <= 2 * len(tiling.z.starts)


def test_a_small_image_is_padded_evenly_and_comes_back() -> None:
    image = noise(1, 3, 9, 4) + 5
    tiling = Tiling(a_case(image), a_plan(8, 8, 8), (), 0.5)
    assert tiling.image.shape == (1, 8, 9, 8)
    assert tiling.inner == (slice(2, 5), slice(0, 9), slice(2, 6))
    np.testing.assert_array_equal(tiling.image[(slice(None), *tiling.inner)], image)
    assert tiling.image.sum() == pytest.approx(image.sum(), rel=1e-5)
    maps = np.moveaxis(tiling.image, 0, -1)
    first, inner = tiling.inner_part(0, maps)
    assert first == 0
    np.testing.assert_array_equal(np.moveaxis(inner, -1, 0), image)
    # Of slices that lie in the padding alone nothing is left, and the others know their place.
    assert len(tiling.inner_part(0, maps[:2])[1]) == 0
    assert len(tiling.inner_part(6, maps[6:])[1]) == 0
    first, inner = tiling.inner_part(3, maps[3:6])
    assert (first, len(inner)) == (1, 2)


def test_an_image_that_fits_is_not_copied() -> None:
    image = noise(1, 8, 8, 9)
    assert Tiling(a_case(image), a_plan(8, 8, 8), (), 0.5).image is image


def test_tiles_of_one_value_are_one_tile_per_row_group() -> None:
    image = np.full((2, 12, 4, 16), 3.0, np.float32)
    image[0, :, :, 0] = 7  # the first tile of each row holds two values
    tiling = Tiling(a_case(image), a_plan(4, 4, 4), (), 1.0)
    assert (tiling.row_length, tiling.count) == (4, 12)
    groups = [
        [(start, len(targets)) for group in tiling.batches(rows, 0, 9) for start, targets in group]
        for rows in tiling.row_groups(2)
    ]
    assert groups == [
        [((0, 0, 0), 1), ((0, 0, 4), 6), ((4, 0, 0), 1)],
        [((8, 0, 0), 1), ((8, 0, 4), 3)],
    ]


def test_what_the_first_stage_said_tells_tiles_apart() -> None:
    image = np.zeros((1, 4, 4, 12), np.float32)
    previous = np.zeros((4, 4, 12), np.int16)
    previous[:, :, 8:] = 2
    case = replace(a_case(image), previous=previous)
    tiling = Tiling(case, a_plan(4, 4, 4), (1, 2), 1.0)
    (group,) = tiling.batches(range(1), 0, 9)
    assert [(start, len(targets)) for start, targets in group] == [((0, 0, 0), 2), ((0, 0, 8), 1)]
    tiles = tiling.cut(group)
    assert tiles.shape == (2, 3, 4, 4, 4)
    assert tiles[0].sum() == 0
    assert (tiles[1, 2] == 1).all()
    for wrong in (None, previous[1:]):
        with pytest.raises(ModelError, match="without its first stage"):
            Tiling(replace(case, previous=wrong), a_plan(4, 4, 4), (1, 2), 1.0)


def test_a_2d_network_takes_slices() -> None:
    image = noise(2, 3, 6, 5)
    tiling = Tiling(a_case(image), a_plan(6, 5), (), 0.5)
    assert tiling.is_2d
    assert tiling.count == 3
    (group,) = tiling.batches(range(3), 0, 3)
    np.testing.assert_array_equal(tiling.cut(group), np.moveaxis(image, 1, 0))

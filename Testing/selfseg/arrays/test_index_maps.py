"""Label maps and channels on other grids: turned, shifted, oblique, apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collect_examples import OBLIQUE
from selfseg.arrays.index_maps import index_map, overlap_share, whole_voxel_map
from selfseg.arrays.placement import place_channel, place_labels
from selfseg.arrays.resample_labels import resample_labels_along
from selfseg.domain.geometry import Geometry

DIRECTION = tuple(tuple(float(n) for n in row) for row in OBLIQUE)


def turned(grid: Geometry, axes: tuple[int, int, int], flips: tuple[bool, ...]) -> Geometry:
    """The grid of `array.transpose(axes)` with some of its axes (Z, Y, X) turned round after."""
    columns = np.array(grid.direction)[:, ::-1]
    spacing = np.array(grid.spacing)[list(axes)]
    shape = np.array(grid.shape)[list(axes)]
    columns = columns[:, list(axes)]
    origin = np.array(grid.origin)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + columns[:, axis] * spacing[axis] * (shape[axis] - 1)
            columns[:, axis] *= -1
    rows = tuple(tuple(float(n) for n in row) for row in columns[:, ::-1])
    return Geometry(tuple(map(int, shape)), tuple(map(float, spacing)), tuple(origin), rows)


@settings(max_examples=40, deadline=None)
@given(
    axes=st.permutations((0, 1, 2)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    start=st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(-4, 4)),
)
def test_turned_and_shifted_grids_are_copied_exactly(
    axes: list[int], flips: tuple[bool, bool, bool], start: tuple[int, int, int]
) -> None:
    shape = (5, 6, 7)
    labels = np.arange(1, 211, dtype=np.int32).reshape(shape)
    image = Geometry(shape, (2.5, 0.9, 0.7), (1.0, -2.0, 3.0), DIRECTION)
    step = np.array(DIRECTION) @ (np.array(start[::-1]) * (0.7, 0.9, 2.5))
    moved = Geometry(shape, image.spacing, tuple(np.array(image.origin) + step), DIRECTION)
    other = turned(moved, tuple(axes), flips)
    stored = labels.transpose(axes)
    stored = stored[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    way = index_map(image, other)
    assert whole_voxel_map(way, shape) is not None
    expected = np.zeros_like(labels)
    for index in np.ndindex(shape):
        place = tuple(i - s for i, s in zip(index, start, strict=True))
        if all(0 <= p < n for p, n in zip(place, shape, strict=True)):
            expected[index] = labels[place]
    np.testing.assert_array_equal(place_labels(stored, way, shape), expected)


def test_resampling_votes_as_on_straight_grids() -> None:
    """Inside, where both see the same neighbours, it is the vote of `arrays.resample_labels`."""
    draws = np.random.default_rng(3)
    labels = np.repeat(np.repeat(draws.integers(0, 4, (6, 7, 8)), 3, axis=1), 3, axis=2)
    small = Geometry(labels.shape, (2.0, 2.0, 2.0))
    shape = tuple(n * 2 for n in labels.shape)
    # Voxel centres of a grid twice as fine over the same extent.
    fine = Geometry(shape, (1.0, 1.0, 1.0), (-0.5, -0.5, -0.5))
    placed = place_labels(labels, index_map(fine, small), shape)
    expected = resample_labels_along(labels, shape, None)
    inner = (slice(2, -2),) * 3
    np.testing.assert_array_equal(placed[inner], expected[inner])


def test_an_oblique_grid_lands_on_the_same_place() -> None:
    """A ball in millimetres is the same ball on both grids."""
    straight = Geometry((30, 30, 30), (1.0, 1.0, 1.0), (-15.0, -15.0, -15.0))
    corner = np.array(OBLIQUE) @ np.array([-18.0, -18.0, -18.0])
    oblique = Geometry((36, 40, 60), (1.0, 0.9, 0.6), tuple(corner), DIRECTION)

    def ball(grid: Geometry) -> np.ndarray:
        z, y, x = np.indices(grid.shape)
        points = np.stack([x, y, z], -1) * grid.spacing[::-1] @ np.array(grid.direction).T
        return np.linalg.norm(points + grid.origin - np.array([2.0, -3.0, 1.0]), axis=-1) < 8

    placed = place_labels(ball(oblique).astype(np.uint8), index_map(straight, oblique), (30,) * 3)
    wanted = ball(straight)
    dice = 2 * (placed & wanted).sum() / (placed.sum() + wanted.sum())
    assert dice > 0.97  # half a voxel off would be 0.91


def test_grids_that_are_apart_share_nothing() -> None:
    first = Geometry((5, 5, 5), (1.0, 1.0, 1.0))
    second = Geometry((5, 5, 5), (1.0, 1.0, 1.0), (5.0, 0.0, 0.0))
    assert overlap_share(index_map(first, second), first.shape, second.shape) == 0
    half = Geometry((5, 5, 5), (1.0, 1.0, 1.0), (2.5, 0.0, 0.0))
    assert overlap_share(index_map(first, half), first.shape, half.shape) == pytest.approx(0.5)


def test_a_channel_goes_on_outside_its_grid() -> None:
    image = Geometry((1, 1, 6), (1.0, 1.0, 1.0), (-1.0, 0.0, 0.0))
    other = Geometry((1, 1, 3), (1.0, 1.0, 1.0), (0.5, 0.0, 0.0))
    way = index_map(image, other)
    placed = place_channel(np.array([[[1.0, 2.0, 3.0]]]), way, (1, 1, 6))
    np.testing.assert_allclose(placed[0, 0], [1, 1, 1.5, 2.5, 3, 3])

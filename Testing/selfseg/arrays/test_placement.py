"""Label maps from one grid to another, and label maps that segments share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.arrays.index_maps import index_to_world
from selfseg.arrays.mesh import surface_of
from selfseg.arrays.placement import overlap_free, placed
from selfseg.domain.geometry import Geometry

TILTED = ((0.36, 0.48, -0.8), (-0.8, 0.6, 0.0), (0.48, 0.64, 0.6))


def labels(shape: tuple[int, int, int] = (4, 5, 6)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8)


@given(st.tuples(*[st.integers(-5, 5)] * 3), st.sampled_from([TILTED, None]))
def test_a_shift_by_whole_voxels_and_back_loses_only_what_left(
    shift: tuple[int, int, int], direction: tuple[tuple[float, ...], ...] | None
) -> None:
    first = Geometry((4, 5, 6), (2.5, 0.9, 0.7), (1.0, -2.0, 3.0), direction or _identity())
    steps = index_to_world(first)[:3, :3]
    origin = index_to_world(first)[:3, 3] + steps @ shift
    second = Geometry((7, 6, 5), first.spacing, tuple(origin.tolist()), first.direction)
    there = placed(labels(), first, second)
    for index in np.ndindex(second.shape):
        source = tuple(a + b for a, b in zip(index, shift[::-1], strict=True))
        inside = all(0 <= i < n for i, n in zip(source, first.shape, strict=True))
        assert there[index] == (labels()[source] if inside else 0)
    back = placed(there, second, first)
    np.testing.assert_array_equal(np.where(back == 0, 0, labels()), back)


def test_flipped_and_swapped_axes_come_back() -> None:
    first = Geometry((4, 5, 6), (2.0, 1.0, 0.5), (0.0, 0.0, 0.0))
    far = (index_to_world(first) @ [5, 0, 3, 1])[:3]
    turned = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    second = Geometry((4, 6, 5), (2.0, 0.5, 1.0), tuple(far.tolist()), turned)
    expected = labels()[::-1, :, ::-1].transpose(0, 2, 1)
    np.testing.assert_array_equal(placed(labels(), first, second), expected)
    np.testing.assert_array_equal(placed(expected, second, first), labels())


def test_a_transform_moves_them() -> None:
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    moved = np.eye(4)
    moved[:3, 3] = 1, 0, 2
    expected = np.zeros_like(labels())
    expected[2:, :, 1:] = labels()[:2, :, :-1]
    np.testing.assert_array_equal(placed(labels(), grid, grid, moved), expected)


def test_segments_share_a_label_map_where_nothing_is_covered() -> None:
    a, b, c = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8), labels((3, 4, 5)) * 0
    a[0, 0], a[2, 3], b[0, 0, 1:3], c[1] = 1, 2, 1, 1
    maps, where = overlap_free([a, b, c], [(0, 1), (0, 2), (1, 1), (2, 1), (2, 9)], [4, 5, 6, 7, 8])
    assert where == [0, 0, 1, 0, 0]
    np.testing.assert_array_equal(maps[0], 4 * (a == 1) + 5 * (a == 2) + 7 * c)
    np.testing.assert_array_equal(maps[1], 6 * b)
    maps, _ = overlap_free([a], [(0, 1)], [300])
    assert maps[0].max() == 300


@pytest.mark.parametrize("direction", [None, TILTED])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_surface_is_closed_turns_outwards_and_keeps_its_volume(
    direction: tuple[tuple[float, ...], ...] | None, mirrored: bool
) -> None:
    z, y, x = np.indices((20, 30, 40))
    ball = ((z - 9) / 7) ** 2 + ((y - 14) / 11) ** 2 + ((x - 19) / 16) ** 2 < 1
    ball[0] = True  # as far as the border
    grid = Geometry(ball.shape, (2.0, 1.0, 0.8), (5.0, 6.0, 7.0), direction or _identity())
    affine = index_to_world(grid) @ np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0, 1.0])
    mesh = surface_of(ball, affine)
    assert mesh is not None
    edges = np.sort(mesh.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    assert mesh.volume == pytest.approx(ball.sum() * 1.6, rel=0.03)
    assert surface_of(ball & False, affine) is None


def _identity() -> tuple[tuple[float, ...], ...]:
    return ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

"""Strides, kernels and patches."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from selfseg.plan.constants import RULES
from selfseg.plan.patch import start_patch
from selfseg.plan.topology import find_topology

sizes = st.integers(1, 400)
spacings = st.floats(0.1, 20)
grids = st.integers(2, 3).flatmap(
    lambda n: st.tuples(
        st.lists(spacings, min_size=n, max_size=n), st.lists(sizes, min_size=n, max_size=n)
    )
)


@given(grids)
def test_the_patch_fits_the_strides_and_contains_the_wish(
    grid: tuple[list[float], list[int]],
) -> None:
    spacing, wish = grid
    topology = find_topology(spacing, wish)
    assert len(topology.kernel_sizes) == topology.stage_count
    assert set(topology.strides[0]) == {1}
    assert set(topology.kernel_sizes[-1]) == {3}
    for axis, size in enumerate(topology.patch_size):
        divisor = math.prod(stride[axis] for stride in topology.strides)
        assert topology.divisor[axis] == divisor
        assert size % divisor == 0
        assert wish[axis] <= size < wish[axis] + divisor
        kernels = [kernel[axis] for kernel in topology.kernel_sizes]
        assert kernels == sorted(kernels)  # once 3, always 3
        if divisor > 1:
            assert size // divisor >= 4


@given(grids)
def test_a_padded_patch_stays_as_it_is(grid: tuple[list[float], list[int]]) -> None:
    spacing, wish = grid
    topology = find_topology(spacing, wish)
    again = find_topology(spacing, topology.patch_size)
    if again.divisor == topology.divisor:
        assert again == topology


def test_cubic_voxels_are_pooled_together() -> None:
    topology = find_topology((1, 1, 1), (128, 128, 128))
    assert topology.strides == ((1, 1, 1), *((2, 2, 2),) * 5)
    assert set(topology.kernel_sizes) == {(3, 3, 3)}


def test_thick_slices_are_pooled_later_and_first_seen_one_by_one() -> None:
    topology = find_topology((5, 1, 1), (16, 256, 256))
    assert topology.strides[:4] == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert topology.kernel_sizes[:3] == ((1, 3, 3), (1, 3, 3), (3, 3, 3))


def test_spacing_exactly_twice_as_coarse_is_not_similar() -> None:
    assert find_topology((2, 1, 1), (64, 64, 64)).strides[1] == (1, 2, 2)
    assert find_topology((1.99, 1, 1), (64, 64, 64)).strides[1] == (2, 2, 2)


def test_a_lonely_axis_needs_twelve_voxels() -> None:
    assert find_topology((1, 1, 1), (4, 4, 11)).stage_count == 1
    assert find_topology((1, 1, 1), (4, 4, 12)).strides == ((1, 1, 1), (1, 1, 2))


def test_start_patches_are_cubes_in_millimetres_clipped_to_the_image() -> None:
    assert start_patch((1, 1, 1), (1000, 1000, 1000)) == (256, 256, 256)
    assert start_patch((2, 1), (5000, 5000)) == (1448, 2896)
    assert start_patch((1, 1, 1), (35.5, 300, 20)) == (35.5, 256, 20)


def test_residual_encoders_have_more_blocks_further_down() -> None:
    assert RULES["resenc_m"].blocks(7) == (1, 3, 4, 6, 6, 6, 6)
    assert RULES["resenc_m"].blocks(2) == (1, 3)
    assert RULES["plain"].blocks(3) == (2, 2, 2)

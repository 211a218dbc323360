"""Target spacing, axis order and resampled sizes."""

from __future__ import annotations

from itertools import permutations

import pytest

from selfseg.plan.planner import choose_normalisation
from selfseg.plan.spacing import axis_order, inverse_order, resampled_shape, target_spacing

MANY_SLICES = [(100, 256, 256)] * 3
FEW_SLICES = [(10, 256, 256)] * 3


def test_the_target_is_the_median_of_each_axis() -> None:
    target = target_spacing([(3, 1, 0.5), (2, 1, 0.7), (9, 4, 0.6)], MANY_SLICES)
    assert target.spacing == (3, 1, 0.6)
    assert target.refined_axis is None


def test_few_thick_slices_get_the_finer_tenth_percentile() -> None:
    spacings = [(5, 1, 1), (10, 1, 1), (10, 1, 1)]
    target = target_spacing(spacings, FEW_SLICES)
    assert target.spacing == pytest.approx((6, 1, 1))
    assert target.median == (10, 1, 1)
    assert target.refined_axis == 0
    assert target_spacing(spacings, MANY_SLICES).spacing == (10, 1, 1)


def test_the_thick_axis_stays_the_coarsest() -> None:
    target = target_spacing([(0.5, 1, 1.5), (10, 1, 1.5), (10, 1, 1.5)], FEW_SLICES)
    assert target.spacing == pytest.approx((2.4, 1, 1.5))
    target = target_spacing([(0.5, 1, 1.5)] * 2 + [(10, 1, 1.5)] * 3, [(10, 256, 256)] * 5)
    assert target.spacing == (1.5 + 1e-5, 1, 1.5)


def test_both_conditions_are_strict() -> None:
    assert target_spacing([(2, 1, 1), (3, 1, 1), (3, 1, 1)], FEW_SLICES).refined_axis is None
    exactly = [(86, 258, 300)] * 3
    assert target_spacing([(5, 1, 1), (9, 1, 1), (9, 1, 1)], exactly).refined_axis is None


def test_the_coarsest_axis_goes_first_and_ties_keep_the_first() -> None:
    assert axis_order((1, 1, 3)) == (2, 0, 1)
    assert axis_order((1, 3, 1)) == (1, 0, 2)
    assert axis_order((1, 1, 1)) == (0, 1, 2)
    assert axis_order((1, 3, 3)) == (1, 0, 2)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_inverse_order_undoes_the_order(order: tuple[int, int, int]) -> None:
    turned = [("z", "y", "x")[axis] for axis in order]
    assert [turned[axis] for axis in inverse_order(order)] == ["z", "y", "x"]


def test_sizes_are_rounded_half_to_even() -> None:
    assert resampled_shape((5, 7, 10), (1, 1, 1), (2, 2, 2)) == (2, 4, 5)


def test_the_channel_name_chooses_the_normalisation() -> None:
    names = ("cT", "NoNorm", "RGB_to_0_1", "rescale_to_0_1", "T2 FLAIR", "zscore", " ct")
    schemes = choose_normalisation(names, 1.0).schemes
    assert schemes == (
        "ct", "nonorm", "rgb_to_0_1", "rescale_to_0_1", "zscore", "zscore", "zscore"
    )  # fmt: skip


def test_only_zscores_of_mostly_empty_images_look_at_the_mask() -> None:
    assert choose_normalisation(("CT", "T1", "nonorm"), 0.74).in_mask == (False, True, False)
    assert choose_normalisation(("CT", "T1", "nonorm"), 0.75).in_mask == (False, False, False)

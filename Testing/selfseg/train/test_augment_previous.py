"""Random errors in the cascade's input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from selfseg.train.augment import FULL
from selfseg.train.augment.previous import (
    OPERATIONS,
    Morphology,
    Operation,
    Removal,
    apply_operation,
    change_previous,
    draw_previous,
    small_component,
)


def _ball(radius: float, dimensions: int) -> np.ndarray:
    n = int(radius)
    axes = np.ogrid[(slice(-n, n + 1),) * dimensions]
    ball: np.ndarray = sum(axis**2 for axis in axes) <= radius**2
    return ball


def _plain(inside: np.ndarray, operation: Operation, radius: float) -> np.ndarray:
    """The same by definition, slowly; outside neither grows in nor wears away."""
    ball = _ball(radius, inside.ndim)

    def dilated(mask: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(mask, ball)

    def eroded(mask: np.ndarray) -> np.ndarray:
        return ndimage.binary_erosion(mask, ball, border_value=1)

    steps = {
        "dilation": (dilated,),
        "erosion": (eroded,),
        "opening": (eroded, dilated),
        "closing": (dilated, eroded),
    }
    for step in steps[operation]:
        inside = step(inside)
    return inside


@given(
    st.integers(0, 10**6),
    st.sampled_from(OPERATIONS),
    st.floats(1, 8),
    st.sampled_from([(12, 15), (3, 5), (7, 9, 8), (2, 9, 4)]),
    st.floats(0, 1),
)
def test_morphology_is_that_of_a_ball(
    seed: int, operation: Operation, radius: float, size: tuple[int, ...], share: float
) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, size), 1)
    inside = smooth <= np.quantile(smooth, share)
    changed = apply_operation(inside, operation, radius)
    np.testing.assert_array_equal(changed, _plain(inside, operation, radius))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks_stay(operation: Operation, value: bool) -> None:
    mask = np.full((5, 6), value)
    np.testing.assert_array_equal(apply_operation(mask, operation, 3.0), mask)


def test_what_one_label_gains_the_others_lose() -> None:
    labels = np.zeros((9, 20), np.int16)
    labels[3:6, 3:8], labels[3:6, 9:16] = 2, 5
    before = labels.copy()
    changed = change_previous(labels, (Morphology(0, "dilation", 3.0),), (2, 5))
    np.testing.assert_array_equal(labels, before)
    grown = _plain(labels == 2, "dilation", 3.0)
    np.testing.assert_array_equal(changed == 2, grown)
    np.testing.assert_array_equal(changed == 5, (labels == 5) & ~grown)
    shrunk = change_previous(labels, (Morphology(1, "erosion", 1.0),), (2, 5))
    np.testing.assert_array_equal(shrunk == 5, _plain(labels == 5, "erosion", 1.0))
    np.testing.assert_array_equal(shrunk == 2, labels == 2)


def test_only_small_components_are_removed() -> None:
    labels = np.zeros((10, 10), np.int16)
    labels[0:2, 0:2], labels[4:8, 4:9], labels[9, 9] = 7, 7, 7
    for choice, gone in ((0.0, (slice(0, 2), slice(0, 2))), (0.99, (9, 9))):
        changed = change_previous(labels, (Removal(0, 15.0, choice),), (7,))
        wanted = labels.copy()
        wanted[gone] = 0
        np.testing.assert_array_equal(changed, wanted)
    same = change_previous(labels, (Removal(0, 1.0, 0.5),), (7,))
    np.testing.assert_array_equal(same, labels)
    assert not small_component(np.zeros((3, 3), bool), 9, 0.5).any()


def test_neighbours_over_corners_are_one_component() -> None:
    diagonal = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(small_component(diagonal, 6, 0.0), diagonal)


def test_draws_are_those_of_the_recipe() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_previous(FULL, (10, 10, 10), 3, rng) for _ in range(4000)]
    morphologies = [[s for s in steps if isinstance(s, Morphology)] for steps in draws]
    removals = [[s for s in steps if isinstance(s, Removal)] for steps in draws]
    for found, probability in ((morphologies, 0.4), (removals, 0.2)):
        # None of three labels is drawn in one of eight.
        assert np.mean([bool(s) for s in found]) == pytest.approx(probability * 7 / 8, abs=0.03)
        assert np.mean([len(s) for s in found]) == pytest.approx(probability * 1.5, abs=0.06)
    steps = [step for found in morphologies for step in found]
    radii = np.array([step.radius for step in steps])
    assert 1 <= radii.min() < 1.1
    assert 7.9 < radii.max() <= 8
    assert {step.operation for step in steps} == set(OPERATIONS)
    assert {step.label for step in steps} == {0, 1, 2}
    firsts = [found[0].label for found in morphologies if found]
    assert np.bincount(firsts).min() > 0.25 * len(firsts)
    assert {step.below for found in removals for step in found} == {150.0}
    never = replace(FULL, previous_morphology=0.0, previous_removal=0.0)
    assert draw_previous(never, (10, 10, 10), 3, rng) == ()

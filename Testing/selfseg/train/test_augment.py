"""What is drawn, and how patches are turned."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.plan import Schedule
from selfseg.train.augment import FULL, MILD, MIRROR_ONLY, POLICIES
from selfseg.train.augment.draws import (
    INTENSITIES,
    SampleDraw,
    draw_intensities,
    draw_sample,
)
from selfseg.train.augment.in_loader import mirror, turn
from selfseg.train.augment.spatial import (
    Elastic,
    SpatialDraw,
    draw_spatial,
    is_slice_wise,
    sample_labels,
    sampling_grid,
    spline_weights,
    values_in,
)
from selfseg.train.sampling import Patch, read_patch

ALWAYS = replace(FULL, rotation=1.0, scaling=1.0)
BENT = replace(MILD, rotation=1.0, scaling=1.0, elastic=1.0)


def _patch(size: tuple[int, ...], channels: int = 1, seed: int = 0) -> Patch:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (channels, *size)).astype(np.float32)
    labels = rng.integers(0, 3, size).astype(np.int16)
    return Patch(image, labels, labels > 0, labels)


def _identity(dimensions: int) -> SpatialDraw:
    return SpatialDraw(np.eye(dimensions, dtype=np.float32))


def test_there_is_a_policy_for_every_schedule() -> None:
    assert set(get_args(get_type_hints(Schedule)["augmentation"])) == set(POLICIES)
    assert POLICIES[Schedule().augmentation] == FULL


@pytest.mark.parametrize("size", [(7, 9), (6, 8, 10), (5, 7, 9), (2, 7, 9)])
def test_the_identity_changes_nothing(size: tuple[int, ...]) -> None:
    patch = _patch(size, channels=2)
    draw = _identity(2 if is_slice_wise(size) else len(size))
    assert draw.source_size(size) == size
    same = turn(patch, draw, size)
    np.testing.assert_allclose(same.image, patch.image, atol=1e-4)
    np.testing.assert_array_equal(same.labels, patch.labels)
    np.testing.assert_array_equal(same.nonzero, patch.nonzero)
    np.testing.assert_array_equal(same.previous, patch.previous)


@pytest.mark.parametrize("size", [(8, 8), (2, 8, 8)])
def test_a_quarter_turn_is_exact(size: tuple[int, ...]) -> None:
    patch = _patch(size)
    quarter = SpatialDraw(np.array([[0, -1], [1, 0]], np.float32))
    turned = turn(patch, quarter, size)
    plane = (-2, -1)
    np.testing.assert_allclose(turned.image, np.rot90(patch.image, -1, plane), atol=1e-4)
    np.testing.assert_array_equal(turned.labels, np.rot90(patch.labels, -1, plane))
    np.testing.assert_array_equal(turned.nonzero, turned.labels > 0)


@pytest.mark.parametrize("policy", [ALWAYS, BENT])
@pytest.mark.parametrize("size", [(20, 30), (16, 16, 16), (4, 32, 32)])
def test_the_source_box_covers_the_patch(policy: Any, size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        draw = draw_spatial(policy, size, (2.0,) * len(size), rng)
        assert draw is not None
        source = draw.source_size(size)
        assert all((n - m) % 2 == 0 and n >= m for n, m in zip(source, size, strict=True))
        ones = Patch(np.ones((1, *source), np.float32), np.ones(source, np.int16), None)
        changed = turn(ones, draw, size)
        assert changed.image.min() > 0.99
        assert changed.labels.min() == 1


@pytest.mark.parametrize("policy", [ALWAYS, BENT])
def test_labels_stay_among_those_there_were(policy: Any) -> None:
    rng = np.random.default_rng(0)
    draw = draw_spatial(policy, (12, 12, 12), (1.0,) * 3, rng)
    assert draw is not None
    labels = rng.choice([0, 3, 7, 300], draw.source_size((12, 12, 12))).astype(np.int16)
    patch = Patch(np.zeros((1, *labels.shape), np.float32), labels, None)
    turned = turn(patch, draw, (12, 12, 12)).labels
    assert turned.dtype == np.int16
    assert set(np.unique(turned)) == {0, 3, 7, 300}


def test_many_labels_are_sampled_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 12, (9, 9, 9)).astype(np.int16))
    draw = draw_spatial(ALWAYS, (9, 9, 9), (1.0,) * 3, rng)
    assert draw is not None
    grid = sampling_grid(draw, (9, 9, 9), (9, 9, 9))
    at_once = sample_labels(labels, range(12), grid)
    monkeypatch.setattr("selfseg.train.augment.spatial.LABELS_AT_ONCE", 20)
    assert sample_labels(labels, range(12), grid).equal(at_once)


def test_the_values_of_a_label_map_are_found() -> None:
    labels = np.array([[0, 4], [300, 4]], np.int16)
    assert values_in(labels) == (0, 4, 300)
    assert values_in(-labels) == (-300, -4, 0)


def test_flat_patches_are_turned_slice_by_slice() -> None:
    assert is_slice_wise((8, 32, 32))
    assert not is_slice_wise((16, 48, 48))
    draw = draw_spatial(BENT, (8, 32, 32), (5.0, 1.0, 1.0), np.random.default_rng(0))
    assert draw is not None
    assert draw.matrix.shape == (2, 2)
    assert draw.source_size((8, 32, 32))[0] == 8
    # Every slice as if it were an image of its own.
    patch = _patch(draw.source_size((8, 32, 32)))
    turned = turn(patch, draw, (8, 32, 32))
    for z in range(8):
        assert patch.nonzero is not None
        assert turned.nonzero is not None
        single = turn(Patch(patch.image[:, z], patch.labels[z], patch.nonzero[z]), draw, (32, 32))
        np.testing.assert_allclose(turned.image[:, z], single.image, atol=1e-5)
        np.testing.assert_array_equal(turned.labels[z], single.labels)


@pytest.mark.parametrize(
    ("policy", "size", "limit"),
    [
        (FULL, (16, 16), 180.0),
        (FULL, (16, 32), 15.0),
        (FULL, (4, 16, 32), 180.0),
        (MILD, (16, 16), 15.0),
        (MILD, (4, 16, 16), 15.0),
    ],
)
def test_rotation_angles_stay_in_range(policy: Any, size: Any, limit: float) -> None:
    turning = replace(policy, rotation=1.0, scaling=0.0, elastic=0.0)
    rng = np.random.default_rng(1)
    angles = []
    for _ in range(200):
        draw = draw_spatial(turning, size, (1.0,) * len(size), rng)
        assert draw is not None
        angles.append(abs(np.rad2deg(np.arctan2(draw.matrix[1, 0], draw.matrix[0, 0]))))
    assert 0.9 * limit < max(angles) <= limit + 1e-3


@pytest.mark.parametrize(("policy", "low", "high"), [(FULL, 0.7, 1.4), (MILD, 0.9, 1.1)])
def test_scales_are_uniform(policy: Any, low: float, high: float) -> None:
    scaling = replace(policy, rotation=0.0, scaling=1.0, elastic=0.0)
    rng = np.random.default_rng(1)
    scales = []
    for _ in range(500):
        draw = draw_spatial(scaling, (8, 8, 8), (1.0,) * 3, rng)
        assert draw is not None
        scales.append(draw.matrix[0, 0])
        np.testing.assert_array_equal(draw.matrix, np.eye(3) * draw.matrix[0, 0])
    quarters = np.quantile(scales, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quarters, np.linspace(low, high, 5), atol=0.06 * (high - low))


def test_spline_weights_are_a_smooth_partition_of_one() -> None:
    weights = spline_weights(50, 7.3, int(49 / 7.3) + 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights.min() >= 0
    # Control points on a line give a line: cubic B-splines reproduce it.
    line = weights @ (np.arange(weights.shape[1]) - 1)
    np.testing.assert_allclose(line, np.arange(50) / 7.3, atol=1e-5)


def test_the_elastic_deformation_has_its_spacing_in_mm_and_never_folds() -> None:
    rng = np.random.default_rng(0)
    bending = replace(MILD, rotation=0.0, scaling=0.0, elastic=1.0)
    size, spacing = (24, 60, 60), (4.0, 2.0, 1.5)
    moved = []
    for _ in range(30):
        draw = draw_spatial(bending, size, spacing, rng)
        assert draw is not None
        assert draw.elastic is not None
        np.testing.assert_allclose(np.array(draw.elastic.spacing) * spacing, 30)
        mm = draw.elastic.displacements * np.reshape(spacing, (3, 1, 1, 1))
        assert np.abs(mm).max() <= 12 + 1e-3
        moved.append(mm.std())
        # Sampled places move on along each axis as the voxels do.
        grid = sampling_grid(draw, size, draw.source_size(size))[0].numpy()
        for axis in range(3):
            assert (np.diff(grid[..., 2 - axis], axis=axis) > 0).all()
    assert np.mean(moved) == pytest.approx(4, rel=0.05)


def test_a_deformation_by_the_same_everywhere_is_a_shift() -> None:
    patch = _patch((6, 13, 13))
    shift = np.zeros((3, 5, 5, 5), np.float32)
    shift[1] = 2.0
    shifted = turn(
        patch,
        SpatialDraw(np.eye(3, dtype=np.float32), Elastic(shift, (6.0, 6.0, 6.0))),
        (6, 7, 7),
    )
    np.testing.assert_allclose(shifted.image, patch.image[:, :, 5:12, 3:10], atol=1e-4)


def test_small_patches_are_bent_in_proportion() -> None:
    bending = replace(MILD, elastic=1.0)
    draw = draw_spatial(bending, (10, 12), (0.01, 0.01), np.random.default_rng(0))
    assert draw is not None
    assert draw.elastic is not None
    assert draw.elastic.spacing == pytest.approx((12, 12))
    assert np.abs(draw.elastic.displacements).max() <= 0.4 * 12 + 1e-6


@pytest.mark.parametrize("policy", [FULL, MILD, MIRROR_ONLY])
def test_probabilities_are_kept(policy: Any) -> None:
    rng = np.random.default_rng(0)
    count = 3000
    found: Counter[str] = Counter()
    for _ in range(count):
        draw = draw_sample(policy, (8, 8, 8), (1.0,) * 3, 1, 1, rng)
        found["spatial"] += draw.spatial is not None
        found.update(f"mirror {axis}" for axis in draw.mirror_axes)
        found.update(step.kind for step in draw.intensities)
        found.update(type(step).__name__ for step in draw.previous)
    low = policy.low_resolution * policy.per_channel
    blurred = policy.low_resolution_sigma_mm is not None
    wanted = {
        "spatial": 1 - (1 - policy.rotation) * (1 - policy.scaling) * (1 - policy.elastic),
        **{f"mirror {axis}": policy.mirror for axis in range(3)},
        "noise": policy.noise,
        "blur": policy.blur * policy.per_channel,
        "brightness": policy.brightness,
        "contrast": policy.contrast,
        "low_resolution": 0 if blurred else low,
        "low_resolution_blur": low if blurred else 0,
        "gamma_inverted": policy.gamma_inverted,
        "gamma": policy.gamma,
        "Morphology": policy.previous_morphology * policy.previous_per_label,
        "Removal": policy.previous_removal * policy.previous_per_label,
    }
    assert set(found) <= set(wanted)
    for name, probability in wanted.items():
        assert found[name] / count == pytest.approx(probability, abs=0.03), name


@given(st.integers(0, 10**6))
def test_strengths_stay_in_range(seed: int) -> None:
    everything = replace(
        FULL, **dict.fromkeys(("noise", "blur", "brightness", "contrast", "gamma"), 1.0)
    )
    everything = replace(everything, low_resolution=1.0, gamma_inverted=1.0, per_channel=1.0)
    rng = np.random.default_rng(seed)
    steps = draw_intensities(everything, (10, 40, 40), (4.0, 1.0, 1.0), 2, rng)
    kinds = [step.kind for step in steps]
    assert kinds == sorted(kinds, key=INTENSITIES.index)
    ranges = {
        "blur": (0.5, 1.0),
        "brightness": (0.75, 1.25),
        "contrast": (0.75, 1.25),
        "gamma": (0.7, 1.5),
        "gamma_inverted": (0.7, 1.5),
    }
    for step in steps:
        assert step.channel in (0, 1)
        if step.kind == "noise":
            assert 0 <= step.values[0] <= 0.1
            assert step.values[1] == 0
        elif step.kind == "low_resolution":
            assert step.values[0] == 10  # slice-wise: slices stay slices
            assert 20 <= step.values[1] == step.values[2] <= 40
        else:
            low, high = ranges[step.kind]
            assert all(low <= value <= high for value in step.values)


def test_the_mild_blur_has_its_width_in_mm() -> None:
    mild = replace(MILD, low_resolution=1.0, per_channel=1.0)
    steps = draw_intensities(mild, (8, 8, 8), (5.0, 0.5, 0.1), 1, np.random.default_rng(3))
    (blur,) = [step for step in steps if step.kind == "low_resolution_blur"]
    assert blur.values == pytest.approx((0.2, 2.0, 4.0))  # the last is the widest there is


def test_mirroring_moves_everything_together() -> None:
    patch = _patch((5, 6, 7))
    flipped = mirror(patch, (0, 1, 2))
    np.testing.assert_array_equal(flipped.image[0], patch.image[0, ::-1, ::-1, ::-1])
    np.testing.assert_array_equal(flipped.labels, patch.labels[::-1, ::-1, ::-1])
    np.testing.assert_array_equal(flipped.nonzero, flipped.labels > 0)
    np.testing.assert_array_equal(flipped.previous, flipped.labels)
    assert mirror(patch, ()) is patch


def test_a_turned_patch_lies_where_the_plain_one_does(make_case: Any) -> None:
    case = make_case(0, (32, 32, 32))
    draw = SpatialDraw((np.eye(3) * 1.4).astype(np.float32))
    wide = draw.source_size((8, 8, 8))
    start = [12 - (n - 8) // 2 for n in wide]
    zoomed = turn(read_patch(case, start, wide), draw, (8, 8, 8))
    plain = read_patch(case, (12, 12, 12), (8, 8, 8))
    centre = (slice(3, 5),) * 3
    np.testing.assert_array_equal(zoomed.labels[centre], plain.labels[centre])


def test_a_draw_is_a_function_of_its_generator() -> None:
    def drawn(seed: int) -> SampleDraw:
        rng = np.random.default_rng(seed)
        return draw_sample(BENT, (8, 9, 10), (1.0, 1.0, 1.0), 2, 3, rng)

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first.intensities == again.intensities
    assert first.noise_seed == again.noise_seed != other.noise_seed
    assert first.spatial is not None
    assert again.spatial is not None
    np.testing.assert_array_equal(first.spatial.matrix, again.spatial.matrix)

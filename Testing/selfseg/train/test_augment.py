from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selfseg.train.augment import (
    FULL,
    MIRROR_ONLY,
    SpatialDraw,
    apply_spatial,
    change_contrast,
    change_gamma,
    change_intensities,
    draw_spatial,
    is_slice_wise,
    lower_resolution,
    mirror,
)
from selfseg.train.batches import TRAINING_STREAM, BatchMaker, batches
from selfseg.train.sampling import CasesInMemory, Patch, read_patch


def _patch(size: tuple[int, ...], channels: int = 1, seed: int = 0) -> Patch:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (channels, *size)).astype(np.float32)
    labels = rng.integers(0, 3, size).astype(np.int16)
    return Patch(image, labels, labels > 0)


@pytest.mark.parametrize("size", [(7, 9), (6, 8, 10), (5, 7, 9)])
def test_the_identity_changes_nothing(size: tuple[int, ...]) -> None:
    patch = _patch(size, channels=2)
    draw = SpatialDraw(np.eye(len(size), dtype=np.float32))
    assert draw.source_size(size) == size
    same = apply_spatial(patch, draw, size)
    np.testing.assert_allclose(same.image, patch.image, atol=1e-4)
    np.testing.assert_array_equal(same.labels, patch.labels)
    np.testing.assert_array_equal(same.nonzero, patch.nonzero)


def test_a_quarter_turn_is_exact() -> None:
    patch = _patch((8, 8))
    turn = SpatialDraw(np.array([[0, -1], [1, 0]], np.float32))
    turned = apply_spatial(patch, turn, (8, 8))
    np.testing.assert_allclose(turned.image[0], np.rot90(patch.image[0], -1), atol=1e-4)
    np.testing.assert_array_equal(turned.labels, np.rot90(patch.labels, -1))


@pytest.mark.parametrize("size", [(20, 30), (16, 16, 16), (4, 32, 32)])
def test_the_source_box_covers_the_patch(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    always = replace(FULL, rotation=1.0, scaling=1.0)
    for _ in range(20):
        draw = draw_spatial(always, size, rng)
        assert draw is not None
        source = draw.source_size(size)
        assert all((n - m) % 2 == 0 and n >= m for n, m in zip(source, size, strict=True))
        ones = Patch(np.ones((1, *source), np.float32), np.ones(source, np.int16), None)
        changed = apply_spatial(ones, draw, size)
        assert changed.image.min() > 0.99
        assert changed.labels.min() == 1


def test_flat_patches_are_turned_slice_by_slice() -> None:
    assert is_slice_wise((8, 32, 32))
    assert not is_slice_wise((16, 48, 48))
    always = replace(FULL, rotation=1.0, scaling=1.0)
    draw = draw_spatial(always, (8, 32, 32), np.random.default_rng(0))
    assert draw is not None
    np.testing.assert_array_equal(draw.matrix[0], [1, 0, 0])
    np.testing.assert_array_equal(draw.matrix[:, 0], [1, 0, 0])


def test_rotation_angles_stay_in_range() -> None:
    turn = replace(FULL, rotation=1.0, scaling=0.0)
    rng = np.random.default_rng(1)
    for size, limit in (((16, 16), 180.0), ((16, 32), 15.0)):
        angles = []
        for _ in range(200):
            draw = draw_spatial(turn, size, rng)
            assert draw is not None
            angles.append(abs(np.rad2deg(np.arctan2(draw.matrix[1, 0], draw.matrix[0, 0]))))
        assert 0.9 * limit < max(angles) <= limit + 1e-3


def test_probabilities_are_kept() -> None:
    rng = np.random.default_rng(0)
    drawn = sum(draw_spatial(FULL, (8, 8, 8), rng) is not None for _ in range(3000))
    assert drawn / 3000 == pytest.approx(1 - 0.8 * 0.8, abs=0.03)


def test_intensity_changes_differ_and_leave_the_input() -> None:
    patch = _patch((6, 8, 8), channels=2)
    before = patch.image.copy()
    everything = replace(
        FULL,
        noise=1.0,
        blur=1.0,
        brightness=1.0,
        contrast=1.0,
        low_resolution=1.0,
        gamma_inverted=1.0,
        gamma=1.0,
        per_channel=1.0,
    )
    changed = change_intensities(patch.image, everything, np.random.default_rng(0))
    np.testing.assert_array_equal(patch.image, before)
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert np.abs(changed - before).mean() > 0.1
    unchanged = change_intensities(patch.image, MIRROR_ONLY, np.random.default_rng(0))
    np.testing.assert_array_equal(unchanged, before)


def test_contrast_keeps_range_and_gamma_keeps_statistics() -> None:
    channel = _patch((20, 20)).image[0]
    spread = channel.copy()
    change_contrast(spread, 1.25)
    assert spread.min() == channel.min()
    assert spread.max() == channel.max()
    for gamma in (0.7, 1.5):
        changed = change_gamma(channel, gamma)
        assert changed.mean() == pytest.approx(channel.mean(), abs=1e-4)
        assert changed.std() == pytest.approx(channel.std(), rel=1e-3)
        assert np.abs(changed - channel).max() > 0.05
    np.testing.assert_array_equal(change_gamma(np.full((3, 3), 2, np.float32), 0.7), 2)


def test_low_resolution_loses_detail_only() -> None:
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(32, axis=0)
    assert np.abs(lower_resolution(ramp, 0.5) - ramp).max() < 0.05
    noise = _patch((32, 32)).image[0]
    assert lower_resolution(noise, 0.5).std() < 0.8 * noise.std()


def test_mirroring_moves_image_and_labels_together() -> None:
    patch = _patch((5, 6, 7))
    flipped = mirror(patch, replace(MIRROR_ONLY, mirror=1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(flipped.image[0], patch.image[0, ::-1, ::-1, ::-1])
    np.testing.assert_array_equal(flipped.labels, patch.labels[::-1, ::-1, ::-1])
    assert flipped.nonzero is not None
    np.testing.assert_array_equal(flipped.nonzero, flipped.labels > 0)
    same = mirror(patch, replace(MIRROR_ONLY, mirror=0.0), np.random.default_rng(0))
    assert same is patch


@pytest.mark.parametrize("patch", [(8, 12, 12), (12, 16)])
def test_a_batch_is_a_function_of_its_number(
    make_case: Any, make_training_plan: Any, patch: tuple[int, ...]
) -> None:
    plan = make_training_plan(patch, batch_size=3, channels=2)
    configuration = next(iter(plan.configurations.values()))
    cases = CasesInMemory([make_case(i, channels=2) for i in range(3)], 1e9)
    make = BatchMaker(cases, configuration, 0.33, FULL, 7, TRAINING_STREAM)
    inline, threaded = batches(make, 4, 0), batches(make, 4, 3)
    for index in range(4, 8):
        wanted = make(index)
        assert wanted.images.shape == (3, 2, *patch)
        assert wanted.labels.shape == (3, *patch)
        for stream in (inline, threaded):
            given = next(stream)
            assert given.images.equal(wanted.images)
            assert given.labels.equal(wanted.labels)
    threaded.close()
    assert not make(4).images.equal(make(5).images)


def test_outside_the_mask_stays_zero(make_case: Any, make_training_plan: Any) -> None:
    plan = make_training_plan((8, 12, 12), channels=2)
    configuration = replace(plan.configurations["3d"], normalise_in_mask=(True, False))
    case = make_case(0, channels=2)
    case.nonzero = np.zeros(case.shape, bool)
    everything = replace(FULL, noise=1.0, brightness=1.0, contrast=1.0, gamma=1.0)
    make = BatchMaker(CasesInMemory([case], 1e9), configuration, 0.33, everything, 0, 0)
    images = make(0).images
    assert float(images[:, 0].abs().max()) == 0
    assert float(images[:, 1].abs().max()) > 0


def test_a_turned_patch_lies_where_the_plain_one_does(make_case: Any) -> None:
    case = make_case(0, (32, 32, 32))
    draw = SpatialDraw((np.eye(3) * 1.4).astype(np.float32))
    wide = draw.source_size((8, 8, 8))
    start = [12 - (n - 8) // 2 for n in wide]
    zoomed = apply_spatial(read_patch(case, start, wide), draw, (8, 8, 8))
    plain = read_patch(case, (12, 12, 12), (8, 8, 8))
    centre = (slice(3, 5),) * 3
    np.testing.assert_array_equal(zoomed.labels[centre], plain.labels[centre])

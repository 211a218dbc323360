"""The two families of augmentation: each change by itself, and one family against the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from selfseg.train.augment import FULL, MILD, MIRROR_ONLY, Augmentation, in_loader, on_device
from selfseg.train.augment.draws import (
    INTENSITIES,
    IntensityStep,
    SampleDraw,
    draw_sample,
)
from selfseg.train.augment.spatial import values_in
from selfseg.train.sampling import Patch

CPU = torch.device("cpu")
Array = np.ndarray[Any, Any]

VALUES: dict[str, tuple[float, ...]] = {
    "noise": (0.05, 0.0),
    "blur": (0.8, 0.8, 0.8),
    "brightness": (1.2,),
    "contrast": (1.25,),
    "low_resolution": (7.0, 8.0, 9.0),
    "low_resolution_blur": (0.2, 0.9, 2.0),
    "gamma_inverted": (0.7,),
    "gamma": (1.5,),
}


def _image(size: Sequence[int], channels: int = 1, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(1, 2, (channels, *size)).astype(np.float32)


def _patch(size: Sequence[int], channels: int = 2, seed: int = 0) -> Patch:
    labels = np.random.default_rng(seed).integers(0, 3, size).astype(np.int16)
    return Patch(_image(size, channels, seed), labels, labels != 1)


def _draw(*steps: IntensityStep, axes: tuple[int, ...] = (), seed: int = 5) -> SampleDraw:
    return SampleDraw(None, steps, axes, seed)


def _in_loader(image: Array, draw: SampleDraw) -> Array:
    return in_loader.change_intensities(image, draw.intensities, draw.noise_seed)


def _on_device(image: Array, draw: SampleDraw) -> Array:
    images = torch.from_numpy(image)[None].clone()
    on_device.change_intensities(images, [draw])
    return images[0].numpy()


FAMILIES = pytest.mark.parametrize("change", [_in_loader, _on_device])


def _raw(patch: Patch, draw: SampleDraw) -> on_device.RawSample:
    assert patch.nonzero is not None
    return on_device.RawSample(
        torch.from_numpy(patch.image),
        torch.from_numpy(patch.labels),
        values_in(patch.labels),
        torch.from_numpy(patch.nonzero),
        None,
        draw,
    )


@FAMILIES
@pytest.mark.parametrize("kind", INTENSITIES)
def test_one_channel_is_changed_and_the_input_is_not(change: Any, kind: Any) -> None:
    image = _image((14, 16, 18), channels=3)
    before = image.copy()
    changed = change(image, _draw(IntensityStep(kind, 1, VALUES[kind])))
    np.testing.assert_array_equal(image, before)
    assert changed.dtype == np.float32
    np.testing.assert_array_equal(changed[[0, 2]], image[[0, 2]])
    assert np.abs(changed[1] - image[1]).mean() > 0.02


@FAMILIES
@pytest.mark.parametrize("kind", INTENSITIES)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_an_empty_channel_stays_finite(change: Any, kind: Any, value: float) -> None:
    image = np.full((1, 14, 16, 18), value, np.float32)
    changed = change(image, _draw(IntensityStep(kind, 0, VALUES[kind])))
    assert np.isfinite(changed).all()
    if kind not in ("noise", "brightness"):
        np.testing.assert_allclose(changed, image, rtol=1e-5)


@FAMILIES
@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_contrast_keeps_range_and_mean(change: Any, factor: float) -> None:
    image = _image((20, 20))
    changed = change(image, _draw(IntensityStep("contrast", 0, (factor,))))
    assert image.min() - 1e-6 <= changed.min()
    assert changed.max() <= image.max() + 1e-6
    if factor > 1:
        assert changed.min() == pytest.approx(image.min())
        assert changed.max() == pytest.approx(image.max())
    inner = (changed > changed.min()) & (changed < changed.max())
    wanted = (image - image.mean()) * factor + image.mean()
    np.testing.assert_allclose(changed[inner], wanted[inner], atol=1e-5)


@FAMILIES
@pytest.mark.parametrize("kind", ["gamma", "gamma_inverted"])
@pytest.mark.parametrize("gamma", [0.7, 1.5])
def test_gamma_keeps_mean_and_standard_deviation(change: Any, kind: Any, gamma: float) -> None:
    image = _image((20, 20))
    changed = change(image, _draw(IntensityStep(kind, 0, (gamma,))))
    assert changed.mean() == pytest.approx(image.mean(), abs=1e-4)
    assert changed.std() == pytest.approx(image.std(), rel=1e-3)
    assert (np.argsort(changed.ravel()) == np.argsort(image.ravel())).mean() > 0.99
    # Powers above 1 press dark values together, those of the inverted image bright ones.
    dark_pressed = (gamma > 1) == (kind == "gamma")
    assert (stats.skew(changed.ravel()) > stats.skew(image.ravel())) == dark_pressed


@FAMILIES
def test_noise_has_its_standard_deviation(change: Any) -> None:
    image = _image((30, 30, 30), channels=2)
    steps = [IntensityStep("noise", channel, (0.05, 0.0)) for channel in (0, 1)]
    noise = change(image, _draw(*steps)) - image
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.002)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03
    of_range = change(image, _draw(IntensityStep("noise", 0, (0.0, 0.01)))) - image
    extent = image[0].max() - image[0].min()
    assert of_range[0].std() == pytest.approx(0.01 * extent, rel=0.02)
    other = change(image, _draw(*steps, seed=6)) - image
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.03


@FAMILIES
@pytest.mark.parametrize("size", [(9, 12), (3, 12, 14), (2, 9, 9)])
def test_blur_is_gaussian(change: Any, size: tuple[int, ...]) -> None:
    image = _image(size)
    sigmas = (0.6, 1.4, 2.0)[: len(size)]
    changed = change(image, _draw(IntensityStep("blur", 0, sigmas)))
    np.testing.assert_allclose(changed[0], ndimage.gaussian_filter(image[0], sigmas), atol=1e-5)


@FAMILIES
def test_low_resolution_loses_detail_only(change: Any) -> None:
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None, None].repeat(32, axis=1)
    lower = _draw(IntensityStep("low_resolution", 0, (16.0, 16.0)))
    assert np.abs(change(ramp, lower) - ramp).max() < 0.05
    noise = _image((32, 32))
    assert change(noise, lower).std() < 0.8 * noise.std()
    flat = _draw(IntensityStep("low_resolution", 0, (4.0, 16.0, 16.0)))
    slices = np.arange(4, dtype=np.float32)[None, :, None, None] * np.ones((1, 4, 32, 32), "f4")
    np.testing.assert_allclose(change(slices, flat), slices, atol=1e-5)


@pytest.mark.parametrize("policy", [FULL, MILD, MIRROR_ONLY])
@pytest.mark.parametrize(
    ("size", "spacing"),
    [
        ((24, 28), (0.8, 0.8)),
        ((12, 14, 16), (2.0, 1.5, 1.0)),
        ((4, 20, 18), (6.0, 1.0, 1.0)),
    ],
)
def test_the_same_draw_gives_the_same_sample(
    policy: Augmentation, size: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    often = {
        name: 0.5
        for name in ("rotation", "scaling", "elastic", "noise", "blur", "brightness", "contrast")
        if getattr(policy, name)
    }
    policy = replace(policy, **often)
    rng = np.random.default_rng(0)
    draws = [draw_sample(policy, size, spacing, 2, 0, rng) for _ in range(12)]
    patches = [
        _patch(size if draw.spatial is None else draw.spatial.source_size(size), seed=i)
        for i, draw in enumerate(draws)
    ]
    samples = [_raw(patch, draw) for patch, draw in zip(patches, draws, strict=True)]
    images, labels, masks = on_device.augment_batch(samples, size, CPU)
    assert images.shape == (12, 2, *size)
    assert masks is not None
    for i, (patch, draw) in enumerate(zip(patches, draws, strict=True)):
        wanted = in_loader.augment_sample(patch, draw, size)
        np.testing.assert_allclose(images[i].numpy(), wanted.image, atol=1e-4)
        np.testing.assert_array_equal(labels[i].numpy(), wanted.labels)
        np.testing.assert_array_equal(masks[i].numpy(), wanted.nonzero)


QUIET = replace(
    FULL,
    **dict.fromkeys(("rotation", "scaling", "elastic", "blur", "contrast", "brightness"), 1.0),
    **dict.fromkeys(("low_resolution", "gamma", "gamma_inverted"), 1.0),
    noise=0.0,
)


@pytest.mark.parametrize("size", [(12, 14, 16), (4, 20, 18), (20, 24)])
@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_everything_is_computed_on_the_device(size: tuple[int, ...], device: str) -> None:
    # "meta" has shapes but no numbers, and refuses what lies elsewhere.
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no graphics card")
    rng = np.random.default_rng(0)
    for policy in (QUIET, replace(MILD, elastic=1.0, noise=0.0, low_resolution=1.0)):
        draws = [draw_sample(policy, size, (1.0,) * len(size), 2, 0, rng) for _ in range(3)]
        patches = [
            _patch(size if draw.spatial is None else draw.spatial.source_size(size))
            for draw in draws
        ]
        samples = [_raw(patch, draw) for patch, draw in zip(patches, draws, strict=True)]
        images, labels, masks = on_device.augment_batch(samples, size, torch.device(device))
        assert masks is not None
        assert {t.device.type for t in (images, labels, masks)} == {device}
        assert images.shape == (3, 2, *size)
        assert labels.shape == masks.shape == (3, *size)
        if device == "cuda":
            for i, (patch, draw) in enumerate(zip(patches, draws, strict=True)):
                wanted = in_loader.augment_sample(patch, draw, size)
                np.testing.assert_allclose(images[i].cpu().numpy(), wanted.image, atol=1e-3)
                assert (labels[i].cpu().numpy() == wanted.labels).mean() > 0.999


def _statistics(images: Array, labels: Array) -> dict[str, Array]:
    """Numbers per sample that each kind of change moves."""
    axes = tuple(range(1, images.ndim))
    steps = np.abs(np.diff(images, axis=-1)).mean(axis=axes)
    weights = np.linspace(-1, 1, images.shape[-1], dtype=np.float32)
    return {
        "mean": images.mean(axis=axes),
        "std": images.std(axis=axes),
        "skewness": np.array([stats.skew(image.ravel()) for image in images]),
        "lowest": images.min(axis=axes),
        "detail": steps,
        "side": (images * weights).mean(axis=axes),
        "foreground": (labels > 0).mean(axis=tuple(range(1, labels.ndim))),
    }


def _samples(family: str, policy: Augmentation, size: tuple[int, ...], seed: int) -> Any:
    """400 samples of one object, changed by a family with draws of its own."""
    z, y, x = np.meshgrid(*(np.arange(40, dtype=np.float32),) * 3, indexing="ij")
    distance = np.sqrt((z - 19) ** 2 + (y - 17) ** 2 + (x - 23) ** 2)
    image = (np.exp(-distance / 6) * 3 + 0.3 * np.sin(x)).astype(np.float32)
    whole = np.pad(image, 20)
    inside = np.pad((distance < 5).astype(np.int16), 20)
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(400):
        draw = draw_sample(policy, size, (1.0,) * 3, 1, 0, rng)
        source = size if draw.spatial is None else draw.spatial.source_size(size)
        box = tuple(slice(40 - n // 2, 40 - n // 2 + n) for n in source)
        patch = Patch(whole[box][None].copy(), inside[box].copy(), inside[box] == 0)
        if family == "loader":
            changed = in_loader.augment_sample(patch, draw, size)
            images.append(changed.image[0])
            labels.append(changed.labels)
        else:
            found = on_device.augment_batch([_raw(patch, draw)], size, CPU)
            images.append(found[0][0, 0].numpy())
            labels.append(found[1][0].numpy())
    return _statistics(np.stack(images), np.stack(labels))


ONE_AT_A_TIME = {
    "rotation": replace(MIRROR_ONLY, rotation=1.0, mirror=0.0),
    "scaling": replace(MIRROR_ONLY, scaling=1.0, mirror=0.0),
    "elastic": replace(MIRROR_ONLY, elastic=1.0, mirror=0.0),
    "noise": replace(MIRROR_ONLY, noise=1.0, mirror=0.0),
    "blur": replace(MIRROR_ONLY, blur=1.0, mirror=0.0),
    "brightness": replace(MIRROR_ONLY, brightness=1.0, mirror=0.0),
    "contrast": replace(MIRROR_ONLY, contrast=1.0, mirror=0.0),
    "low resolution": replace(MIRROR_ONLY, low_resolution=1.0, mirror=0.0),
    "low resolution in mm": replace(
        MILD, rotation=0, scaling=0, elastic=0, noise=0, low_resolution=1.0, mirror=0.0
    ),
    "gamma inverted": replace(MIRROR_ONLY, gamma_inverted=1.0, mirror=0.0),
    "gamma": replace(MIRROR_ONLY, gamma=1.0, mirror=0.0),
    "mirror": MIRROR_ONLY,
    "full": FULL,
    "mild": MILD,
}


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_both_families_have_the_same_distributions(name: str, one_thread: None) -> None:
    policy = ONE_AT_A_TIME[name]
    in_the_loader = _samples("loader", policy, (12, 12, 12), seed=1)
    on_the_device = _samples("device", policy, (12, 12, 12), seed=2)
    moved = 0
    for statistic, values in in_the_loader.items():
        others = on_the_device[statistic]
        moved += np.ptp(values) > 1e-4 * np.abs(values).max()
        # Rounded, for what a change keeps differs by rounding errors only.
        scale = max(np.abs(values).max(), 1e-6) * 1e-4
        rounded = np.round(values / scale), np.round(others / scale)
        test = stats.ks_2samp(*rounded, method="asymp")
        assert test.pvalue > 1e-3, f"{statistic}: {test.pvalue}"
    assert moved > 0


def test_another_distribution_would_be_noticed() -> None:
    stronger = replace(ONE_AT_A_TIME["contrast"], contrast_range=(0.65, 1.35))
    usual = _samples("loader", ONE_AT_A_TIME["contrast"], (12, 12, 12), seed=1)
    other = _samples("device", stronger, (12, 12, 12), seed=2)
    assert stats.ks_2samp(usual["std"], other["std"]).pvalue < 1e-3

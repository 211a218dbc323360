"""What is drawn for one sample, before anything is computed.

Both families of augmentation (`in_loader`, `on_device`) apply what is drawn here, so that their
parameters have the same distributions by construction. Sizes are voxels; a patch has two or
three spatial axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .policy import Augmentation
from .previous import PreviousStep, draw_previous
from .spatial import SpatialDraw, draw_spatial, is_slice_wise

WIDEST_SIGMA = 4.0
"""Voxels. Voxels finer than a quarter of `low_resolution_sigma_mm` are not of the scans that the
mild policy is made for, and a kernel of any width would cost any time."""

Intensity = Literal[
    "noise",
    "blur",
    "brightness",
    "contrast",
    "low_resolution",
    "low_resolution_blur",
    "gamma_inverted",
    "gamma",
]
INTENSITIES: tuple[Intensity, ...] = get_args(Intensity)
"""In the order in which they are applied (RECIPE)."""


@dataclass(frozen=True)
class IntensityStep:
    """One change of one channel.

    `values`: noise: the standard deviation, as it is and as a share of the channel's range (one
    of them is 0); blurs: standard deviations in voxels per axis; brightness, contrast: the
    factor; low_resolution: voxels per axis of the small image; gamma: the exponent.
    """

    kind: Intensity
    channel: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class SampleDraw:
    """All that is done to a sample; noise comes from a generator seeded with `noise_seed`."""

    spatial: SpatialDraw | None
    intensities: tuple[IntensityStep, ...]
    mirror_axes: tuple[int, ...]
    noise_seed: int
    previous: tuple[PreviousStep, ...] = ()


def draw_sample(
    policy: Augmentation,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    channels: int,
    previous_labels: int,
    rng: np.random.Generator,
) -> SampleDraw:
    """Draws everything for one sample.

    Args:
        policy: probabilities and ranges.
        patch_size: voxels per axis, two or three.
        spacing: mm per axis of the patch.
        channels: of the image, cascade input left out.
        previous_labels: how many labels the previous stage can give; 0 without a cascade.
        rng: the sample's own generator.
    """
    spatial = draw_spatial(policy, patch_size, spacing, rng)
    intensities = draw_intensities(policy, patch_size, spacing, channels, rng)
    axes = tuple(axis for axis in range(len(patch_size)) if rng.random() < policy.mirror)
    noise_seed = int(rng.integers(2**63))
    previous = draw_previous(policy, patch_size, previous_labels, rng) if previous_labels else ()
    return SampleDraw(spatial, intensities, axes, noise_seed, previous)


def draw_intensities(
    policy: Augmentation,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    channels: int,
    rng: np.random.Generator,
) -> tuple[IntensityStep, ...]:
    """Draws noise, blur, brightness, contrast, low resolution and gamma, in this order."""
    everyone = range(channels)
    steps: list[IntensityStep] = []
    if rng.random() < policy.noise:
        std = float(rng.uniform(*policy.noise_std))
        stds = (0.0, std) if policy.noise_of_range else (std, 0.0)
        steps += [IntensityStep("noise", c, stds) for c in everyone]
    if rng.random() < policy.blur:
        for c in _some(everyone, policy.per_channel, rng):
            sigma = float(rng.uniform(*policy.blur_sigma))
            steps.append(IntensityStep("blur", c, (sigma,) * len(patch_size)))
    if rng.random() < policy.brightness:
        for c in everyone:
            factor = _around_one(policy.brightness_range, rng)
            steps.append(IntensityStep("brightness", c, (factor,)))
    if rng.random() < policy.contrast:
        for c in everyone:
            factor = _around_one(policy.contrast_range, rng)
            steps.append(IntensityStep("contrast", c, (factor,)))
    if rng.random() < policy.low_resolution:
        for c in _some(everyone, policy.per_channel, rng):
            steps.append(_low_resolution(policy, patch_size, spacing, c, rng))
    inverted: Sequence[tuple[float, Intensity]] = (
        (policy.gamma_inverted, "gamma_inverted"),
        (policy.gamma, "gamma"),
    )
    for probability, kind in inverted:
        if rng.random() < probability:
            for c in everyone:
                steps.append(IntensityStep(kind, c, (_around_one(policy.gamma_range, rng),)))
    return tuple(steps)


def _low_resolution(
    policy: Augmentation,
    patch_size: Sequence[int],
    spacing: Sequence[float],
    channel: int,
    rng: np.random.Generator,
) -> IntensityStep:
    if policy.low_resolution_sigma_mm is not None:
        sigma = policy.low_resolution_sigma_mm
        sigmas = tuple(min(sigma / mm, WIDEST_SIGMA) for mm in spacing)
        return IntensityStep("low_resolution_blur", channel, sigmas)
    zoom = float(rng.uniform(*policy.low_resolution_zoom))
    small = [float(max(1, round(n * zoom))) for n in patch_size]
    if is_slice_wise(patch_size):
        small[0] = float(patch_size[0])
    return IntensityStep("low_resolution", channel, tuple(small))


def _some(labels: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    return [label for label in labels if rng.random() < share]


def _around_one(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """A factor: half the draws uniform below 1, half above (RECIPE)."""
    low, high = limits
    below = low < 1 and rng.random() < 0.5
    return float(rng.uniform(low, 1) if below else rng.uniform(max(low, 1), high))

"""Augmentation of one sample on the processor, in the threads or processes that load batches.

Blur, brightness and contrast are batchgenerators'. Its other functions draw their random
numbers from the generator that all threads of a process share, or are several times slower than
what is used here (docs/decisions/0007-augmentation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from batchgenerators.augmentations.color_augmentations import (
    augment_brightness_multiplicative,
    augment_contrast,
)
from batchgenerators.augmentations.noise_augmentations import augment_gaussian_blur
from scipy import ndimage
from torch.nn import functional

from ...domain.case import FloatArray
from ..sampling import LabelArray, Patch
from .draws import IntensityStep, SampleDraw
from .previous import change_previous
from .spatial import SpatialDraw, sample_labels, sample_linearly, sampling_grid, values_in

FLAT = 1e-7
"""A channel of a smaller range has no contrast that gamma could change."""


def augment_sample(
    patch: Patch, draw: SampleDraw, patch_size: Sequence[int], previous_values: Sequence[int] = ()
) -> Patch:
    """Applies all that was drawn to one sample.

    Args:
        patch: image (C, *source) and so on, source being what `draw.spatial` asks for.
        draw: what to do.
        patch_size: voxels per axis of the result.
        previous_values: of the previous stage's labels, in the order they were counted in.
    """
    if draw.spatial is not None:
        patch = turn(patch, draw.spatial, patch_size)
    image = change_intensities(patch.image, draw.intensities, draw.noise_seed)
    changed = mirror(Patch(image, patch.labels, patch.nonzero), draw.mirror_axes)
    previous = patch.previous
    if previous is not None:
        previous = change_previous(
            np.flip(previous, draw.mirror_axes), draw.previous, previous_values
        )
    return Patch(changed.image, changed.labels, changed.nonzero, previous)


def finish_previous(
    previous: LabelArray,
    draw: SampleDraw,
    patch_size: Sequence[int],
    previous_values: Sequence[int],
) -> LabelArray:
    """The previous stage's label map alone, as `augment_sample` gives it.

    Args:
        previous: (*source).
        draw: what to do.
        patch_size: voxels per axis of the result.
        previous_values: see `augment_sample`.
    """
    if draw.spatial is not None:
        grid = sampling_grid(draw.spatial, patch_size, previous.shape)
        previous = sample_labels(torch.from_numpy(previous), values_in(previous), grid).numpy()
    return change_previous(np.flip(previous, draw.mirror_axes), draw.previous, previous_values)


def turn(patch: Patch, draw: SpatialDraw, patch_size: Sequence[int]) -> Patch:
    """Samples a turned, scaled and deformed patch from a box around it with the same centre.

    Images are interpolated linearly; labels linearly per value, the strongest value winning;
    the mask linearly, one half being inside. What lies outside is 0.

    Args:
        patch: image (C, *draw.source_size(patch_size)) and so on.
        draw: what to do.
        patch_size: voxels per axis of the result.
    """
    grid = sampling_grid(draw, patch_size, patch.labels.shape)
    image = sample_linearly(torch.from_numpy(patch.image), grid).numpy()
    labels = sample_labels(torch.from_numpy(patch.labels), values_in(patch.labels), grid).numpy()
    nonzero = previous = None
    if patch.nonzero is not None:
        inside = torch.from_numpy(patch.nonzero).float()
        nonzero = (sample_linearly(inside, grid) > 0.5).numpy()
    if patch.previous is not None:
        stage = torch.from_numpy(patch.previous)
        previous = sample_labels(stage, values_in(patch.previous), grid).numpy()
    return Patch(image, labels, nonzero, previous)


def change_intensities(
    image: FloatArray, steps: Sequence[IntensityStep], noise_seed: int
) -> FloatArray:
    """Applies the steps in order to a copy of an image (C, *size) float32."""
    if not steps:
        return image
    image = np.array(image, order="C")
    generator = torch.Generator().manual_seed(noise_seed)
    for step in steps:
        channel = image[step.channel : step.channel + 1]  # a view: all changes are made in place
        value = step.values[0]
        if step.kind == "noise":
            noise = torch.randn(channel.shape[1:], generator=generator)
            channel[0] += np.float32(_noise_std(channel[0], step)) * noise.numpy()
        elif step.kind in ("blur", "low_resolution_blur"):
            blur(channel, step.values)
        elif step.kind == "brightness":
            augment_brightness_multiplicative(channel, (value, value), per_channel=True)
        elif step.kind == "contrast":
            augment_contrast(channel, lambda factor=value: factor)
        elif step.kind == "low_resolution":
            channel[0] = lower_resolution(channel[0], [int(n) for n in step.values])
        elif step.kind == "gamma_inverted":
            channel[0] = -change_gamma(-channel[0], value)
        else:
            channel[0] = change_gamma(channel[0], value)
    return image


def blur(channel: FloatArray, sigmas: Sequence[float]) -> None:
    """Gaussian blur of (1, *size) in place, standard deviations in voxels per axis."""
    if len(set(sigmas)) == 1:
        augment_gaussian_blur(channel, (sigmas[0], sigmas[0]))
    else:
        channel[0] = ndimage.gaussian_filter(channel[0], sigmas)


def change_gamma(channel: FloatArray, gamma: float) -> FloatArray:
    """The channel, scaled to 0..1, to the power of gamma; mean and standard deviation kept."""
    mean, std, low = channel.mean(), channel.std(), channel.min()
    extent = channel.max() - low
    if extent < FLAT:
        return channel
    changed = ((channel - low) / extent) ** np.float32(gamma)
    spread = changed.std()
    kept: FloatArray = (changed - changed.mean()) * (std / max(spread, 1e-8)) + mean
    return kept.astype(np.float32, copy=False)


def lower_resolution(channel: FloatArray, small: Sequence[int]) -> FloatArray:
    """Shrinks a channel to `small` by nearest neighbour and enlarges it again linearly."""
    tensor = torch.from_numpy(np.ascontiguousarray(channel))[None, None]
    mode = "bilinear" if channel.ndim == 2 else "trilinear"
    shrunk = functional.interpolate(tensor, list(small), mode="nearest-exact")
    return functional.interpolate(shrunk, list(channel.shape), mode=mode)[0, 0].numpy()


def mirror(patch: Patch, axes: tuple[int, ...]) -> Patch:
    """Flips the given spatial axes (a view)."""
    if not axes:
        return patch
    return Patch(
        np.flip(patch.image, tuple(axis + 1 for axis in axes)),
        np.flip(patch.labels, axes),
        None if patch.nonzero is None else np.flip(patch.nonzero, axes),
        None if patch.previous is None else np.flip(patch.previous, axes),
    )


def _noise_std(channel: FloatArray, step: IntensityStep) -> float:
    absolute, of_range = step.values
    if of_range:
        absolute += of_range * float(channel.max() - channel.min())
    return absolute

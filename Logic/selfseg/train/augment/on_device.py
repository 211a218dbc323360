"""Augmentation of a whole batch in torch, on the device that trains.

The same changes as `in_loader`, from the same draws. The steps of one kind are made at once for
all channels of all samples that have them; nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...domain.case import FloatArray
from .draws import INTENSITIES, Intensity, SampleDraw
from .spatial import sample_labels, sample_linearly, sampling_grid

BLUR_TRUNCATE = 4.0
"""Kernels end after this many standard deviations, as SciPy's do."""

FLAT = 1e-7
"""A channel of a smaller range has no contrast that gamma could change."""


@dataclass(frozen=True)
class RawSample:
    """A sample as it was read.

    image (C, *source) float32, labels (*source) int16 that hold `values`, nonzero (*source)
    bool or None; source is what `draw.spatial` asks for. `previous` (*patch) int16 or None is
    finished already: its morphology works on the processor only.
    """

    image: Tensor
    labels: Tensor
    values: tuple[int, ...]
    nonzero: Tensor | None
    previous: Tensor | None
    draw: SampleDraw


@torch.no_grad()
def augment_batch(
    samples: Sequence[RawSample], patch_size: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Applies all that was drawn, but for the previous stage's label map.

    Returns:
        images (B, C, *patch) float32, labels (B, *patch) int16, nonzero masks (B, *patch) bool
        or None, all on the device.
    """
    turned = [_turned(sample, patch_size, device) for sample in samples]
    draws = [sample.draw for sample in samples]
    images = torch.stack([image for image, _, _ in turned])
    change_intensities(images, draws)
    labels = [labels for _, labels, _ in turned]
    masks = [mask for _, _, mask in turned if mask is not None]
    for number, draw in enumerate(draws):
        if draw.mirror_axes:
            images[number] = images[number].flip([axis + 1 for axis in draw.mirror_axes])
            labels[number] = labels[number].flip(draw.mirror_axes)
            if masks:
                masks[number] = masks[number].flip(draw.mirror_axes)
    return images, torch.stack(labels), torch.stack(masks) if masks else None


def _turned(
    sample: RawSample, patch_size: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Image, labels and mask of the size of the patch, on the device."""
    image = sample.image.to(device, non_blocking=True)
    labels = sample.labels.to(device, non_blocking=True)
    nonzero = sample.nonzero
    if nonzero is not None:
        nonzero = nonzero.to(device, non_blocking=True)
    if sample.draw.spatial is None:
        return image, labels, nonzero
    grid = sampling_grid(sample.draw.spatial, patch_size, labels.shape, device)
    return (
        sample_linearly(image, grid),
        sample_labels(labels, sample.values, grid),
        None if nonzero is None else sample_linearly(nonzero.float(), grid) > 0.5,
    )


def change_intensities(images: Tensor, draws: Sequence[SampleDraw]) -> None:
    """Applies every sample's intensity steps to images (B, C, *patch), in place."""
    channels = images.shape[1]
    rows_of_all = images.view(-1, *images.shape[2:])  # (B * C, *patch)
    for kind in INTENSITIES:
        rows: list[int] = []
        values: list[tuple[float, ...]] = []
        for sample, draw in enumerate(draws):
            for step in draw.intensities:
                if step.kind == kind:
                    rows.append(sample * channels + step.channel)
                    values.append(step.values)
        if not rows:
            continue
        if kind == "noise":
            seeds = [draw.noise_seed for draw in draws]
            _add_noise(rows_of_all, rows, values, channels, seeds)
        elif kind == "low_resolution":
            for row, small in zip(rows, values, strict=True):
                rows_of_all[row] = lower_resolution(rows_of_all[row], [int(n) for n in small])
        else:
            index = torch.tensor(rows, device=images.device)
            chosen = rows_of_all.index_select(0, index)
            changed = CHANGES[kind](chosen, np.array(values, np.float32))
            rows_of_all.index_copy_(0, index, changed)


def _add_noise(
    rows_of_all: Tensor,
    rows: Sequence[int],
    values: Sequence[tuple[float, ...]],
    channels: int,
    seeds: Sequence[int],
) -> None:
    """Adds noise in place; a sample's channels take theirs in turn from its own generator."""
    generators: dict[int, torch.Generator] = {}
    for row, (absolute, of_range) in zip(rows, values, strict=True):
        image, sample = rows_of_all[row], row // channels
        if sample not in generators:
            generators[sample] = torch.Generator(image.device).manual_seed(seeds[sample])
        noise = torch.randn(image.shape, generator=generators[sample], device=image.device)
        if of_range:
            low, high = torch.aminmax(image)
            noise *= absolute + of_range * (high - low)
        else:
            noise *= absolute
        image += noise


def blur(images: Tensor, sigmas: FloatArray) -> Tensor:
    """Gaussian blur of images (N, *patch); standard deviations (N, axes) in voxels.

    One axis after the other, as a sum of shifted images: convolutions of one channel each take
    three times as long on the processor.
    """
    for axis in range(1, images.ndim):
        size = images.shape[axis]
        kernels = _half_kernels(sigmas[:, axis - 1])
        widest = len(kernels) - 1
        weights = [_per_image(row, images) for row in kernels]
        # The image goes on mirrored at its outer edges, as in SciPy.
        index = torch.from_numpy(np.pad(np.arange(size), widest, mode="symmetric"))
        padded = images.index_select(axis, index.to(images.device))
        images = images * weights[0]
        for shift in range(1, widest + 1):
            before = padded.narrow(axis, widest - shift, size)
            after = padded.narrow(axis, widest + shift, size)
            images.addcmul_(before + after, weights[shift])
    return images


def change_brightness(images: Tensor, factors: FloatArray) -> Tensor:
    """Images (N, *patch) times a factor (N, 1) each."""
    return images * _per_image(factors[:, 0], images)


def change_contrast(images: Tensor, factors: FloatArray) -> Tensor:
    """Spreads (or presses) images (N, *patch) around their means, within their former range."""
    axes = tuple(range(1, images.ndim))
    mean = images.mean(axes, keepdim=True)
    spread = (images - mean) * _per_image(factors[:, 0], images) + mean
    return spread.clamp_(images.amin(axes, keepdim=True), images.amax(axes, keepdim=True))


def change_gamma(images: Tensor, gammas: FloatArray) -> Tensor:
    """Images (N, *patch), scaled to 0..1, to a power each; mean and standard deviation kept."""
    axes = tuple(range(1, images.ndim))
    low = images.amin(axes, keepdim=True)
    extent = images.amax(axes, keepdim=True) - low
    std, mean = torch.std_mean(images, axes, correction=0, keepdim=True)
    changed = ((images - low) / extent.clamp_min(FLAT)).pow_(_per_image(gammas[:, 0], images))
    new_std, new_mean = torch.std_mean(changed, axes, correction=0, keepdim=True)
    changed = (changed - new_mean).mul_(std / new_std.clamp_min(1e-8)).add_(mean)
    return torch.where(extent < FLAT, images, changed)


def change_gamma_inverted(images: Tensor, gammas: FloatArray) -> Tensor:
    """`change_gamma` of the inverted images, inverted back."""
    return -change_gamma(-images, gammas)


def lower_resolution(image: Tensor, small: Sequence[int]) -> Tensor:
    """Shrinks an image (*patch) to `small` by nearest neighbour and enlarges it linearly."""
    mode = "bilinear" if image.ndim == 2 else "trilinear"
    shrunk = functional.interpolate(image[None, None], list(small), mode="nearest-exact")
    return functional.interpolate(shrunk, list(image.shape), mode=mode)[0, 0]


CHANGES: Mapping[Intensity, Callable[[Tensor, FloatArray], Tensor]] = {
    "blur": blur,
    "brightness": change_brightness,
    "contrast": change_contrast,
    "low_resolution_blur": blur,
    "gamma_inverted": change_gamma_inverted,
    "gamma": change_gamma,
}
"""Each takes images (N, *patch) and values (N, ...), and returns new images."""


def _per_image(values: FloatArray, images: Tensor) -> Tensor:
    """Numbers (N,) as a tensor that multiplies images (N, *patch)."""
    shape = (-1, *(1,) * (images.ndim - 1))
    return torch.from_numpy(np.ascontiguousarray(values)).reshape(shape).to(images.device)


def _half_kernels(sigmas: FloatArray) -> FloatArray:
    """Gaussians from their centre outwards (radius + 1, N), each of its own radius, sum 1."""
    radii = np.floor(BLUR_TRUNCATE * sigmas.astype(float) + 0.5)
    away = np.arange(int(radii.max()) + 1)[:, None]
    kernels = np.exp(-0.5 * (away / np.maximum(sigmas, 1e-6)) ** 2) * (away <= radii)
    kernels /= kernels[0] + 2 * kernels[1:].sum(axis=0)
    return kernels.astype(np.float32)

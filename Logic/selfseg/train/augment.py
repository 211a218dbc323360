"""Random changes to training samples: spatial, intensity, mirroring (RECIPE's order).

Each sample is changed on its own, with random numbers of its own batch. Arrays here have two
or three spatial axes: image (C, *size).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from ..domain.case import FloatArray
from .sampling import Patch


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges; the defaults are RECIPE's.

    Angles are degrees. `rotation_2d` holds for 2D patches and for slice-wise rotation,
    `rotation_2d_elongated` for 2D patches of which one side is 1.5 times the other.
    """

    rotation: float = 0.2
    rotation_3d_degrees: float = 30.0
    rotation_2d_degrees: float = 180.0
    rotation_2d_elongated_degrees: float = 15.0
    scaling: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    noise: float = 0.1
    noise_std: tuple[float, float] = (0.0, 0.1)
    blur: float = 0.2
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution: float = 0.25
    low_resolution_zoom: tuple[float, float] = (0.5, 1.0)
    gamma_inverted: float = 0.1
    gamma: float = 0.3
    gamma_range: tuple[float, float] = (0.7, 1.5)
    per_channel: float = 0.5
    mirror: float = 0.5


FULL = Augmentation()

MIRROR_ONLY = Augmentation(
    rotation=0.0,
    scaling=0.0,
    noise=0.0,
    blur=0.0,
    brightness=0.0,
    contrast=0.0,
    low_resolution=0.0,
    gamma_inverted=0.0,
    gamma=0.0,
)

POLICIES: Mapping[str, Augmentation] = {"full": FULL, "mirror": MIRROR_ONLY}
"""By the name that a schedule gives."""

ELONGATED_2D = 1.5
"""A 2D patch with a longer ratio of sides is turned by small angles only."""

SLICE_WISE_ABOVE = 3.0
"""A 3D patch whose largest axis is this many times its first is turned slice by slice."""


@dataclass(frozen=True)
class SpatialDraw:
    """A rotation and scaling: `matrix` takes output offsets from the centre to source offsets."""

    matrix: FloatArray

    def source_size(self, patch_size: Sequence[int]) -> tuple[int, ...]:
        """Voxels per axis of the box that the patch is sampled from."""
        extent = np.abs(self.matrix) @ np.array(patch_size, np.float32)
        return tuple(
            # Even differences keep the centres of both boxes on the same point; the quarter is
            # for the neighbours that interpolation looks at.
            n if abs(wide - n) < 1e-3 else n + 2 * max(0, int(np.ceil((wide - n) / 2 + 0.25)))
            for n, wide in zip(patch_size, extent, strict=True)
        )


def draw_spatial(
    policy: Augmentation, patch_size: Sequence[int], rng: np.random.Generator
) -> SpatialDraw | None:
    """Draws rotation and scaling for one sample; None leaves it as it is."""
    turn = rng.random() < policy.rotation
    zoom = rng.random() < policy.scaling
    if not turn and not zoom:
        return None
    slice_wise = is_slice_wise(patch_size)
    dimensions = len(patch_size)
    matrix = np.eye(dimensions)
    if turn and dimensions == 3 and not slice_wise:
        limit = np.deg2rad(policy.rotation_3d_degrees)
        for axis, angle in enumerate(rng.uniform(-limit, limit, 3)):
            matrix = matrix @ _rotation(angle, axis)
    elif turn:
        short, long = sorted(patch_size[-2:])
        elongated = dimensions == 2 and long > ELONGATED_2D * short
        degrees = policy.rotation_2d_elongated_degrees if elongated else policy.rotation_2d_degrees
        angle = np.deg2rad(rng.uniform(-degrees, degrees))
        matrix[-2:, -2:] = _rotation(angle, 0)[1:, 1:]
    if zoom:
        factor = rng.uniform(*policy.scaling_range)
        first = 1 if slice_wise else 0
        matrix[first:, first:] *= factor
    return SpatialDraw(matrix.astype(np.float32))


def is_slice_wise(patch_size: Sequence[int]) -> bool:
    """Whether a patch is so flat that it is turned and scaled slice by slice (RECIPE)."""
    return len(patch_size) == 3 and max(patch_size) > SLICE_WISE_ABOVE * patch_size[0]


def apply_spatial(patch: Patch, draw: SpatialDraw, patch_size: Sequence[int]) -> Patch:
    """Samples a turned and scaled patch from a box around it with the same centre.

    Images are interpolated linearly, labels linearly per value with the strongest value
    winning, the mask by nearest neighbour. What lies outside is 0.

    Args:
        patch: image (C, *draw.source_size(patch_size)) and so on.
        draw: what to do.
        patch_size: voxels per axis of the result.
    """
    source_size = patch.labels.shape
    offsets = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in patch_size]
    points = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1)  # (*patch, axes)
    points = points @ draw.matrix.T
    points /= np.array(source_size, np.float32) / 2  # -1..1 between the outer voxel edges
    grid = torch.from_numpy(np.ascontiguousarray(points[..., ::-1]))[None]  # (x, y, z) order

    present = np.unique(patch.labels)
    heads = [patch.labels == value for value in present if value != 0]
    stacked = np.stack([*patch.image, *heads]).astype(np.float32)  # (C + values, *source)
    sampled = _grid_sample(stacked, grid, "bilinear")
    channels = len(patch.image)
    image, shares = sampled[:channels], sampled[channels:]
    labels = np.zeros(tuple(patch_size), np.int16)
    if len(shares):
        values = np.array([0, *present[present != 0]], np.int16)
        background = 1 - shares.sum(axis=0, keepdims=True)
        labels = values[np.concatenate((background, shares)).argmax(axis=0)]
    nonzero = None
    if patch.nonzero is not None:
        nonzero = _grid_sample(patch.nonzero[None].astype(np.float32), grid, "nearest")[0] > 0.5
    return Patch(image, labels, nonzero)


def change_intensities(
    image: FloatArray, policy: Augmentation, rng: np.random.Generator
) -> FloatArray:
    """Noise, blur, brightness, contrast, low resolution and gamma on (C, *size)."""
    image = image.copy()
    channels = range(len(image))
    if rng.random() < policy.noise:
        std = np.float32(rng.uniform(*policy.noise_std))
        image += std * rng.standard_normal(image.shape, np.float32)
    if rng.random() < policy.blur:
        for c in _some(channels, policy.per_channel, rng):
            image[c] = ndimage.gaussian_filter(image[c], rng.uniform(*policy.blur_sigma))
    if rng.random() < policy.brightness:
        for c in channels:
            image[c] *= np.float32(_around_one(policy.brightness_range, rng))
    if rng.random() < policy.contrast:
        for c in channels:
            change_contrast(image[c], _around_one(policy.contrast_range, rng))
    if rng.random() < policy.low_resolution:
        for c in _some(channels, policy.per_channel, rng):
            image[c] = lower_resolution(image[c], rng.uniform(*policy.low_resolution_zoom))
    for probability, sign in ((policy.gamma_inverted, -1), (policy.gamma, 1)):
        if rng.random() < probability:
            for c in channels:
                image[c] = sign * change_gamma(
                    sign * image[c], _around_one(policy.gamma_range, rng)
                )
    return image


def change_contrast(channel: FloatArray, factor: float) -> None:
    """Spreads (or presses) a channel around its mean, in place, within its former range."""
    low, high, mean = channel.min(), channel.max(), channel.mean()
    channel -= mean
    channel *= np.float32(factor)
    channel += mean
    np.clip(channel, low, high, out=channel)


def change_gamma(channel: FloatArray, gamma: float) -> FloatArray:
    """The channel, scaled to 0..1, to the power of gamma; mean and standard deviation kept."""
    mean, std, low = channel.mean(), channel.std(), channel.min()
    extent = channel.max() - low
    if extent < 1e-7:
        return channel
    changed = ((channel - low) / extent) ** np.float32(gamma)
    spread = changed.std()
    kept: FloatArray = (changed - changed.mean()) * (std / max(spread, 1e-8)) + mean
    return kept.astype(np.float32, copy=False)


def lower_resolution(channel: FloatArray, zoom: float) -> FloatArray:
    """Shrinks a channel by nearest neighbour and enlarges it again linearly."""
    tensor = torch.from_numpy(np.ascontiguousarray(channel))[None, None]
    small = [max(1, round(n * zoom)) for n in channel.shape]
    mode = "bilinear" if channel.ndim == 2 else "trilinear"
    shrunk = functional.interpolate(tensor, small, mode="nearest-exact")
    return functional.interpolate(shrunk, list(channel.shape), mode=mode)[0, 0].numpy()


def mirror(patch: Patch, policy: Augmentation, rng: np.random.Generator) -> Patch:
    """Flips every axis with the policy's probability."""
    axes = tuple(axis for axis in range(patch.labels.ndim) if rng.random() < policy.mirror)
    if not axes:
        return patch
    nonzero = None if patch.nonzero is None else np.flip(patch.nonzero, axes)
    image = np.flip(patch.image, tuple(axis + 1 for axis in axes))
    return Patch(image, np.flip(patch.labels, axes), nonzero)


def _rotation(angle: float, axis: int) -> FloatArray:
    """Rotation matrix (3, 3) about one axis, in radians."""
    matrix = np.eye(3)
    i, j = (k for k in range(3) if k != axis)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix.astype(np.float32)


def _grid_sample(stacked: FloatArray, grid: torch.Tensor, mode: str) -> FloatArray:
    tensor = torch.from_numpy(np.ascontiguousarray(stacked))[None]
    sampled = functional.grid_sample(tensor, grid, mode, "zeros", align_corners=False)
    return sampled[0].numpy()


def _some(channels: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    return [c for c in channels if rng.random() < share]


def _around_one(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """A factor: half the draws uniform below 1, half above (RECIPE)."""
    low, high = limits
    below = low < 1 and rng.random() < 0.5
    return float(rng.uniform(low, 1) if below else rng.uniform(max(low, 1), high))

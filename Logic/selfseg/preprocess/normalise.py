"""Intensity normalisation: one function per scheme, in one explicit registry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import ImageError, PlanError
from ..domain.fingerprint import IntensityProperties

SMALLEST_DIVISOR = 1e-8
"""What a vanishing standard deviation or maximum is replaced by."""

_PIECE = 2**20

Mask = NDArray[np.bool_]
Scheme = Callable[[NDArray[np.float32], IntensityProperties, Mask | None], None]
"""Changes one channel (Z, Y, X) in place, within the mask where there is one."""


def normalise(
    channels: NDArray[np.float32],
    schemes: tuple[str, ...],
    in_mask: tuple[bool, ...],
    intensities: tuple[IntensityProperties, ...],
    nonzero: Mask | None,
) -> None:
    """Normalises each channel in place.

    Args:
        channels: (C, Z, Y, X).
        schemes: per channel a key of `SCHEMES`.
        in_mask: per channel whether only voxels of the nonzero mask are seen and changed.
        intensities: per channel, of the training data's foreground.
        nonzero: (Z, Y, X); needed where some channel is normalised in the mask.

    Raises:
        PlanError: the plan does not fit the number of channels, or names an unknown scheme.
        ImageError: a channel cannot be normalised as planned.
    """
    count = len(channels)
    if not (len(schemes) == len(in_mask) == len(intensities) == count):
        raise PlanError(
            "the plan is for images with another number of channels",
            expected=f"{len(schemes)} channels (and intensities of {len(intensities)})",
            found=f"{count} channels",
            cure="give the images the channels named in dataset.json, in that order",
        )
    for channel, name, masked, properties in zip(
        channels, schemes, in_mask, intensities, strict=True
    ):
        if name not in SCHEMES:
            raise PlanError(
                f"the plan names an unknown normalisation {name!r}",
                expected="one of " + ", ".join(SCHEMES),
                found=name,
                cure="plan again with `selfseg plan`, or correct the plan file",
            )
        SCHEMES[name](channel, properties, nonzero if masked else None)


def _by_dataset(
    channel: NDArray[np.float32], properties: IntensityProperties, mask: Mask | None
) -> None:
    """CT: numbers have a meaning, so all images get the same shift and scale.

    The mask is not used, as in nnU-Net.
    """
    np.clip(channel, properties.percentile_00_5, properties.percentile_99_5, out=channel)
    channel -= properties.mean
    channel /= max(properties.std, SMALLEST_DIVISOR)


def _by_image(
    channel: NDArray[np.float32], properties: IntensityProperties, mask: Mask | None
) -> None:
    """Zero mean and unit standard deviation of the image, or of what the mask covers of it."""
    if mask is not None and not mask.all():
        inside = channel[mask]
        if len(inside):
            _standardise(inside)
            channel[mask] = inside
    else:
        _standardise(channel)


def _standardise(voxels: NDArray[np.float32]) -> None:
    """Zero mean, unit deviation, in place; sums in float64, a bounded piece at a time."""
    voxels -= np.float32(voxels.mean(dtype=np.float64))
    flat = voxels.reshape(-1)
    squares = 0.0
    for first in range(0, flat.size, _PIECE):
        piece = flat[first : first + _PIECE].astype(np.float64)
        squares += float(piece @ piece)
    voxels /= np.float32(max(math.sqrt(squares / flat.size), SMALLEST_DIVISOR))


def _keep(channel: NDArray[np.float32], properties: IntensityProperties, mask: Mask | None) -> None:
    """Leaves the intensities as they are."""


def _to_unit_range(
    channel: NDArray[np.float32], properties: IntensityProperties, mask: Mask | None
) -> None:
    """Smallest value to 0, largest to 1."""
    channel -= channel.min()
    channel /= max(float(channel.max()), SMALLEST_DIVISOR)


def _from_bytes(
    channel: NDArray[np.float32], properties: IntensityProperties, mask: Mask | None
) -> None:
    """0..255 to 0..1."""
    low, high = float(channel.min()), float(channel.max())
    if low < 0 or high > 255:
        raise ImageError(
            "the image is declared as RGB and is not",
            expected="intensities from 0 to 255",
            found=f"{low:g} to {high:g}",
            cure='convert it to 8 bit, or change the channel name in dataset.json (not "rgb_...")',
        )
    channel /= 255.0


SCHEMES: dict[str, Scheme] = {
    "ct": _by_dataset,
    "zscore": _by_image,
    "nonorm": _keep,
    "rescale_to_0_1": _to_unit_range,
    "rgb_to_0_1": _from_bytes,
}
"""All schemes, under the names that nnU-Net's plans use."""

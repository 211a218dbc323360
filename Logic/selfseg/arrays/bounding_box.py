"""Where the image is: the box around its non-zero voxels, and the mask within."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..domain.geometry import Shape3


def nonzero_box(channels: NDArray[np.generic]) -> tuple[Shape3, Shape3]:
    """The bounding box of all voxels that are not zero in some channel.

    Filling holes cannot move a bounding box, so none are filled here. Slices are looked at
    from the outside inwards until one is not empty, which for most images is the first.

    Args:
        channels: (C, Z, Y, X).

    Returns:
        Start and stop (Z, Y, X), the stop excluded; the whole image where every voxel is zero.
    """
    start, stop = [0, 0, 0], list(channels.shape[1:])
    for axis in range(3):
        by_slice = np.moveaxis(channels, axis + 1, 0)
        first = next((i for i in range(stop[axis]) if by_slice[i].any()), None)
        if first is None:
            return (0, 0, 0), _shape3(channels.shape[1:])
        last = next(i for i in reversed(range(stop[axis])) if by_slice[i].any())
        start[axis], stop[axis] = first, last + 1
        inside: list[slice] = [slice(None)] * 4
        inside[axis + 1] = slice(first, last + 1)
        # The remaining axes need not look at what is outside already; indices of this axis
        # are final, so cutting it does not shift the others.
        channels = channels[tuple(inside)]
    return _shape3(start), _shape3(stop)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[Shape3, Shape3]:
    """The bounding box of a mask (Z, Y, X): start and stop, the stop excluded.

    The whole array where the mask is empty.
    """
    return nonzero_box(mask[None])


def nonzero_mask(channels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True where some channel is not zero, and in the holes of that.

    A hole is background that no path along faces connects to the outside of the array
    (SciPy's `binary_fill_holes`, found by one labelling instead of repeated dilation).

    Args:
        channels: (C, Z, Y, X).

    Returns:
        (Z, Y, X) mask.
    """
    mask: NDArray[np.bool_] = channels[0] != 0
    for channel in channels[1:]:
        mask |= channel != 0
    if mask.all():
        return mask
    start, stop = bounding_box(mask)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    # One voxel of background all around joins everything that touches the box's border.
    background = ~np.pad(mask[box], 1)
    components, count = ndimage.label(background)
    if count > 1:
        mask[box] = (components != components[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return mask


def _shape3(values: tuple[int, ...] | list[int]) -> Shape3:
    z, y, x = values
    return (int(z), int(y), int(x))

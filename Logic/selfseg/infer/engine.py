"""Sliding window over a preprocessed case; NumPy alone, over any backend that runs a network.

    image (C, Z, Y, X) -> padded to the patch -> tiles (N, C, *patch)
                       -> backend: logits (N, K, *patch), averaged over mirrored tiles
                       -> Gaussian-weighted mean where tiles overlap -> (K, Z, Y, X)

2D networks see every slice by itself; their tiles have one slice. A cascade's tiles get one more
channel per label value, made tile by tile: as a whole they would often fill the memory.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arrays.one_hot import one_hot
from ..arrays.tile import gaussian_weights, tile_starts
from ..domain.case import FloatArray, IntArray, PreprocessedCase
from ..domain.errors import Cancelled, ModelError
from ..domain.events import Progress, Reporter, silent
from ..domain.plan import ConfigurationPlan


class Backend(Protocol):
    """Runs a trained network, or the mean of several, on a batch of tiles."""

    def predict(self, batch: FloatArray, mirror_axes: tuple[int, ...] = ()) -> FloatArray:
        """Logits of a batch of tiles.

        The backend mirrors, not the engine, so that the mean is taken where the tile is.

        Args:
            batch: (N, C, *patch) float32.
            mirror_axes: spatial axes (0 is the patch's first); the result is the mean over
                all tiles mirrored on the subsets of these (`mirror_subsets`), mirrored back.

        Returns:
            (N, K, *patch) float32.
        """
        ...


def mirror_subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All subsets of some axes, the empty one first."""
    for count in range(len(axes) + 1):
        yield from itertools.combinations(axes, count)


def predict_logits(
    case: PreprocessedCase,
    backend: Backend,
    configuration: ConfigurationPlan,
    *,
    head_count: int,
    previous_values: Sequence[int] = (),
    step: float = 0.5,
    mirror: bool = True,
    batch_size: int | None = None,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> FloatArray:
    """Predicts a whole case.

    Args:
        case: the image (C, Z, Y, X), as the configuration's preprocessing made it, and for a
            cascade what the first stage predicted.
        backend: the network, or several whose logits are averaged.
        configuration: its patch, 2D or 3D.
        head_count: K.
        previous_values: the label values of the first stage's prediction that become extra
            channels, in this order; none without a cascade.
        step: distance of neighbouring tiles as a share of the patch.
        mirror: test-time augmentation over mirrored tiles, 2^dimensions times the work.
        batch_size: tiles at a time; the configuration's batch size otherwise, which fits the
            memory even with gradients.
        reporter: is told after every batch (stage "tiles").
        should_stop: polled between batches.

    Returns:
        Logits (K, Z, Y, X) float32 at the plan's spacing.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: the backend's logits have another shape than the plan's, or a cascade lacks
            the first stage's prediction.
    """
    patch = configuration.patch_size
    previous = _previous_of(case, previous_values)
    tile_shape: tuple[int, ...] = (1, *patch) if configuration.is_2d else patch
    image, inner = _pad(case.image, tile_shape)
    if previous is not None:
        previous = _pad(previous[None], tile_shape)[0][0]
    starts = tile_starts(image.shape[-len(patch) :], patch, step)
    if configuration.is_2d:
        starts = [(z, *start) for z in range(image.shape[1]) for start in starts]
    weights = gaussian_weights(patch).reshape(tile_shape)
    mirror_axes = tuple(range(len(patch))) if mirror else ()

    first = [start for start in starts if start[0] == 0] if configuration.is_2d else starts
    total = np.zeros((1 if configuration.is_2d else image.shape[1], *image.shape[2:]), np.float32)
    for start in first:  # every slice has the same tiles
        total[_place(start, tile_shape)] += weights
    logits = np.zeros((head_count, *image.shape[1:]), dtype=np.float32)  # (K, Z, Y, X)
    began = time.monotonic()
    done = 0
    for group in _batches(starts, batch_size or configuration.batch_size):
        if should_stop():
            raise Cancelled("prediction was stopped", cure="run the same command again")
        places = [_place(start, tile_shape) for start in group]
        tiles = np.stack([image[(slice(None), *place)] for place in places])  # (N, C, *tile)
        if previous is not None:
            masks = np.stack([one_hot(previous[place], previous_values) for place in places])
            tiles = np.concatenate([tiles, masks], axis=1)  # (N, C + values, *tile)
        if configuration.is_2d:
            tiles = tiles[:, :, 0]  # (N, C, *patch)
        predicted = backend.predict(tiles, mirror_axes)  # (N, K, *patch)
        if predicted.shape != (len(group), head_count, *patch):
            raise ModelError(
                "the network's output does not fit the plan",
                expected=f"{(len(group), head_count, *patch)} (tiles, heads, patch)",
                found=str(predicted.shape),
                cure="use weights and plan of the same training",
            )
        for place, tile in zip(places, predicted, strict=True):
            logits[(slice(None), *place)] += tile.reshape(head_count, *tile_shape) * weights
        done += len(group)
        remaining = (time.monotonic() - began) / done * (len(starts) - done)
        reporter(Progress("tiles", done, len(starts), remaining, case.identifier))
    logits /= total
    return logits[(slice(None), *inner)]


def _previous_of(case: PreprocessedCase, values: Sequence[int]) -> IntArray | None:
    """The first stage's prediction (Z, Y, X), None where the network takes none."""
    if not values:
        return None
    if case.previous is None or case.previous.shape != case.image.shape[1:]:
        raise ModelError(
            f"the cascade cannot segment {case.identifier} without its first stage",
            expected=f"a prediction of {case.image.shape[1:]} voxels (Z, Y, X)",
            found="none" if case.previous is None else f"one of {case.previous.shape}",
            cure="predict with `selfseg predict -c 3d_cascade_fullres`, which runs both stages",
        )
    return case.previous


def _pad(image: NDArray[Any], tile: Sequence[int]) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """Pads with zeros around the image up to the tile; also says where the image then lies."""
    missing = [max(0, width - size) for size, width in zip(image.shape[1:], tile, strict=True)]
    before = [m // 2 for m in missing]
    inner = tuple(slice(b, b + size) for b, size in zip(before, image.shape[1:], strict=True))
    if not any(missing):
        return image, inner
    widths = [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))]
    return np.pad(image, widths), inner


def _place(start: Sequence[int], tile: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + width) for first, width in zip(start, tile, strict=True))


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Groups of at most `size`, as even as they can be."""
    count = math.ceil(len(items) / max(1, size))
    for i in range(count):
        yield items[len(items) * i // count : len(items) * (i + 1) // count]

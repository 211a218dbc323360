"""The tiles of one case: where they lie, what is in them, and where their results go."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.one_hot import one_hot
from ..arrays.tile import AxisTiles, axis_tiles
from ..domain.case import FloatArray, IntArray, PreprocessedCase
from ..domain.errors import ModelError
from ..domain.plan import ConfigurationPlan
from .backend import Maps, Target

Placed = tuple[tuple[int, int, int], list[Target]]
"""A tile's first voxel in the image, and where its maps go."""


class Tiling:
    """The tiles of one case, in rows of equal z.

    Args:
        case: the image, and what a cascade's first stage predicted.
        configuration: the patch; 2D tiles are one slice.
        previous_values: see `predict_slabs`.
        step: distance of neighbouring tiles as a share of the patch.

    Raises:
        ModelError: a cascade lacks the first stage's prediction.
    """

    def __init__(
        self,
        case: PreprocessedCase,
        configuration: ConfigurationPlan,
        previous_values: Sequence[int],
        step: float,
    ) -> None:
        self.patch = configuration.patch_size
        self.is_2d = configuration.is_2d
        self.previous_values = previous_values
        shape: tuple[int, ...] = (1, *self.patch) if self.is_2d else self.patch
        previous = _previous_of(case, previous_values)
        self.image, self.inner = _pad(case.image, shape)
        self.previous = None if previous is None else _pad(previous[None], shape)[0][0]
        self.z, self.y, self.x = (
            axis_tiles(size, width, step)
            for size, width in zip(self.image.shape[1:], shape, strict=True)
        )

    @property
    def row_length(self) -> int:
        """Tiles of one row."""
        return len(self.y.starts) * len(self.x.starts)

    @property
    def count(self) -> int:
        """All tiles."""
        return len(self.z.starts) * self.row_length

    def row_groups(self, at_once: int) -> Iterator[range]:
        """All rows, some at a time."""
        for first in range(0, len(self.z.starts), at_once):
            yield range(first, min(first + at_once, len(self.z.starts)))

    def batches(self, rows: range, origin: int, size: int) -> Iterator[list[Placed]]:
        """The tiles of some rows, some at a time.

        Tiles that hold the same single value everywhere (air around a patient, padding) are the
        same input and have the same maps: the network sees one of them per row group. No other
        tile may be left out: a network's answer to an empty tile is not known before.
        """
        placed: list[Placed] = []
        by_value: dict[tuple[float, ...], list[Target]] = {}
        for z, y, x in itertools.product(
            rows, range(len(self.y.starts)), range(len(self.x.starts))
        ):
            start = (self.z.starts[z], self.y.starts[y], self.x.starts[x])
            target = Target(
                (
                    _span(start[0] - origin, self.z),
                    _span(start[1], self.y),
                    _span(start[2], self.x),
                ),
                (self.z.weights[z], self.y.weights[y], self.x.weights[x]),
            )
            value = self._only_value(start)
            if value is not None and value in by_value:
                by_value[value].append(target)
                continue
            targets = [target]
            placed.append((start, targets))
            if value is not None:
                by_value[value] = targets
        count = math.ceil(len(placed) / size)
        for i in range(count):  # as even as they can be
            yield placed[len(placed) * i // count : len(placed) * (i + 1) // count]

    def cut(self, group: Sequence[Placed]) -> FloatArray:
        """The tiles (N, C, *patch)."""
        places = [self._place(start) for start, _ in group]
        tiles: FloatArray = np.stack([self.image[(slice(None), *place)] for place in places])
        if self.previous is not None:
            masks = [one_hot(self.previous[place], self.previous_values) for place in places]
            tiles = np.concatenate([tiles, np.stack(masks)], axis=1)
        return tiles[:, :, 0] if self.is_2d else tiles

    def inner_part(self, origin: int, maps: Maps) -> tuple[int, Maps]:
        """What of the slices from `origin` on lies in the image, and its first slice there."""
        z, y, x = self.inner
        first, stop = max(origin, z.start), min(origin + len(maps), z.stop)
        kept = maps[first - origin : max(first, stop) - origin, y, x]
        return first - z.start, kept

    def _place(self, start: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        z, y, x = start
        return _span(z, self.z), _span(y, self.y), _span(x, self.x)

    def _only_value(self, start: tuple[int, int, int]) -> tuple[float, ...] | None:
        """The value of each channel where the whole tile has that value, else None."""
        place = self._place(start)
        parts = [channel[place] for channel in self.image]
        if self.previous is not None:
            parts.append(self.previous[place])
        corners = [float(part[0, 0, 0]) for part in parts]
        for part, corner in zip(parts, corners, strict=True):
            if part[-1, -1, -1] != corner or not (part == corner).all():
                return None
        return tuple(corners)


def _span(start: int, axis: AxisTiles) -> slice:
    return slice(start, start + axis.width)


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

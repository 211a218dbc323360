"""Sliding window over a preprocessed case; NumPy alone, over any backend that runs a network.

    image (C, Z, Y, X) -> padded to the patch -> tiles (N, C, *patch), row by row along z
                       -> backend: maps (N, M, *patch), averaged over mirrored tiles
                       -> Gaussian-weighted mean where tiles overlap, in a window of slices
                       -> slabs (n, Y, X, M), each as soon as no further tile reaches it

Only the window is in memory, not the maps of the whole image: for many classes that would be
most of it. Maps are logits, or the features below the last layer (`backend.Head`).

2D networks see every slice by itself; their tiles have one slice. A cascade's tiles get one more
channel per label value, made tile by tile: as a whole they would often fill the memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..domain.case import FloatArray, PreprocessedCase
from ..domain.events import Progress, Reporter, silent
from ..domain.plan import ConfigurationPlan
from ..domain.stopping import Stop, check_stop, never
from .backend import Backend, Head, MappingBackend, Maps, Window, WindowPlan, mirror_subsets
from .host_window import HostWindow
from .memory import Need, choose, host_memory_at_hand
from .tiling import Tiling

__all__ = ["Backend", "Slab", "TileOptions", "head_of", "mirror_subsets", "predict_logits"]

MAP_COPIES = 4
"""Arrays of a tile's logits that a plain backend has at once."""


@dataclass(frozen=True)
class TileOptions:
    """How a case is taken apart.

    Args:
        step: distance of neighbouring tiles as a share of the patch.
        mirror: test-time augmentation over mirrored tiles.
        mirror_axes: the axes of the patch that may be mirrored; None: all.
        memory_bytes: what the process may use in all; on a graphics card also what is used
            there. None: what the machine has.
        passes: tiles, or mirrored tiles, at once; None: what the backend likes and memory allows.
    """

    step: float = 0.5
    mirror: bool = True
    mirror_axes: tuple[int, ...] | None = None
    memory_bytes: int | None = None
    passes: int | None = None

    def axes(self, dimensions: int) -> tuple[int, ...]:
        """The axes of the patch that are mirrored."""
        if not self.mirror:
            return ()
        every = tuple(range(dimensions))
        return every if self.mirror_axes is None else self.mirror_axes


STANDARD = TileOptions()
"""As the method does it."""


@dataclass(frozen=True)
class Slab:
    """Some neighbouring slices of a prediction.

    Args:
        first: the image's slice that comes first.
        maps: (n, Y, X, M); to be used before the next slab is asked for.
    """

    first: int
    maps: Maps


def head_of(backend: Backend) -> Head | None:
    """What turns the maps of the slabs into logits; None where they are the logits."""
    return backend.head if isinstance(backend, MappingBackend) else None


def predict_slabs(
    case: PreprocessedCase,
    backend: Backend,
    configuration: ConfigurationPlan,
    *,
    head_count: int,
    previous_values: Sequence[int] = (),
    options: TileOptions = STANDARD,
    further_bytes: int = 0,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> Iterator[Slab]:
    """Predicts a whole case, slab by slab along z.

    Args:
        case: the image (C, Z, Y, X), as the configuration's preprocessing made it, and for a
            cascade what the first stage predicted.
        backend: the network, or several whose logits are averaged.
        configuration: its patch, 2D or 3D.
        head_count: K.
        previous_values: the label values of the first stage's prediction that become extra
            channels, in this order; none without a cascade.
        options: how tiles are taken.
        further_bytes: what the caller will need besides, for the memory budget.
        reporter: is told before the first batch, and after every one (stage "tiles").
        should_stop: asked between passes through the network.

    Yields:
        Every slice once, in ascending order, at the plan's spacing.

    Raises:
        Cancelled: `should_stop` said so.
        ModelError: the backend's logits have another shape than the plan's, or a cascade lacks
            the first stage's prediction; or there is not enough memory for a single tile.
        UsageError: the memory budget is too small; says the least that works.
    """
    tiles = Tiling(case, configuration, previous_values, options.step)
    maps = backend.map_count if isinstance(backend, MappingBackend) else head_count
    axes = options.axes(len(configuration.patch_size))
    plan, rows_at_once, _ = plan_window(tiles, backend, maps, options, further_bytes)
    # A mapping backend counts mirrored tiles, one that mirrors by itself counts tiles.
    mapping = isinstance(backend, MappingBackend)
    at_once = max(1, plan.passes // 2 ** len(axes)) if mapping else plan.passes
    count, done, began = tiles.count, 0, time.monotonic()
    check_stop(should_stop)
    reporter(Progress("tiles", 0, count, detail=case.identifier))
    with _open(backend, plan, head_count, reporter) as window:
        for rows in tiles.row_groups(rows_at_once):
            origin = tiles.z.starts[rows.start]
            for group in tiles.batches(rows, origin, at_once):
                check_stop(should_stop)
                targets = [places for _, places in group]
                window.add(tiles.cut(group), axes, targets, should_stop)
                done += sum(map(len, targets))
                remaining = (time.monotonic() - began) / done * (count - done)
                reporter(Progress("tiles", done, count, remaining, case.identifier))
            following = rows.stop < len(tiles.z.starts)
            end = tiles.z.starts[rows.stop] if following else tiles.image.shape[1]
            first, maps_there = tiles.inner_part(origin, window.finished(end - origin))
            if len(maps_there):
                yield Slab(first, maps_there)
            if following:
                window.advance(end - origin)


def predict_logits(
    case: PreprocessedCase,
    backend: Backend,
    configuration: ConfigurationPlan,
    *,
    head_count: int,
    previous_values: Sequence[int] = (),
    options: TileOptions = STANDARD,
    reporter: Reporter = silent,
    should_stop: Stop = never,
) -> FloatArray:
    """Predicts a whole case at once; for many classes `predict_slabs` takes less memory.

    Returns:
        Logits (K, Z, Y, X) float32 at the plan's spacing.

    Raises:
        Cancelled, ModelError, UsageError: see `predict_slabs`.
    """
    result: FloatArray = np.empty((head_count, *case.image.shape[1:]), np.float32)
    head = head_of(backend)
    for slab in predict_slabs(
        case,
        backend,
        configuration,
        head_count=head_count,
        previous_values=previous_values,
        options=options,
        further_bytes=result.nbytes,
        reporter=reporter,
        should_stop=should_stop,
    ):
        for z, maps in enumerate(slab.maps, slab.first):
            logits = maps if head is None else head.logits(maps)  # (Y, X, K)
            result[:, z] = np.moveaxis(logits, -1, 0)
    return result


def plan_window(
    tiles: Tiling, backend: Backend, maps: int, options: TileOptions, further_bytes: int
) -> tuple[WindowPlan, int, Need]:
    """The window, how many rows of tiles it holds, and the memory that was reckoned with.

    Raises:
        UsageError: the memory budget is too small; says the least that works.
    """
    patch, budget = tiles.patch, options.memory_bytes
    if isinstance(backend, MappingBackend):
        each, at_hand = backend.pass_bytes(patch), backend.memory_at_hand(budget)
        preferred = backend.preferred_passes(patch)
    else:
        each = MAP_COPIES * 4 * maps * int(np.prod(patch))
        at_hand, preferred = host_memory_at_hand(budget), 1
    preferred = options.passes or preferred
    # A row of 2D tiles is one slice: several at once, so that a batch can be full.
    rows = -(-preferred // tiles.row_length) if tiles.is_2d else 1
    depth = min(tiles.image.shape[1], tiles.z.width + rows - 1)
    shape = (depth, *tiles.image.shape[2:])
    need = Need(4 * maps * int(np.prod(shape)), each, further_bytes)
    choice = choose(need, at_hand, preferred, budget=budget)
    return WindowPlan(shape, patch, choice.half, choice.passes), rows, need


def _open(backend: Backend, plan: WindowPlan, head_count: int, reporter: Reporter) -> Window:
    if isinstance(backend, MappingBackend):
        return backend.open_window(plan, reporter)
    return HostWindow(backend, plan, head_count)

"""What runs a network for the engine, and where the results of tiles are added up.

The simplest backend only says what the logits of some tiles are (`Backend`); its tiles are
added up here, with NumPy. One that adds up where it computes, or leaves the network's last
layer for later, is a `MappingBackend`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..domain.case import FloatArray
from ..domain.events import Reporter
from ..domain.geometry import Shape3
from ..domain.stopping import Stop, never

Maps = NDArray[Any]
"""(Z, Y, X, M) floats of any width, the M values of a voxel side by side: features or logits."""


@dataclass(frozen=True)
class Head:
    """The last layer of a network: a 1x1 convolution that turns features into logits.

    It is linear, and so is everything between it and the label map: the mean over mirrored
    and overlapping tiles, the mean over folds, the interpolation to the native grid. So it may
    come last, and where a network has fewer features than heads (32 features, 62 heads) all of
    that is done with the features: less memory, less work, the same logits but for rounding.

    Args:
        weights: (K, M) float32.
        bias: (K,) float32.
    """

    weights: FloatArray
    bias: FloatArray

    def logits(self, maps: Maps) -> FloatArray:
        """(..., M) -> (..., K)."""
        flat = maps.astype(np.float32, copy=False).reshape(-1, self.weights.shape[1])
        result: FloatArray = np.matmul(flat, self.weights.T)  # one product is faster than many
        result += self.bias
        return result.reshape(*maps.shape[:-1], -1)


@dataclass(frozen=True)
class Target:
    """Where the maps of a tile are added.

    Args:
        place: the voxels of the window, z, y, x.
        weights: of the tile's voxels, one line per axis.
    """

    place: tuple[slice, slice, slice]
    weights: tuple[FloatArray, FloatArray, FloatArray]


class Window(Protocol):
    """Running sums of the maps in some slices of the image, which move along z.

    Used in a `with` statement, so that what it holds is given back when prediction stops.
    """

    def add(
        self,
        tiles: FloatArray,
        mirror_axes: tuple[int, ...],
        targets: Sequence[Sequence[Target]],
        should_stop: Stop = never,
    ) -> None:
        """Runs the network on tiles (N, C, *patch), and adds each at all of its targets.

        Raises:
            Cancelled: `should_stop`, asked between passes through the network, said so.
        """
        ...

    def finished(self, count: int) -> Maps:
        """The first slices (count, Y, X, M); to be used before the window changes again."""
        ...

    def advance(self, count: int) -> None:
        """Forgets the first slices; the others move up, and empty ones follow."""
        ...

    def __enter__(self) -> Self:
        """The window itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives back what the window holds."""
        ...


@dataclass(frozen=True)
class WindowPlan:
    """What a window is made for.

    Args:
        shape: slices, rows, columns.
        patch: of a tile as the network takes it, two or three axes.
        half: the sums are kept in float16.
        passes: tiles, or mirrored tiles, that go through the network at once.
    """

    shape: Shape3
    patch: tuple[int, ...]
    half: bool = False
    passes: int = 1


class Backend(Protocol):
    """Runs a trained network, or the mean of several, on a batch of tiles."""

    def predict(
        self,
        batch: FloatArray,
        mirror_axes: tuple[int, ...] = (),
        should_stop: Stop = never,
    ) -> FloatArray:
        """Logits of a batch of tiles.

        The backend mirrors, not the engine, so that the mean is taken where the tile is.

        Args:
            batch: (N, C, *patch) float32.
            mirror_axes: spatial axes (0 is the patch's first); the result is the mean over
                all tiles mirrored on the subsets of these (`mirror_subsets`), mirrored back.
            should_stop: asked between passes through the network.

        Returns:
            (N, K, *patch) float32.

        Raises:
            Cancelled: `should_stop` said so.
        """
        ...


@runtime_checkable
class MappingBackend(Backend, Protocol):
    """A backend that adds tiles up itself."""

    @property
    def head(self) -> Head | None:
        """What turns its maps into logits; None where they are the logits."""
        ...

    @property
    def map_count(self) -> int:
        """M."""
        ...

    def preferred_passes(self, patch: tuple[int, ...]) -> int:
        """Tiles, or mirrored tiles, that go through the network at once, where memory allows."""
        ...

    def pass_bytes(self, patch: tuple[int, ...]) -> int:
        """Memory that one tile takes on its way through the network."""
        ...

    def memory_at_hand(self, budget: int | None) -> int:
        """Bytes that may still be taken where it computes, of all or of a budget."""
        ...

    def open_window(self, plan: WindowPlan, reporter: Reporter) -> Window:
        """An empty window."""
        ...


def mirror_subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All subsets of some axes, the empty one first."""
    for count in range(len(axes) + 1):
        yield from itertools.combinations(axes, count)


def weighted(target: Target) -> FloatArray:
    """The weights of a tile's voxels (z, y, x)."""
    z, y, x = target.weights
    result: FloatArray = z[:, None, None] * y[:, None] * x
    return result

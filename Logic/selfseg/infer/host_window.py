"""Adding up the tiles of a plain backend, with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from ..domain.case import FloatArray
from ..domain.errors import ModelError
from ..domain.stopping import Stop, check_stop, never
from .backend import Backend, Maps, Target, WindowPlan, weighted


class HostWindow:
    """A window in the machine's memory over a backend that predicts logits.

    Args:
        backend: predicts.
        plan: size and arithmetic.
        head_count: K.
    """

    def __init__(self, backend: Backend, plan: WindowPlan, head_count: int) -> None:
        self.backend = backend
        self.plan = plan
        dtype = np.float16 if plan.half else np.float32
        self.sums: Maps = np.zeros((*plan.shape, head_count), dtype)

    def add(
        self,
        tiles: FloatArray,
        mirror_axes: tuple[int, ...],
        targets: Sequence[Sequence[Target]],
        should_stop: Stop = never,
    ) -> None:
        """See `Window.add`.

        Raises:
            Cancelled: `should_stop` said so.
            ModelError: the backend's logits have another shape than the plan's.
        """
        for first in range(0, len(tiles), self.plan.passes):
            check_stop(should_stop)
            batch = tiles[first : first + self.plan.passes]
            predicted = self.backend.predict(batch, mirror_axes, should_stop)  # (N, K, *patch)
            for maps, places in zip(predicted, targets[first : first + len(batch)], strict=True):
                check_shape(maps.shape, (self.sums.shape[-1], *self.plan.patch))
                whole = maps if maps.ndim == 4 else maps[:, None]  # (K, z, y, x)
                last = np.moveaxis(whole, 0, -1)
                for target in places:
                    self.sums[target.place] += last * weighted(target)[..., None]

    def finished(self, count: int) -> Maps:
        """See `Window.finished`."""
        return self.sums[:count]

    def advance(self, count: int) -> None:
        """See `Window.advance`."""
        kept = len(self.sums) - count
        for z in range(kept):  # slice by slice: no second copy of the window
            self.sums[z] = self.sums[z + count]
        self.sums[kept:] = 0

    def __enter__(self) -> Self:
        """The window itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to give back."""


def check_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuses a network's output of another shape than the plan's.

    Raises:
        ModelError: they differ.
    """
    if found != expected:
        raise ModelError(
            "the network's output does not fit the plan",
            expected=f"{expected} (heads, patch)",
            found=str(found),
            cure="use weights and plan of the same training",
        )

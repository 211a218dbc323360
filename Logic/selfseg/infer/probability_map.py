"""A case's probabilities at the network's resolution, and where that grid lies in the world."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..domain.case import FloatArray, PreprocessRecord
from ..domain.labels import LabelScheme
from .backend import Head
from .confidence import probabilities_of
from .engine import Slab


class ProbabilityTaker:
    """Hands the probabilities of slabs on, slice by slice; takes slabs as `restore.fill` does.

    Args:
        write: is given each slice (Y, X, K), from 0 to 1, in order.
        labels: which head means what.
        head: what turns maps into logits; None where they are the logits.
        temperature: of the probabilities.
    """

    def __init__(
        self,
        write: Callable[[FloatArray], None],
        labels: LabelScheme,
        head: Head | None,
        temperature: float,
    ) -> None:
        self.write = write
        self.labels = labels
        self.head = head
        self.temperature = temperature

    def take(self, slab: Slab) -> None:
        """Hands a slab's slices on."""
        for maps in slab.maps:
            logits = maps.astype(np.float32) if self.head is None else self.head.logits(maps)
            self.write(probabilities_of(logits, self.labels, self.temperature))

    def finish(self) -> None:
        """Nothing is left to do."""


def network_affine(record: PreprocessRecord) -> NDArray[np.float64]:
    """The (4, 4) matrix from an index (Z, Y, X) of the network's grid to LPS mm (x, y, z).

    Both grids span the same box, so that voxel i of n lies at (i + 0.5) * m / n - 0.5 of m.
    """
    shape = zip(record.shape_before_resampling, record.shape_after_resampling, strict=True)
    zooms = [before / after for before, after in shape]
    to_native = np.zeros((4, 4))
    to_native[3, 3] = 1
    for axis, native in enumerate(record.transpose):
        # Of the transposed and turned grid, then of the native one.
        scale = zooms[axis]
        shift = 0.5 * scale - 0.5 + record.crop_start[axis]
        if record.flipped[axis]:
            scale, shift = -scale, record.transposed_shape[axis] - 1 - shift
        to_native[native, axis], to_native[native, 3] = scale, shift
    grid = record.native
    world = np.eye(4)
    # Columns of `direction` are the axes x, y, z; the array's run z, y, x.
    world[:3, :3] = np.array(grid.direction)[:, ::-1] * np.array(grid.spacing)
    world[:3, 3] = grid.origin
    result: NDArray[np.float64] = world @ to_native
    return result

"""A closed surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mesh:
    """A surface whose triangles turn counter-clockwise seen from outside.

    Args:
        points: (N, 3) mm.
        triangles: (M, 3) indices of points.
    """

    points: NDArray[np.float64]
    triangles: NDArray[np.int64]

    @property
    def volume(self) -> float:
        """Enclosed, in mm³; above 0 where the triangles turn as they should."""
        a, b, c = (self.points[self.triangles[:, corner]] for corner in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)

"""How the axes of a stored image become the plan's: turned to RAS where the plan says so."""

from __future__ import annotations

import numpy as np

from ..domain.geometry import Geometry
from ..domain.plan import Plan

Axes = tuple[int, int, int]
Flips = tuple[bool, bool, bool]


def axes_of_plan(geometry: Geometry, plan: Plan) -> tuple[Axes, Flips]:
    """Which native axis (Z, Y, X) becomes plan axis i, and whether it is turned round."""
    order, flips = axes_to_ras(geometry) if plan.orientation == "ras" else _AS_STORED
    first, second, third = plan.transpose_forward
    return (
        (order[first], order[second], order[third]),
        (flips[first], flips[second], flips[third]),
    )


def axes_to_ras(geometry: Geometry) -> tuple[Axes, Flips]:
    """The axes of an image that is turned so that x runs to the right, y forwards, z upwards.

    No voxel is resampled: an oblique image gets the nearest of the 48 ways to turn it. An axis
    that is decided most clearly takes its place first, as in nibabel's `io_orientation`.

    Returns:
        for each turned array axis (Z, Y, X) the native one, and whether it is turned round.
    """
    # Rows: towards right, front, top (the geometry is LPS); columns: the image axes x, y, z.
    cosines = np.array(geometry.direction) * np.array([[-1.0], [-1.0], [1.0]])
    left = np.abs(cosines)
    order, flips = [0, 0, 0], [False, False, False]
    for axis in np.argsort(-left.max(axis=0), kind="stable"):
        towards = int(left[:, axis].argmax())
        left[towards, :] = -1.0  # taken
        # Arrays run z, y, x: axis x of the image is the array's last.
        order[2 - towards] = 2 - int(axis)
        flips[2 - towards] = bool(cosines[towards, axis] < 0)
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


_AS_STORED: tuple[Axes, Flips] = ((0, 1, 2), (False, False, False))

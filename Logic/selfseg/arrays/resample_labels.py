"""Label maps on another grid: each voxel's neighbours vote with their interpolation weights.

Linear interpolation of every label's own 0/1 image and taking the label with the largest value
is the same as letting the 8 neighbours vote. So the cost depends on neither the number of labels
nor, away from borders between labels, on the vote at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..domain.geometry import Shape3
from .axis_weights import Taps, linear_taps, nearest_index, nearest_taps

Number = TypeVar("Number", bound=np.generic)


def resample_labels_along(
    labels: NDArray[Number], shape: Shape3, separate: int | None
) -> NDArray[Number]:
    """The label with the largest linearly interpolated share wins each voxel.

    Where one label has more than half this is the threshold of 0.5; where none has, or two
    have exactly half, the threshold would leave a gap or favour the higher number. A tie goes
    to the nearest neighbour's label if it is among the best, else to the smallest of them
    (as batchgenerators 0.25.5 does, and so the present nnunetv2).

    Args:
        labels: (Z, Y, X).
        shape: (Z, Y, X) wanted.
        separate: axis to resample by nearest neighbour, or None.
    """
    if separate is None:
        axes = [linear_taps(a, b) for a, b in zip(labels.shape, shape, strict=True)]
        return _vote(labels, shape, axes)
    forward = np.moveaxis(labels, separate, 0)
    moved = [size for axis, size in enumerate(shape) if axis != separate]
    new_shape = (shape[separate], moved[0], moved[1])
    axes = [
        nearest_taps(forward.shape[0], new_shape[0]),
        linear_taps(forward.shape[1], new_shape[1]),
        linear_taps(forward.shape[2], new_shape[2]),
    ]
    return np.ascontiguousarray(np.moveaxis(_vote(forward, new_shape, axes), 0, separate))


@dataclass(frozen=True)
class _Plane(Generic[Number]):
    """An input slice with the smallest and largest label among each output pixel's neighbours."""

    labels: NDArray[Number]
    smallest: NDArray[Number]
    largest: NDArray[Number]


def _vote(labels: NDArray[Number], shape: Shape3, axes: list[Taps]) -> NDArray[Number]:
    result = np.empty(shape, dtype=labels.dtype)
    depth, rows, columns = axes
    nearest = [nearest_index(a, b) for a, b in zip(labels.shape, shape, strict=True)]
    planes: dict[int, _Plane[Number]] = {}
    for z in range(shape[0]):
        near, far = int(depth.low[z]), int(depth.high[z])
        planes = {i: planes.get(i) or _look_at(labels[i], rows, columns) for i in (near, far)}
        low, high = planes[near], planes[far]
        smallest = np.minimum(low.smallest, high.smallest)
        largest = np.maximum(low.largest, high.largest)
        # Where all neighbours agree there is nothing to decide.
        result[z] = smallest
        y, x = np.nonzero(smallest != largest)
        if len(y) == 0:
            continue
        voters, weights = [], []
        # The order of corners and of factors is SciPy's, so that equal shares come out
        # equal to the last bit and ties are the same ones.
        for plane, z_weight in (
            (low, depth.low_weight[z]),
            (high, depth.high_weight[z]),
        ):
            for y_index, y_weight in ((rows.low, rows.low_weight), (rows.high, rows.high_weight)):
                zy_weight = (z_weight * y_weight)[y]
                for x_index, x_weight in (
                    (columns.low, columns.low_weight),
                    (columns.high, columns.high_weight),
                ):
                    voters.append(plane.labels[y_index[y], x_index[x]])
                    weights.append(zy_weight * x_weight[x])
        at_nearest = labels[nearest[0][z], nearest[1][y], nearest[2][x]]
        few = smallest[y, x], largest[y, x]
        result[z, y, x] = _winner_of_two(voters, weights, at_nearest, *few)
    return result


def _look_at(plane: NDArray[Number], rows: Taps, columns: Taps) -> _Plane[Number]:
    left, right = plane[:, columns.low], plane[:, columns.high]
    small, large = np.minimum(left, right), np.maximum(left, right)
    return _Plane(
        plane,
        np.minimum(small[rows.low], small[rows.high]),
        np.maximum(large[rows.low], large[rows.high]),
    )


def _winner_of_two(
    voters: list[NDArray[Number]],
    weights: list[NDArray[np.float64]],
    nearest: NDArray[Number],
    first: NDArray[Number],
    second: NDArray[Number],
) -> NDArray[Number]:
    """As `_winner`; decides pixels where only `first` and `second` stand (most) by themselves."""
    first_share, second_share = np.zeros(nearest.shape), np.zeros(nearest.shape)
    only_two = np.ones(nearest.shape, dtype=bool)
    for voter, weight in zip(voters, weights, strict=True):
        is_first, is_second = voter == first, voter == second
        first_share += is_first * weight
        second_share += is_second * weight
        only_two &= is_first | is_second
    # `nearest` is a neighbour, so it is one of the two wherever there are only two.
    winner = np.where(first_share == second_share, nearest, first)
    winner = np.where(second_share > first_share, second, winner)
    more = np.flatnonzero(~only_two)
    if len(more):
        winner[more] = _winner(
            [voter[more] for voter in voters], [weight[more] for weight in weights], nearest[more]
        )
    return winner


def _winner(
    voters: list[NDArray[Number]], weights: list[NDArray[np.float64]], nearest: NDArray[Number]
) -> NDArray[Number]:
    """For each pixel the label with the largest sum of weights; lists run over the corners."""
    best = np.full(nearest.shape, -1.0)
    winner = nearest.copy()
    nearest_share = np.zeros(nearest.shape)
    for candidate in voters:
        share = np.zeros(nearest.shape)
        for voter, weight in zip(voters, weights, strict=True):
            share += np.where(voter == candidate, weight, 0.0)
        better = (share > best) | ((share == best) & (np.minimum(candidate, winner) != winner))
        winner = np.where(better, candidate, winner)
        best = np.maximum(best, share)
        nearest_share = np.where(candidate == nearest, share, nearest_share)
    return np.where(nearest_share == best, nearest, winner)

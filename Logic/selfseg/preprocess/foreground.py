"""Where each structure is: locations that training oversamples from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..domain.labels import LabelScheme

LOCATIONS = 10_000
"""Locations kept per structure (RECIPE), all of them where there are fewer."""

LEAST_SHARE = 0.01
"""Share of a structure's voxels kept at least, so that large structures are covered too."""

_PIECE = 2**20
"""Voxels whose places are sorted by value at a time."""

ANNOTATED: tuple[int, ...] = ()
"""The key of all annotated voxels, background included; only where there is an ignore label."""


def foreground_locations(
    labels: NDArray[np.int16], scheme: LabelScheme, identifier: str
) -> dict[tuple[int, ...], NDArray[np.int32]]:
    """Draws locations of every structure, without replacement.

    The draw depends on the case's name and nothing else.

    Args:
        labels: (Z, Y, X), as the network will see them.
        scheme: the structures; each one's tuple of values is a key of the result.
        identifier: the case's name.

    Returns:
        Per key (N, 3) indices (Z, Y, X), empty where the structure is absent.
    """
    generator = np.random.default_rng(_seed(identifier))
    totals = _totals(labels)
    draws: dict[tuple[int, ...], _Draw] = {}
    result: dict[tuple[int, ...], NDArray[np.int32]] = {}
    for label in scheme.foreground:
        if 0 in label.values:
            result[label.values] = _draw_from_mask(np.isin(labels, label.values), generator)
            continue
        next_rank, count = {}, 0
        for value in sorted(set(label.values)):
            next_rank[value] = count
            count += totals.get(value, 0)
        ranks = _draw(count, generator)
        draws[label.values] = _Draw(ranks, np.empty(len(ranks), dtype=np.intp), next_rank)
    of_value: dict[int, list[_Draw]] = {}
    for draw in draws.values():
        for value in draw.next_rank:
            of_value.setdefault(value, []).append(draw)
    for value, positions in _positions(labels):
        for draw in of_value.get(value, ()):
            draw.take(value, positions)
    result |= {key: _as_indices(draw.positions, labels.shape) for key, draw in draws.items()}
    result = {label.values: result[label.values] for label in scheme.foreground}
    if scheme.ignore is not None:
        result[ANNOTATED] = _draw_from_mask(labels != scheme.ignore, generator)
    return result


@dataclass(frozen=True)
class _Draw:
    """The voxels drawn of one structure, ranked value by value, and in the array's order within.

    Args:
        ranks: those drawn, ascending.
        positions: of each in the flat array; filled while the array is gone through.
        next_rank: per value of the structure, that of its first voxel not seen yet.
    """

    ranks: NDArray[np.int64]
    positions: NDArray[np.intp]
    next_rank: dict[int, int]

    def take(self, value: int, positions: NDArray[np.intp]) -> None:
        """Keeps those drawn of some voxels, the next ones of one of its values."""
        first = self.next_rank[value]
        self.next_rank[value] = first + len(positions)
        begin, end = np.searchsorted(self.ranks, (first, first + len(positions)))
        self.positions[begin:end] = positions[self.ranks[begin:end] - first]


def _totals(labels: NDArray[np.int16]) -> dict[int, int]:
    """How often each value occurs."""
    low, high = int(labels.min()), int(labels.max())
    counts = np.zeros(high - low + 1, dtype=np.intp)
    for _, piece in _pieces(labels):
        counts += np.bincount(piece.astype(np.intp) - low, minlength=len(counts))
    return {low + int(i): int(counts[i]) for i in np.flatnonzero(counts)}


def _positions(labels: NDArray[np.int16]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Values other than 0 with their places in the flat array, ascending, piece by piece."""
    for start, piece in _pieces(labels):
        where = np.flatnonzero(piece)
        if len(where) == 0:
            continue
        order = np.argsort(piece[where], kind="stable")
        where = where[order]
        values = piece[where]
        starts = np.flatnonzero(np.diff(values)) + 1
        where += start
        for positions, first in zip(np.split(where, starts), (0, *starts), strict=True):
            yield int(values[first]), positions


def _pieces(labels: NDArray[np.int16]) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """The flat array in pieces, so that sorting takes little memory however large it is."""
    flat = labels.ravel()
    for start in range(0, len(flat), _PIECE):
        yield start, flat[start : start + _PIECE]


def _draw(count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Ascending ranks, drawn from 0 .. count - 1."""
    wanted = max(min(LOCATIONS, count), int(np.ceil(count * LEAST_SHARE)))
    ranks: NDArray[np.int64] = generator.choice(count, wanted, replace=False, shuffle=False)
    return np.sort(ranks)


def _draw_from_mask(mask: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.int32]:
    """Draws from a mask that may be most of the image, so positions are listed slice-wise."""
    per_slice = mask.sum(axis=(1, 2), dtype=np.int64)
    first_rank = np.concatenate([[0], np.cumsum(per_slice)])
    ranks = _draw(int(first_rank[-1]), generator)
    result = np.empty((len(ranks), 3), dtype=np.int32)
    cuts = np.searchsorted(ranks, first_rank)
    for z in range(len(mask)):
        mine = slice(int(cuts[z]), int(cuts[z + 1]))
        if mine.start == mine.stop:
            continue
        chosen = np.flatnonzero(mask[z])[ranks[mine] - first_rank[z]]
        result[mine, 0] = z
        result[mine, 1], result[mine, 2] = np.unravel_index(chosen, mask.shape[1:])
    return result


def _as_indices(positions: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.int32]:
    return np.stack(np.unravel_index(positions, shape), axis=1).astype(np.int32)


def _seed(identifier: str) -> int:
    return int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big")

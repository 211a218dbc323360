"""Where each structure is: locations that training oversamples from."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ..domain.labels import LabelScheme

LOCATIONS = 10_000
"""Locations kept per structure (RECIPE), all of them where there are fewer."""

LEAST_SHARE = 0.01
"""Share of a structure's voxels kept at least, so that large structures are covered too."""

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
    flat = labels.ravel()
    where = np.flatnonzero(flat)
    order = np.argsort(flat[where], kind="stable")
    where = where[order]
    values, starts = np.unique(flat[where], return_index=True)
    by_value = dict(zip(values.tolist(), np.split(where, starts[1:]), strict=False))
    result = {}
    for label in scheme.foreground:
        if 0 in label.values:
            result[label.values] = _draw_from_mask(np.isin(labels, label.values), generator)
            continue
        groups = [by_value[v] for v in sorted(set(label.values)) if v in by_value]
        positions = np.concatenate(groups) if groups else np.empty(0, dtype=np.intp)
        chosen = positions[_draw(len(positions), generator)]
        result[label.values] = _as_indices(chosen, labels.shape)
    if scheme.ignore is not None:
        result[ANNOTATED] = _draw_from_mask(labels != scheme.ignore, generator)
    return result


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

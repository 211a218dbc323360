"""Folds in which rare structures are spread evenly, where chance has not done it.

The method's folds are drawn by chance. A structure that few cases have can then fall into one
fold altogether: the network of that fold never sees it, and is judged on nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..domain.dataset import Split
from .splits import FOLDS, SEED, splits_from, units_of

LEAST_SHARE = 0.5
"""A fold should learn from at least this share of the cases (patients) that have a structure;
of five folds each learns from 0.8 of them on average."""


def starved(
    splits: Sequence[Split],
    structures: Mapping[str, Collection[str]],
    groups: Mapping[str, str] | None = None,
) -> dict[str, tuple[int, ...]]:
    """The structures that some folds see too little of, with those folds.

    A structure that one case (patient) alone has cannot be on both sides and is left out.

    Args:
        splits: the folds.
        structures: by case, the names of those it holds.
        groups: by case; cases of a group count once.
    """
    carriers: dict[str, set[str]] = {}
    for unit, cases in units_of(list(structures), groups).items():
        for case in cases:
            for structure in structures[case]:
                carriers.setdefault(structure, set()).add(unit)
    found = {}
    for structure in sorted(carriers):
        units = carriers[structure]
        if len(units) < 2:
            continue
        folds = []
        for number, split in enumerate(splits):
            learned = units_of(split.train, groups).keys() & units
            if len(learned) < LEAST_SHARE * len(units):
                folds.append(number)
        if folds:
            found[structure] = tuple(folds)
    return found


def stratified_splits(
    structures: Mapping[str, Collection[str]],
    *,
    folds: int = FOLDS,
    groups: Mapping[str, str] | None = None,
    seed: int = SEED,
) -> tuple[Split, ...]:
    """Folds that hold out every structure equally often, as far as that is possible.

    Iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label
    data"): the structure with the fewest cases left is given out first, each case to the fold
    that lacks the structure most.

    Args:
        structures: by case, the names of those it holds.
        folds: number of folds; as many as cases (groups), if there are fewer.
        groups: by case; the cases of a group stay together.
        seed: of the order among cases that serve equally.
    """
    units = units_of(list(structures), groups)
    held = {
        unit: frozenset(s for case in cases for s in structures[case])
        for unit, cases in units.items()
    }
    titles = sorted(units)
    left = [titles[i] for i in np.random.RandomState(seed).permutation(len(titles))]
    count = min(folds, len(titles))
    total = sum(len(cases) for cases in units.values())
    room = [total / count] * count  # cases that each fold still takes
    wanted = {
        structure: [sum(structure in held[unit] for unit in left) / count] * count
        for structure in sorted({s for names in held.values() for s in names})
    }
    remaining = {structure: sum(structure in held[unit] for unit in left) for structure in wanted}
    parts: list[list[str]] = [[] for _ in range(count)]
    while left:
        rarest = min(remaining, key=lambda s: (remaining[s], s), default=None)
        unit = next(u for u in left if rarest is None or rarest in held[u])
        lack = room if rarest is None else wanted[rarest]
        # An empty fold comes first: each must hold something out.
        fold = max(range(count), key=lambda k: (lack[k], room[k], not parts[k], -k))
        if sum(not part for part in parts) >= len(left) and parts[fold]:
            fold = next(k for k in range(count) if not parts[k])
        parts[fold].extend(units[unit])
        room[fold] -= len(units[unit])
        left.remove(unit)
        for structure in held[unit]:
            wanted[structure][fold] -= 1
            remaining[structure] -= 1
            if not remaining[structure]:
                del remaining[structure]
    return splits_from(list(structures), parts)

"""Setting a few training cases aside, to watch a training on whole cases it does not see."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

HOLD_OUT_SHARE = 0.1
"""Of the training cases."""


def choose_hold_out(
    structures: Mapping[str, Collection[str]], *, share: float = HOLD_OUT_SHARE, seed: int = 0
) -> tuple[str, ...]:
    """Chooses cases to hold out so that every structure is among them as often as among all.

    Iterative stratification (Sechidis et al. 2011, "On the stratification of multi-label
    data"): the structure that the hold-out lacks most, the rarest first, says which case comes
    next. A structure that several cases have is in the hold-out even where that takes more than
    the share; the last case of a structure is never taken from the training.

    Args:
        structures: for every training case the names of the structures that it holds.
        share: of the cases, at least one case.
        seed: of the order among cases that serve equally.

    Returns:
        The chosen cases, sorted; none where there are fewer than two cases.
    """
    names = sorted(structures)
    if len(names) < 2:
        return ()
    wanted = max(1, round(share * len(names)))
    holds = {name: frozenset(structures[name]) for name in names}
    counts: dict[str, int] = {}
    for name in names:
        for structure in holds[name]:
            counts[structure] = counts.get(structure, 0) + 1
    order = [names[i] for i in np.random.RandomState(seed).permutation(len(names))]
    chosen: list[str] = []
    taken = dict.fromkeys(counts, 0)

    def may_go(name: str) -> bool:
        return name not in chosen and all(counts[s] - taken[s] > 1 for s in holds[name])

    def lack(structure: str) -> float:
        """How far the structure is from its share in the hold-out, 1 where none is there."""
        return 1 - taken[structure] / (share * counts[structure])

    while True:
        candidates = [name for name in order if may_go(name)]
        reachable = {structure for name in candidates for structure in holds[name]}
        missing = {structure for structure in reachable if taken[structure] == 0}
        if not candidates or (len(chosen) >= wanted and not missing):
            return tuple(sorted(chosen))
        # Among structures that lack as much, the rarest: the others come along with it.
        pool = missing or reachable
        if pool:
            rarest = min(pool, key=lambda s: (-lack(s), counts[s], s))
            candidates = [name for name in candidates if rarest in holds[name]]
            full = len(chosen) >= wanted  # what is taken now is more than the share
            useful = missing if full else pool
            candidates.sort(key=lambda name: -sum(lack(s) for s in holds[name] & useful))
        chosen.append(candidates[0])
        for structure in holds[candidates[0]]:
            taken[structure] += 1

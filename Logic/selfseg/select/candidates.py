"""Who competes: every configuration by itself, and every pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..domain.bundle import Member
from ..domain.configurations import simplicity_of
from .dice_table import DiceTable

PLANNERS_FIRST = ("plain", "resenc_m", "resenc_l", "resenc_xl")
"""By the size of their networks."""


def in_order(members: Sequence[Member]) -> tuple[Member, ...]:
    """Configurations, the simpler ones first: by plan, then by configuration.

    Plans and configurations of other names come after the known ones.
    """

    def place(member: Member) -> tuple[int, str, int, str]:
        return (
            _place(PLANNERS_FIRST, member.plan),
            member.plan,
            simplicity_of(member.configuration),
            member.configuration,
        )

    return tuple(sorted(members, key=place))


def candidates_from(
    members: Sequence[Member], *, pairs: bool = True
) -> tuple[tuple[Member, ...], ...]:
    """Each member alone, then each pair, in the order of the members."""
    single = [(member,) for member in members]
    return (*single, *(combinations(members, 2) if pairs else ()))


def best(tables: Sequence[DiceTable], *, as_peer: bool = False) -> int:
    """The place of the highest mean, the first of equals; candidates come simplest first.

    A structure that is in no reference and that a candidate rightly does not find has no score,
    and counts for nothing.

    Args:
        tables: the scores of the candidates.
        as_peer: decides as nnunetv2 2.8.1: a candidate with such a structure loses against all
            without.
    """
    values = np.array([table.mean if as_peer else table.mean_of_defined for table in tables])
    if not np.isfinite(values).any():
        values = np.array([table.mean_of_defined for table in tables])
    values[np.isnan(values)] = -np.inf
    return int(values.argmax())


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)

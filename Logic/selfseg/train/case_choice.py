"""Which case a sample comes from, so that structures few cases hold are seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Structure = tuple[int, ...]
"""The label values of a structure, the key of its voxels."""

ForegroundCases = Literal["with_foreground", "by_structure"]
"""`selfseg.domain.plan.Schedule.foreground_cases`."""


@dataclass(frozen=True)
class CaseChoice:
    """Draws the number of a case.

    `groups` hold what a forced sample may be drawn from, a group as likely as another: a
    structure that must be shown (None: any of the case's) with the cases (n,) that hold it.
    Without groups, forced samples are drawn as others are.
    """

    case_count: int
    groups: tuple[tuple[Structure | None, NDArray[np.int32]], ...]

    def draw(self, forced: bool, rng: np.random.Generator) -> tuple[int, Structure | None]:
        """A case, and the structure it was drawn for; any case where nothing is forced."""
        if not forced or not self.groups:
            return int(rng.integers(self.case_count)), None
        structure, members = self.groups[int(rng.integers(len(self.groups)))]
        return int(members[rng.integers(len(members))]), structure


def case_choice(
    structures_of_cases: Sequence[Iterable[Structure]], rule: ForegroundCases
) -> CaseChoice:
    """Sorts the cases for `CaseChoice`.

    nnU-Net draws every sample from all cases: where one case of fifty holds a lesion, one
    forced sample of fifty can show it.

    Args:
        structures_of_cases: what each case holds, at least one voxel of each.
        rule: "with_foreground": forced samples come from any case with a structure.
            "by_structure": a structure is drawn first, each that some case holds with the same
            probability, then a case that holds it.
    """
    holders: dict[Structure, list[int]] = {}
    for number, structures in enumerate(structures_of_cases):
        for structure in structures:
            holders.setdefault(structure, []).append(number)
    groups: dict[Structure | None, list[int]] = {}
    if rule == "by_structure":
        groups = {structure: holders[structure] for structure in sorted(holders)}
    elif holders:
        groups = {None: sorted(set().union(*holders.values()))}
    return CaseChoice(
        len(structures_of_cases),
        tuple((structure, np.array(found, np.int32)) for structure, found in groups.items()),
    )

"""Structures that overlap, in one label map: a value of its own for every combination.

A voxel of liver and tumour gets the value of the combination (liver, tumour); liver is then the
region of all values whose combination holds it. Values are given in the order in which
combinations are first met and never change, so that cases are written one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.geometry import Shape3
from ..domain.labels import Label, LabelScheme
from .collection import Structure

Array = NDArray[Any]
Combination = tuple[int, ...]
"""Indices of structures, ascending."""

ACCIDENT = 0.01
"""Share of the smaller structure below which an overlap of two is no statement but an accident of
drawing or resampling: neighbours drawn with a soft brush share less than this."""


@dataclass
class Combinations:
    """Which value stands for which combination of structures; single structures come first."""

    structures: int
    values: dict[Combination, int] = field(init=False)

    def __post_init__(self) -> None:
        self.values = {(index,): index + 1 for index in range(self.structures)}

    def value(self, combination: Combination) -> int:
        """Its value, a new one where it has none yet; 0 for no structure."""
        if not combination:
            return 0
        return self.values.setdefault(combination, len(self.values) + 1)

    @property
    def overlap(self) -> bool:
        """Whether any two structures share voxels."""
        return len(self.values) > self.structures


@dataclass(frozen=True)
class Joined:
    """One label map, the voxels of each combination, and what was given to one of two."""

    labels: Array
    voxels: Mapping[Combination, int]
    notes: tuple[str, ...]


def join(
    shape: Shape3,
    masks: Iterable[tuple[int, Array]],
    combinations: Combinations,
    names: Sequence[str],
) -> Joined:
    """Paints the structures of a case into one label map.

    Args:
        shape: (Z, Y, X).
        masks: index of a structure and its mask (Z, Y, X), each structure once; one at a time
            is held.
        combinations: gets the new ones.
        names: of the structures.
    """
    labels = np.zeros(shape, dtype=np.int32)
    sizes: dict[int, int] = {}
    notes: list[str] = []
    for index, mask in masks:
        size = int(mask.sum())
        if not size:
            continue
        met = _met(labels, mask, combinations)
        shared: Counter[int] = Counter()
        for combination, count in met.items():
            shared.update(dict.fromkeys(combination, count))
        accidents = {
            other: count
            for other, count in shared.items()
            if count < ACCIDENT * min(size, sizes[other])
        }
        for other, count in accidents.items():
            kept = index if size <= sizes[other] else other
            notes.append(
                f"{count} voxels that {names[other]!r} and {names[index]!r} share were given to "
                f"{names[kept]!r}, the smaller one (less than {ACCIDENT:.0%} of it)"
            )
        lost = {other for other in accidents if size <= sizes[other]}
        kept_others = set(accidents) - lost
        target = np.zeros(max(combinations.values.values()) + 1, dtype=np.int32)
        for combination in (*met, ()):
            rest = {other for other in combination if other not in lost}
            joins = not kept_others & rest
            value = combinations.value(tuple(sorted(rest | {index} if joins else rest)))
            target[combinations.value(combination)] = value
        labels[mask] = target[labels[mask]]
        sizes[index] = size
    return Joined(labels, _met(labels, labels > 0, combinations), tuple(notes))


def _met(labels: Array, mask: Array, combinations: Combinations) -> dict[Combination, int]:
    """The combinations under a mask, with their voxels; no structure left out."""
    counts = np.bincount(labels[mask], minlength=1)
    named = {value: combination for combination, value in combinations.values.items()}
    return {named[int(value)]: int(counts[value]) for value in np.flatnonzero(counts) if value}


def scheme_of(
    structures: Sequence[Structure],
    combinations: Combinations,
    voxels: Mapping[Combination, int],
    *,
    ignore: bool,
) -> LabelScheme:
    """What the values mean: plain labels, or regions where structures overlap.

    Regions are ordered by their size, the largest first, so that what lies inside is written
    last. Each writes the commonest of its values that holds none of the later ones: a tumour
    that lies in the liver writes (liver, tumour), and nested structures come back as they were.

    Args:
        structures: in the order of their indices.
        combinations: the values of the data set.
        voxels: how many each combination has in all cases.
        ignore: whether the value after the last marks what nobody has annotated.
    """
    highest = max(combinations.values.values())
    ignored = highest + 1 if ignore else None
    if not combinations.overlap:
        plain = tuple(_label(item, (index + 1,)) for index, item in enumerate(structures))
        return LabelScheme(plain, None, ignored)
    totals: Counter[int] = Counter()
    for combination, count in voxels.items():
        totals.update(dict.fromkeys(combination, count))
    order = sorted(range(len(structures)), key=lambda index: (-totals[index], index))
    labels, written = [], []
    for place, index in enumerate(order):
        later = set(order[place + 1 :])
        holding = [c for c in combinations.values if index in c]
        usual = [c for c in holding if not later & set(c) and voxels.get(c)] or holding
        best = max(usual, key=lambda c: (voxels.get(c, 0), -len(c)))
        labels.append(
            _label(structures[index], tuple(sorted(combinations.values[c] for c in holding)))
        )
        written.append(combinations.values[best])
    return LabelScheme(tuple(labels), tuple(written), ignored)


def _label(structure: Structure, values: tuple[int, ...]) -> Label:
    code = None if structure.terms is None else str(structure.terms.type)
    return Label(structure.name, values, structure.colour, code)

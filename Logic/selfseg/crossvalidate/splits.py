"""Splitting the cases into folds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..domain.dataset import Dataset, Split
from ..domain.errors import DatasetError

FOLDS = 5
SEED = 12345
"""nnU-Net's: scikit-learn's KFold(n_splits=5, shuffle=True, random_state=12345) (RECIPE)."""

ALL = "all"
"""The fold that learns from every case; it is judged on the cases it has learned."""


def make_splits(
    identifiers: Sequence[str], *, folds: int = FOLDS, groups: Mapping[str, str] | None = None
) -> tuple[Split, ...]:
    """Splits cases into folds as scikit-learn's shuffled KFold does with nnU-Net's seed.

    With fewer cases than folds every case is left out once.

    Args:
        identifiers: the cases; sorted first, so that their order does not matter.
        folds: number of folds.
        groups: by case; groups are split in place of cases, so that all cases of one are on
            the same side. A case without is a group of its own.

    Raises:
        DatasetError: fewer than two cases or groups.
    """
    names = sorted(identifiers)
    units = units_of(names, groups)
    what = "cases" if groups is None else "patients (groups)"
    if len(units) < 2:
        raise DatasetError(
            f"a model cannot be cross-validated on so few {what}",
            expected=f"at least 2 segmented {what}, better 20 or more",
            found=str(len(units)),
            cure='segment more cases, or train on everything with "-f all"',
        )
    order = np.arange(len(units))
    np.random.RandomState(SEED).shuffle(order)
    titles = sorted(units)
    parts = np.array_split(order, min(folds, len(units)))
    return splits_from(names, [[n for u in p for n in units[titles[u]]] for p in parts])


def units_of(
    identifiers: Sequence[str], groups: Mapping[str, str] | None
) -> Mapping[str, tuple[str, ...]]:
    """The cases that stay together, by the name of their group or their own."""
    units: dict[str, tuple[str, ...]] = {}
    for name in sorted(identifiers):
        key = name if groups is None else groups.get(name, f"case {name}")
        units[key] = (*units.get(key, ()), name)
    return units


def splits_from(
    identifiers: Collection[str], held_out: Sequence[Collection[str]]
) -> tuple[Split, ...]:
    """The folds that hold these cases out and learn from the others, all sorted by name."""
    names = sorted(identifiers)
    return tuple(
        Split(
            train=tuple(name for name in names if name not in part),
            validation=tuple(name for name in names if name in part),
        )
        for part in map(frozenset, held_out)
    )


def splits_of(dataset: Dataset) -> tuple[Split, ...]:
    """The data set's own splits where it brings some, else the standard ones."""
    if dataset.splits is not None:
        return dataset.splits
    return make_splits([case.identifier for case in dataset.cases], groups=dataset.groups)


def holding_folds(dataset: Dataset) -> dict[str, str]:
    """For each case the first fold that holds it out; a case that none does is missing."""
    held_out: dict[str, str] = {}
    for number, split in enumerate(splits_of(dataset)):
        for case in split.validation:
            held_out.setdefault(case, str(number))
    return held_out


def split_for_fold(splits: Sequence[Split], fold: str, identifiers: Sequence[str]) -> Split:
    """The split of one fold: "0", "1", ..., or "all".

    Raises:
        DatasetError: there is no such fold.
    """
    if fold == ALL:
        everything = tuple(sorted(identifiers))
        return Split(train=everything, validation=everything)
    if not fold.isdigit() or int(fold) >= len(splits):
        raise DatasetError(
            f"there is no fold {fold!r}",
            expected=f"0 to {len(splits) - 1}, or {ALL}",
            found=fold,
            cure="choose another fold with -f",
        )
    return splits[int(fold)]

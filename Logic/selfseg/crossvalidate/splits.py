"""Splitting the cases into folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..domain.dataset import Dataset, Split
from ..domain.errors import DatasetError

FOLDS = 5
SEED = 12345
"""nnU-Net's: scikit-learn's KFold(n_splits=5, shuffle=True, random_state=12345) (RECIPE)."""

ALL = "all"
"""The fold that learns from every case; it is judged on the cases it has learned."""


def make_splits(identifiers: Sequence[str], *, folds: int = FOLDS) -> tuple[Split, ...]:
    """Splits cases into folds as scikit-learn's shuffled KFold does with nnU-Net's seed.

    With fewer cases than folds every case is left out once.

    Args:
        identifiers: the cases; sorted first, so that their order does not matter.
        folds: number of folds.

    Raises:
        DatasetError: fewer than two cases.
    """
    names = sorted(identifiers)
    if len(names) < 2:
        raise DatasetError(
            "a model cannot be cross-validated on so few cases",
            expected="at least 2 segmented cases, better 20 or more",
            found=str(len(names)),
            cure='segment more cases, or train on everything with "-f all"',
        )
    order = np.arange(len(names))
    np.random.RandomState(SEED).shuffle(order)
    splits = []
    for part in np.array_split(order, min(folds, len(names))):
        held_out = set(part.tolist())
        splits.append(
            Split(
                train=tuple(n for i, n in enumerate(names) if i not in held_out),
                validation=tuple(n for i, n in enumerate(names) if i in held_out),
            )
        )
    return tuple(splits)


def splits_of(dataset: Dataset) -> tuple[Split, ...]:
    """The data set's own splits where it brings some, else the standard ones."""
    if dataset.splits is not None:
        return dataset.splits
    return make_splits([case.identifier for case in dataset.cases])


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

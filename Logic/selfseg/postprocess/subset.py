"""Some structures of a model instead of all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import UsageError
from ..domain.labels import LabelScheme


def values_of(structures: Sequence[str], scheme: LabelScheme) -> frozenset[int] | None:
    """The label values that some structures consist of; None where all are wanted.

    Args:
        structures: names; upper and lower case are the same where that is no question.
        scheme: the model's structures.

    Raises:
        UsageError: the model has no structure of that name; close ones are named.
    """
    if not structures:
        return None
    exact = {label.name: label for label in scheme.foreground}
    lower = {name.casefold(): label for name, label in exact.items()}
    values: set[int] = set()
    for name in structures:
        label = exact.get(name) or lower.get(name.casefold())
        if label is None:
            close = difflib.get_close_matches(name.casefold(), lower, n=3, cutoff=0.6)
            raise UsageError(
                f"the model has no structure {name!r}",
                expected=_listed(list(exact)),
                found=name,
                cure=f"did you mean {' or '.join(lower[key].name for key in close)}?"
                if close
                else "choose from these names, separated by commas",
            )
        values.update(label.values)
    return frozenset(values)


def keep_values(labels: NDArray[Any], values: frozenset[int] | None) -> NDArray[Any]:
    """Makes background of all other values, in place; None keeps everything.

    Args:
        labels: (Z, Y, X) label values from 0.
        values: those to keep.
    """
    if values is None:
        return labels
    highest = max(int(labels.max()), 0)
    table = np.zeros(highest + 1, dtype=labels.dtype)
    kept = [value for value in values if value <= highest]
    table[kept] = kept
    for part in labels:  # slice by slice: no second copy of the volume
        part[...] = table[part]
    return labels


def _listed(names: list[str], limit: int = 30) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "some of " + ", ".join(names[:limit]) + more

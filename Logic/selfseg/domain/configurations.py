"""The table of configurations that plans hold; `plan.configurations` makes them.

docs/how-to/add-a-configuration.md adds one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownConfiguration:
    """A way to see the data that has a name.

    Args:
        name: of the configuration, and of folders.
        simplicity: of models with equal scores, the one with the lower number is chosen.
        is_nnunets: nnU-Net plans it too, with the same decisions. It is trained without being
            asked for; others only with `-c`.
    """

    name: str
    simplicity: int
    is_nnunets: bool = True


CONFIGURATIONS = (
    KnownConfiguration("2d", 0),
    KnownConfiguration("3d_lowres", 2),
    KnownConfiguration("3d_cascade_fullres", 3),
    KnownConfiguration("3d_fullres", 1),
)
"""As they are trained: simplest first, each after the one it needs. `simplicity` is the order in
which nnU-Net decides ties; a cascade, which needs two networks, is the last."""


def recommended_of(names: Collection[str]) -> tuple[str, ...]:
    """Those that are worth training unless others are asked for, in the order of training."""
    return tuple(known.name for known in CONFIGURATIONS if known.is_nnunets and known.name in names)


def simplicity_of(name: str) -> int:
    """The place among models of equal scores; names of other programs come last."""
    return next(
        (known.simplicity for known in CONFIGURATIONS if known.name == name), len(CONFIGURATIONS)
    )

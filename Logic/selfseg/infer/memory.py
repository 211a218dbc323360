"""How much memory prediction may take, and how it keeps within that."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from ..domain.errors import UsageError

DEFAULT_SHARE = 0.5
"""Without a budget: the share of the free memory that the sums may take in float32."""


@dataclass(frozen=True)
class Need:
    """Bytes that predicting a case takes beyond what is there.

    Args:
        window: the sums in float32; half of it in float16.
        each_pass: one tile on its way through the network.
        fixed: whatever else, such as the label map.
    """

    window: int
    each_pass: int
    fixed: int = 0

    def total(self, passes: int, *, half: bool) -> int:
        """Bytes with that many tiles at once."""
        return self.fixed + self.window // (2 if half else 1) + passes * self.each_pass


@dataclass(frozen=True)
class Choice:
    """How to predict: tiles at once, and the sums' arithmetic."""

    passes: int
    half: bool


def choose(need: Need, at_hand: int, preferred_passes: int, *, budget: int | None) -> Choice:
    """The fastest way that fits: all tiles at once in float32, then fewer, then float16 sums.

    Float16 comes last for being slower on a processor; it costs next to no exactness (see
    `Testing`: weights that sum to 1 keep every partial sum below the largest logit).

    Args:
        need: of the case.
        at_hand: bytes that may still be taken.
        preferred_passes: tiles at once where memory allows.
        budget: what the user allows in all; None takes the machine as it is, and then never
            refuses: what is at hand is known too badly for that.

    Raises:
        UsageError: the budget is too small; says the least that works.
    """
    usable = at_hand if budget is not None else round(at_hand * DEFAULT_SHARE)
    for half in (False, True):
        passes = preferred_passes
        while passes > 1 and need.total(passes, half=half) > usable:
            passes //= 2
        if need.total(passes, half=half) <= usable:
            return Choice(passes, half)
    if budget is not None:
        least = budget - at_hand + need.total(1, half=True)
        raise UsageError(
            "the memory that prediction may use is too small for this case",
            expected=f"at least {as_gigabytes(least)}",
            found=as_gigabytes(budget),
            cure=f"give --memory {as_gigabytes(least).replace(' ', '')} or more",
        )
    return Choice(1, half=True)


def host_memory_at_hand(budget: int | None) -> int:
    """Bytes this process may still take: of its budget, or of what the machine has free."""
    if budget is None:
        return int(psutil.virtual_memory().available)
    return budget - int(psutil.Process().memory_info().rss)


def as_gigabytes(count: int) -> str:
    """Bytes for people, rounded up to a tenth of a gigabyte (10^9 bytes)."""
    return f"{-(-count // 10**8) / 10:.1f} GB"

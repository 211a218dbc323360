"""What one row of the table of bad input is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Change = Callable[[Path], object]
"""Spoils the sound things in a folder; see `bad_input.kit` for their names."""


def nothing(place: Path) -> None:
    """The input is bad as it is."""


@dataclass(frozen=True)
class Row:
    """One bad input, and what a whole command makes of it.

    Args:
        name: of the input, for people.
        command: words of the command line, run in a folder with the things it names.
        says: texts that must all be in what is printed, in any case.
        change: what is done to the things first.
        status: the exit status; 0 where the input has to work all the same.
        leaves: patterns of new files, relative to the folder; nothing else may be new, and
            nothing that was there may change.
        limit: where the command runs: "" as always, "plain user" without the right to write
            into what is marked read-only, "full disk" and "very full disk" where no file
            grows beyond 4 KB and 128 bytes.
        seconds: what the command may take.
    """

    name: str
    command: str
    says: tuple[str, ...]
    change: Change = nothing
    status: int = 1
    leaves: tuple[str, ...] = ()
    limit: str = ""
    seconds: float = 5.0


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(place: Path) -> None:
        for one in changes:
            one(place)

    return change

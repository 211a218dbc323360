"""Names in the user's options that no case and no segment has: most often a slip of the keyboard.

A case that was to be left out and is not would be learned from, and nobody would notice.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..domain.errors import DatasetError
from ..domain.terminology import folded
from .collection import CollectedCase, CollectOptions

SHOWN = 10
"""Names that exist, listed where none is close."""


@dataclass(frozen=True)
class UnknownName:
    """A name that means nothing: what it was to be, the option it stands in, and close ones."""

    what: str
    name: str
    option: str
    close: tuple[str, ...]
    known: tuple[str, ...]

    @property
    def cure(self) -> str:
        """What to do."""
        if self.close:
            return f"did you mean {' or '.join(self.close)}?"
        return f"choose one of these, or leave {self.option} out"

    @property
    def found(self) -> str:
        """What there is instead."""
        more = f" and {len(self.known) - SHOWN} more" if len(self.known) > SHOWN else ""
        return (", ".join(self.known[:SHOWN]) or "none") + more

    def __str__(self) -> str:
        hint = self.cure if self.close else f"there are {self.found}"
        return f"{self.option} {self.name} has no effect: no {self.what} is called so; {hint}"


def unknown_names(
    cases: Sequence[CollectedCase], options: CollectOptions
) -> tuple[UnknownName, ...]:
    """The names of cases and segments in the options that nothing has.

    Args:
        cases: all that were found, excluded ones too.
        options: as the user gave them.
    """
    named = [segment.name for case in cases for segment in case.segments]
    segments = tuple(dict.fromkeys(named))
    renamed = {folded(old): new for old, new in options.renames.items()}
    structures = tuple(dict.fromkeys(renamed.get(folded(name), name) for name in named))
    identifiers = tuple(case.identifier for case in cases)
    return (
        *_unknown("case", "--exclude", options.excluded, identifiers, str),
        *_unknown("segment", "--structure", options.structures, structures, folded),
        *_unknown("segment", "--rename", options.renames, segments, folded),
    )


def require_known(cases: Sequence[CollectedCase], options: CollectOptions) -> None:
    """Refuses to write a data set from which something was to be left out that is not there.

    Renames are not asked for: one list of them may serve many collections.

    Raises:
        DatasetError: no case, or no segment, has a name that was given.
    """
    for unknown in unknown_names(cases, options):
        if unknown.option != "--rename":
            raise DatasetError(
                f"no {unknown.what} is called {unknown.name!r}",
                expected=f"{unknown.option} with the name of one that was found",
                found=unknown.found,
                cure=unknown.cure,
            )


def _unknown(
    what: str,
    option: str,
    wanted: Iterable[str],
    known: tuple[str, ...],
    plain: Callable[[str], str],
) -> list[UnknownName]:
    there = {plain(name) for name in known}
    by_case = {name.casefold(): name for name in known}
    found = []
    for name in dict.fromkeys(wanted):
        if plain(name) not in there:
            close = difflib.get_close_matches(name.casefold(), by_case, n=3)
            names = tuple(by_case[key] for key in close)
            found.append(UnknownName(what, name, option, names, known))
    return found

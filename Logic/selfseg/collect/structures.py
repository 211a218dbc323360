"""Which segments of different cases are the same structure.

By the code of a terminology first, then by name; never by label value, which says nothing
between files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..domain.terminology import Codes, folded
from .collection import (
    IGNORE,
    CollectedCase,
    CollectedSegment,
    CollectOptions,
    Structure,
)

Key = tuple[str, ...]

_LEAVES_NOTHING = frozenset({"unnamed-labels", "conflicting-codes"})
"""Problems from which it follows that a case has no structure: to mend them mends that."""


@dataclass
class _Group:
    """Segments that are one structure."""

    key: Key
    spellings: Counter[str] = field(default_factory=Counter)
    colours: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    terms: Codes | None = None
    cases: set[str] = field(default_factory=set)
    filled: bool = False

    @property
    def name(self) -> str:
        return self.spellings.most_common(1)[0][0]


def unify(
    cases: Sequence[CollectedCase], options: CollectOptions
) -> tuple[tuple[Structure, ...], tuple[CollectedCase, ...], tuple[str, ...]]:
    """Gives every segment its structure, and every case the problems that come of it.

    Args:
        cases: as they were found; excluded ones are left as they are.
        options: see `CollectOptions`.

    Returns:
        The structures, the cases in the same order, and notes on the whole.
    """
    taken = [case for case in cases if not case.excluded]
    renames = {folded(old): new for old, new in options.renames.items()}
    keys = _keys(taken, renames)
    groups = _groups(taken, keys, renames)
    conflicts = _conflicts(groups)
    wanted = _wanted(groups, options)
    notes = []
    empty = [group.name for group in wanted if not group.filled]
    if empty:
        notes.append(f"left out, as empty in every case: {', '.join(map(repr, empty))}")
    kept = [group for group in wanted if group.filled and group.key not in conflicts]
    places = {group.key: index for index, group in enumerate(kept)}
    structures = [Structure(group.name, group.terms, _commonest(group.colours)) for group in kept]
    result = []
    for case in cases:
        if not case.excluded:
            case = _judged(case, keys, places, structures, conflicts, options)
        result.append(case)
    final = []
    for index, (structure, group) in enumerate(zip(structures, kept, strict=True)):
        missing = tuple(
            case.identifier
            for case in result
            if case.images
            and case.identifier not in group.cases
            and (not case.excluded or index in case.unknown)
        )
        final.append(replace(structure, cases=len(group.cases), missing=missing))
    return tuple(final), tuple(result), tuple(notes)


def _keys(cases: Sequence[CollectedCase], renames: Mapping[str, str]) -> dict[tuple[str, int], Key]:
    """What each segment is, by case and place."""
    coded: dict[Key, set[str]] = defaultdict(set)
    shared: set[Key] = set()
    for case in cases:
        here: dict[Key, set[str]] = defaultdict(set)
        for segment in case.segments:
            key = _code(segment, renames)
            if key is not None:
                here[key].add(folded(segment.name))
                coded[key].add(folded(segment.name))
        # Two lesions with the code of lesions: the code does not say which is which.
        shared.update(key for key, names in here.items() if len(names) > 1)
    by_name: dict[str, set[Key]] = defaultdict(set)
    for key, names in coded.items():
        for name in names:
            by_name[name].add((*key, name) if key in shared else key)
    newer = _newer_codes(by_name)
    by_name = {name: {newer.get(key, key) for key in found} for name, found in by_name.items()}
    keys: dict[tuple[str, int], Key] = {}
    for case in cases:
        for place, segment in enumerate(case.segments):
            name = folded(renames.get(folded(segment.name), segment.name))
            key = _code(segment, renames)
            if key is not None:
                key = (*key, name) if key in shared else key
                keys[case.identifier, place] = newer.get(key, key)
            elif len(by_name.get(name, ())) == 1:
                keys[case.identifier, place] = next(iter(by_name[name]))
            else:
                keys[case.identifier, place] = ("", name)
    return keys


def _newer_codes(by_name: Mapping[str, set[Key]]) -> dict[Key, Key]:
    """Old codes (SRT, of Slicer before 4.11) to the new ones (SCT) of segments of the same name."""
    newer: dict[Key, Key] = {}
    for found in by_name.values():
        new = [key for key in found if key[0].startswith("SCT^")]
        if len(new) == 1:
            newer |= {key: new[0] for key in found if key[0].startswith(("SRT^", "SNM3^"))}
    return newer


def _code(segment: CollectedSegment, renames: Mapping[str, str]) -> Key | None:
    """The code that identifies; a segment that the user has renamed goes by its new name."""
    if folded(segment.name) in renames or segment.terms is None:
        return None
    return segment.terms.key


def _groups(
    cases: Sequence[CollectedCase],
    keys: Mapping[tuple[str, int], Key],
    renames: Mapping[str, str],
) -> dict[Key, _Group]:
    groups: dict[Key, _Group] = {}
    for case in cases:
        for place, segment in enumerate(case.segments):
            if folded(segment.name) == IGNORE:
                continue
            key = keys[case.identifier, place]
            group = groups.setdefault(key, _Group(key))
            group.spellings[renames.get(folded(segment.name), segment.name)] += 1
            if segment.colour is not None:
                group.colours[segment.colour] += 1
            if group.terms is None and segment.terms is not None and segment.terms.key is not None:
                group.terms = segment.terms
            group.cases.add(case.identifier)
            group.filled |= segment.empty is not True
    return groups


def _conflicts(groups: Mapping[Key, _Group]) -> dict[Key, str]:
    """Structures whose name stands for something else in more cases: key to that code's text."""
    named: dict[str, list[_Group]] = defaultdict(list)
    for group in groups.values():
        named[folded(group.name)].append(group)
    found: dict[Key, str] = {}
    for same in named.values():
        first = max(same, key=lambda group: len(group.cases))
        for group in same:
            if group is not first:
                found[group.key] = first.terms.text if first.terms else "no code"
    return found


def _wanted(groups: Mapping[Key, _Group], options: CollectOptions) -> list[_Group]:
    if not options.structures:
        return list(groups.values())
    found = []
    for name in options.structures:
        found += [
            group
            for group in groups.values()
            if folded(name) in {folded(spelling) for spelling in group.spellings}
            and group not in found
        ]
    return found


def _judged(
    case: CollectedCase,
    keys: Mapping[tuple[str, int], Key],
    places: Mapping[Key, int],
    structures: Sequence[Structure],
    conflicts: Mapping[Key, str],
    options: CollectOptions,
) -> CollectedCase:
    segments = []
    seen: dict[int, str] = {}
    for place, segment in enumerate(case.segments):
        key = keys[case.identifier, place]
        index = places.get(key)
        if key in conflicts and folded(segment.name) != IGNORE:
            case = case.with_problem(
                "conflicting-codes",
                f"segment {segment.name!r} has another code than in other cases: "
                f"{segment.terms.text if segment.terms else 'none'} against {conflicts[key]}",
                f"give it the same terminology, or go by the name: --rename "
                f"'{segment.name}={segment.name}'",
            )
        if index is not None and index in seen:
            case = case.with_problem(
                "doubled-segment",
                f"segments {seen[index]!r} and {segment.name!r} are the same structure",
                "join or rename one of them, or give them different terminology",
            )
        elif index is not None:
            seen[index] = segment.name
            if folded(segment.name) != folded(structures[index].name):
                case = case.with_note(
                    f"segment {segment.name!r} is taken as {structures[index].name!r}"
                )
        segments.append(replace(segment, structure=index))
    case = replace(case, segments=tuple(segments))
    if not case.images or case.segmentation is None:
        return case
    if not seen:
        if any(problem.kind in _LEAVES_NOTHING for problem in case.problems):
            return case
        return case.with_problem(
            "no-structure",
            "nothing that is segmented in it is a structure of the data set",
            "name its segments as in the other cases, or exclude the case",
        )
    return _without_missing(case, seen, structures, options)


def _without_missing(
    case: CollectedCase,
    seen: Mapping[int, str],
    structures: Sequence[Structure],
    options: CollectOptions,
) -> CollectedCase:
    missing = tuple(index for index in range(len(structures)) if index not in seen)
    names = ", ".join(repr(structures[index].name) for index in missing)
    if not missing:
        return case
    if options.missing == "empty":
        return case.with_note(f"has no segment for {names}: taken as not there")
    if options.missing == "ignore":
        case = replace(case, unknown=missing)
        return case.with_note(
            f"has no segment for {names}: what no other segment covers is left out of training"
        )
    if options.missing == "exclude":
        case = replace(case, excluded=True, unknown=missing)
        return case.with_note(f"left out, as it has no segment for {names}")
    for index in missing:
        name = structures[index].name
        case = case.with_problem(
            "missing-structure",
            f"structure {name!r} is not segmented",
            f"add an empty segment {name!r} if it is not there, exclude the case, choose the "
            "structures, or say what it means with --missing empty, ignore or exclude",
        )
    return case


def _commonest(colours: Counter[tuple[int, int, int]]) -> tuple[int, int, int] | None:
    return colours.most_common(1)[0][0] if colours else None

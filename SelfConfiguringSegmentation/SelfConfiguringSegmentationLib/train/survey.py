"""What `selfseg collect` found: rows of the case table, and the structures they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .pairing import Problem

MISSING = ("problem", "empty", "ignore", "exclude")
"""What it means that a structure has no segment in a case; see `selfseg collect --help`."""


@dataclass(frozen=True)
class Row:
    """One case.

    Args:
        case: its name.
        source: file, folder or "" for the scene.
        images: names of files or nodes, one per channel.
        segmentation: likewise, "" where there is none.
        structures: names as the model will have them.
        notes: what is adapted.
        problems: why it cannot be taken.
        state: "ready", "problem" or "excluded".
    """

    case: str
    source: str = ""
    images: tuple[str, ...] = ()
    segmentation: str = ""
    structures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    state: str = "ready"


@dataclass(frozen=True)
class Structure:
    """One class of the model, with the number of cases that have it and those that do not."""

    name: str
    code: str = ""
    colour: tuple[int, int, int] | None = None
    cases: int = 0
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """All that was found."""

    rows: tuple[Row, ...] = ()
    structures: tuple[Structure, ...] = ()
    channels: tuple[str, ...] = ()
    size_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def ready(self) -> int:
        """Cases that are taken."""
        return sum(row.state == "ready" for row in self.rows)

    @property
    def problems(self) -> int:
        """Cases that cannot be taken as they are."""
        return sum(row.state == "problem" for row in self.rows)


@dataclass(frozen=True)
class Choices:
    """What the user decides about the cases; see docs/reference/collection-file.md."""

    missing: str = "problem"
    structures: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    excluded: frozenset[str] = frozenset()
    channels: tuple[str, ...] = ()
    name: str = ""

    def named(self, name: str) -> Choices:
        """The same for a data set of that name."""
        return replace(self, name=name)

    def words(self) -> list[str]:
        """As arguments of `selfseg collect`."""
        words = ["--missing", self.missing]
        if self.name:
            words += ["--name", self.name]
        for channel in self.channels:
            words += ["--channel", channel]
        for structure in self.structures:
            words += ["--structure", structure]
        for old, new in self.renames:
            words += ["--rename", f"{old}={new}"]
        for case in sorted(self.excluded):
            words += ["--exclude", case]
        return words


def row_of_event(event: Mapping[str, Any]) -> Row:
    """The row that a `case_surveyed` event describes."""
    segments = event.get("segments") or ()
    names = [segment.get("structure") for segment in segments]
    return Row(
        case=str(event["case"]),
        source=str(event.get("source") or ""),
        images=tuple(str(image.get("file") or "") for image in event.get("images") or ()),
        segmentation=str(event.get("segmentation") or ""),
        structures=tuple(dict.fromkeys(str(name) for name in names if name)),
        notes=tuple(map(str, event.get("notes") or ())),
        problems=tuple(
            Problem(str(found["kind"]), str(found["what"]), str(found.get("cure") or ""))
            for found in event.get("problems") or ()
        ),
        state=str(event["state"]),
    )


def survey_of_event(event: Mapping[str, Any], rows: Sequence[Row]) -> Survey:
    """The survey that a `collection_surveyed` event ends."""
    return Survey(
        rows=tuple(rows),
        structures=tuple(_structure(entry) for entry in event.get("structures") or ()),
        channels=tuple(map(str, event.get("channels") or ())),
        size_bytes=int(event.get("bytes") or 0),
        notes=tuple(map(str, event.get("notes") or ())),
    )


def files_of(row: Row) -> tuple[list[Path], Path | None]:
    """Files of a row that exist by themselves: images, and the segmentation."""
    source = Path(row.source)
    base = source if source.is_dir() else source.parent

    def existing(name: str) -> Path | None:
        path = base / name if name else None
        return path if path is not None and path.is_file() else None

    images = [path for path in map(existing, row.images) if path is not None]
    return images, existing(row.segmentation)


def _structure(entry: Mapping[str, Any]) -> Structure:
    colour = entry.get("colour")
    return Structure(
        name=str(entry["name"]),
        code=str(entry.get("code") or ""),
        colour=None if colour is None else (int(colour[0]), int(colour[1]), int(colour[2])),
        cases=int(entry.get("cases") or 0),
        missing=tuple(map(str, entry.get("missing") or ())),
    )

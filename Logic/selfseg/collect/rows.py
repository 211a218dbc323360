"""Rows and what they make together, as events and plain values for other programs.

docs/reference/collection-file.md is the description for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..domain.events import Event, Reporter
from .collection import CollectedCase, CollectedSegment, Collection


@dataclass(frozen=True)
class CaseSurveyed(Event):
    """One case was looked at; see `case_as_json` for the entries."""

    row: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The row itself, beside the name of the event."""
        return {"event": "case_surveyed", **self.row}


@dataclass(frozen=True)
class CollectionSurveyed(Event):
    """All sources were looked at; see `collection_as_json`."""

    summary: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The summary itself, beside the name of the event."""
        return {"event": "collection_surveyed", **self.summary}


@dataclass(frozen=True)
class DatasetWritten(Event):
    """The data set is complete."""

    folder: str
    cases: int
    left_out: tuple[str, ...]


def report_rows(collection: Collection, reporter: Reporter) -> None:
    """One event per case, then one for the whole."""
    whole = collection_as_json(collection)
    for row in whole.pop("rows"):
        reporter(CaseSurveyed(row))
    reporter(CollectionSurveyed(whole))


def collection_as_json(collection: Collection) -> dict[str, Any]:
    """The whole collection as plain values; the cases are under "rows"."""
    states = [case.state for case in collection.cases]
    return {
        "name": collection.name,
        "channels": list(collection.channels),
        "structures": [
            {
                "name": structure.name,
                "code": None if structure.terms is None else str(structure.terms.type),
                "colour": None if structure.colour is None else list(structure.colour),
                "cases": structure.cases,
                "missing": list(structure.missing),
            }
            for structure in collection.structures
        ],
        "cases": len(states),
        "ready": states.count("ready"),
        "problems": states.count("problem"),
        "excluded": states.count("excluded"),
        "bytes": collection.bytes_estimate,
        "notes": list(collection.notes),
        "rows": [case_as_json(case, collection) for case in collection.cases],
    }


def case_as_json(case: CollectedCase, collection: Collection) -> dict[str, Any]:
    """One row as plain values."""
    grid = case.grid
    return {
        "case": case.identifier,
        "source": str(case.source),
        "group": case.group,
        "images": [{"channel": image.channel, "file": image.voxels.shown} for image in case.images],
        "segmentation": None if case.segmentation is None else case.segmentation.shown,
        "shape": None if grid is None else list(grid.shape),
        "spacing": None if grid is None else list(grid.spacing),
        "segments": [_segment(segment, collection) for segment in case.segments],
        "notes": list(case.notes),
        "problems": [
            {"kind": problem.kind, "what": problem.what, "cure": problem.cure}
            for problem in case.problems
        ],
        "state": case.state,
    }


def _segment(segment: CollectedSegment, collection: Collection) -> dict[str, Any]:
    index = segment.structure
    return {
        "name": segment.name,
        "structure": None if index is None else collection.structures[index].name,
        "code": None if segment.terms is None else str(segment.terms.type),
        "colour": None if segment.colour is None else list(segment.colour),
        "empty": segment.empty,
    }

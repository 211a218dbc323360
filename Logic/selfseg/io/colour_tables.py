"""Colour tables: what the values of a label map are called, and how they are shown.

Read are tables that lie beside label maps: Slicer's (`value name red green blue opacity`, `.ctbl`
or `.txt`; `.csv` with terminology in Slicer 5.8 and newer) and ITK-SNAP's label descriptions
(`.label`, `.txt`). Slicer's `.ctbl` is written.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..domain.appearance import Code
from ..domain.errors import ModelError
from ..domain.labels import Colour
from ..domain.terminology import Codes, folded
from .atomic_files import write_bytes_atomically
from .image_endings import name_without_ending

ENDING = ".ctbl"
"""Of what is written."""

ENDINGS = (ENDING, ".txt", ".label", ".csv")
LARGEST_TABLE = 8 * 2**20
"""Bytes: 65536 lines of 100 characters."""

_SLICER = re.compile(r"(-?\d+)\s+(\S.*?)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?")
_SNAP = re.compile(r'(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+\d\s+\d\s+"([^"]*)"')
_BACKGROUND = frozenset({"background", "clearlabel", "none", "(none)", ""})
_SUFFIXES = ("", "colortable", "colors", "colours", "colour", "color", "labels", "table")


@dataclass(frozen=True)
class TableEntry:
    """What one label value stands for."""

    name: str
    colour: Colour | None = None
    terms: Codes | None = None


Table = Mapping[int, TableEntry]


def read_colour_table(path: Path) -> Table | None:
    """The entries of a table by label value, background left out; None where it is no table."""
    try:
        if path.stat().st_size > LARGEST_TABLE:
            return None
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    if path.suffix.lower() == ".csv":
        return _from_csv(text)
    entries: dict[int, TableEntry] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if match := _SNAP.fullmatch(line):
            value, name, parts = match[1], match[5], match.group(2, 3, 4)
        elif match := _SLICER.fullmatch(line):
            value, name, parts = match[1], match[2], match.group(3, 4, 5)
        else:
            return None
        name = _shown(name)
        if int(value) > 0 and folded(name) not in _BACKGROUND:
            entries[int(value)] = TableEntry(name, _colour(parts))
    return entries or None


def table_beside(label_map: Path) -> Table | None:
    """The table that goes with a label map: of its name, or the only one in its folder.

    `Segmentation-label.nii.gz` goes with `Segmentation-label.ctbl`,
    `Segmentation_ColorTable.ctbl` and the like.
    """
    stem = folded(name_without_ending(label_map))
    tables = {}
    for path in sorted(label_map.parent.iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            table = read_colour_table(path)
            if table is not None:
                tables[path] = table
    for path, table in tables.items():
        name = folded(path.stem)
        for suffix in _SUFFIXES:
            bare = name.removesuffix(suffix) if suffix else name
            if bare and (bare == stem or stem.removesuffix("label") == bare):
                return table
    return next(iter(tables.values())) if len(tables) == 1 else None


def write_colour_table(path: Path, entries: Sequence[tuple[int, str, Colour]]) -> None:
    """Writes Slicer's colour table: `value name red green blue opacity`, one line each.

    Blanks in names become underscores, as Slicer writes them: the columns are separated by
    blanks.

    Args:
        path: ends in .ctbl.
        entries: value, name and colour of each structure; the background is added.

    Raises:
        ProjectError: it cannot be written.
    """
    lines = ["# Color table", "0 background 0 0 0 0"]
    for value, name, colour in sorted(entries):
        shown = re.sub(r"\s+", "_", name.strip()).lstrip("#") or f"label_{value}"
        lines.append(f"{value} {shown} {' '.join(map(str, colour))} 255")
    write_bytes_atomically(path, ("\n".join(lines) + "\n").encode())


def _from_csv(text: str) -> Table | None:
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"LabelValue", "Name"} <= set(rows[0]):
        return None
    entries: dict[int, TableEntry] = {}
    for row in rows:
        value, name = str(row.get("LabelValue") or ""), str(row.get("Name") or "").strip()
        if not value.strip().isdecimal() or int(value) == 0 or folded(name) in _BACKGROUND:
            continue
        parts = tuple(str(row.get(f"Color_{channel}") or "") for channel in "RGB")
        entries[int(value)] = TableEntry(name, _colour(parts), _terms(row))
    return entries or None


def _terms(row: Mapping[str, str | None]) -> Codes | None:
    def code(kind: str) -> Code | None:
        parts = [
            str(row.get(f"{kind}_{part}") or "").strip()
            for part in ("CodingScheme", "CodeValue", "CodeMeaning")
        ]
        try:
            return Code(*parts)
        except ModelError:
            return None

    what = code("Type")
    if what is None:
        return None
    return Codes(
        code("Category"), what, code("TypeModifier"), code("Region"), code("RegionModifier")
    )


def _shown(name: str) -> str:
    """Slicer writes blanks in names as underscores."""
    return name.strip().replace("_", " ").strip()


def _colour(parts: tuple[str, ...] | tuple[str | None, ...]) -> Colour | None:
    if any(not str(part).isdecimal() or int(str(part)) > 255 for part in parts):
        return None
    red, green, blue = (int(str(part)) for part in parts)
    return red, green, blue

"""Colour tables: what the values of a label map are called, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..domain.labels import Colour
from .atomic_files import write_bytes_atomically

ENDING = ".ctbl"


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

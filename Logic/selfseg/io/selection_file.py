"""`selection.json` of a project: what `selfseg select` chose."""

from __future__ import annotations

from ..domain.selection import Selection
from .json_files import read_json, write_json
from .project import Project

SCHEMA = "selfseg.selection/1"


def read_selection(project: Project) -> Selection | None:
    """What was chosen; None where nothing was.

    Raises:
        FileFormatError, ModelError: the file is damaged, or says what cannot be.
    """
    path = project.selection_file
    return read_json(path, Selection, schema=SCHEMA) if path.is_file() else None


def write_selection(project: Project, selection: Selection) -> None:
    """Keeps what was chosen."""
    write_json(project.selection_file, selection, schema=SCHEMA)

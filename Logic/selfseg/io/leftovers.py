"""What killed processes left unfinished in a project, and its removal."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..domain.errors import ProjectError
from .atomic_files import remove_unfinished
from .locks import folder_lock

TIDYING_SECONDS = 1.0
"""A training's folder may be held so long by a process that looks for unfinished files."""

_FOLDERS = ("plans", "preprocessed", "selection")
"""Only who holds the project writes there. In runs/, whoever holds the training does as well."""


def remove_leftovers(project: Path) -> None:
    """Deletes unfinished files and the marks of dead owners; running trainings are spared.

    Args:
        project: the project's folder, held by this process.
    """
    remove_unfinished(project, below=False)
    for name in _FOLDERS:
        remove_unfinished(project / name)
    for configuration in (project / "runs").glob("*/*"):
        remove_unfinished(configuration, below=False)
    for fold in (project / "runs").glob("*/*/fold_*"):
        # In use: its training goes on, and tidies up when it is resumed.
        with suppress(ProjectError), folder_lock(fold, what="training"):
            remove_unfinished(fold)

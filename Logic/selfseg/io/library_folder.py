"""Where the library of models lies and how its folders are called.

Slicer's own process asks before any package is installed: the standard library alone is used.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

MODEL_FOLDER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)@(?P<version>[A-Za-z0-9._+-]+)")
"""A folder of the library: name and version of its model."""


def default_library(system: str | None = None, home: Path | None = None) -> Path:
    """Where models are kept when nobody says otherwise: the user's own data folder.

    Args:
        system: as `platform.system()` names it; this one otherwise.
        home: the user's folder; this user's otherwise.
    """
    place = Path.home() if home is None else home
    # The XDG Base Directory Specification: a relative path is ignored.
    data = Path(os.environ.get("XDG_DATA_HOME", "") if home is None else "")
    match system or platform.system():
        case "Windows":
            return place / "AppData" / "Local" / "selfseg" / "models"
        case "Darwin":
            return place / "Library" / "Application Support" / "selfseg" / "models"
        case _:
            shared = data if data.is_absolute() else place / ".local" / "share"
            return shared / "selfseg" / "models"


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts 1.9 before 1.10, and 2.0-rc1 before 2.0."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    numbered = [(1, int(part), "") if part.isdecimal() else (-1, 0, part.lower()) for part in parts]
    return (*numbered, (0, 0, ""))

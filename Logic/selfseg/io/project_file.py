"""What a project is made from, and whether a folder may become one: the content of project.json."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..domain.dataset import Dataset, DatasetDescription
from ..domain.errors import ProjectError
from ..domain.labels import LabelScheme
from .atomic_files import TEMPORARY_PREFIX
from .file_names import OF_FILE_BROWSERS
from .locks import LOCK_NAME, OWNER_NAME

_OURS = {LOCK_NAME, OWNER_NAME}


@dataclass(frozen=True)
class ProjectFile:
    """`project.json`. Both paths lead to the data set; the second survives moving both."""

    dataset_folder: str
    dataset_folder_relative: str
    description: DatasetDescription
    created: str
    selfseg_version: str

    @classmethod
    def of(cls, dataset: Dataset, folder: Path, clock: Callable[[], float]) -> ProjectFile:
        """As it is written when the data set's project is made in `folder`."""
        return cls(
            dataset_folder=str(Path(dataset.folder).resolve()),
            dataset_folder_relative=_relative(dataset.folder, folder),
            description=dataset.description,
            created=datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
            selfseg_version=__version__,
        )

    def dataset_places(self, folder: Path) -> tuple[Path, ...]:
        """Where the data set of the project in `folder` may lie, its first place first."""
        relative = self.dataset_folder_relative
        beside = ((folder / relative).resolve(),) if relative else ()
        return tuple(dict.fromkeys((Path(self.dataset_folder), *beside)))

    def check_belongs_to(self, dataset: Dataset, folder: Path) -> None:
        """Insists that the project in `folder` is one of this data set, as it was.

        Raises:
            ProjectError: it belongs to another, or channels or labels have changed since.
        """
        known, given = self.description, dataset.description
        places = self.dataset_places(folder)
        moved = known.name == given.name and not any(place.is_dir() for place in places)
        if Path(dataset.folder).resolve() not in places and not moved:
            raise ProjectError(
                "the project belongs to another data set",
                expected=str(places[0]),
                found=str(dataset.folder),
                cure="give another folder with -p; every data set has its own project",
                path=folder,
            )
        for what, before, now in (
            ("channels", known.channel_names, given.channel_names),
            ("labels", known.labels, given.labels),
        ):
            if before != now:
                raise ProjectError(
                    f"the data set's {what} have changed since the project was made",
                    expected=_shown(before),
                    found=_shown(now),
                    cure="give a new folder with -p, or undo the change in dataset.json",
                    path=folder,
                )


def check_may_become_project(folder: Path) -> None:
    """Insists that a folder is not there yet, or holds nothing of anybody's.

    Raises:
        ProjectError: it holds files, or is one.
    """
    if folder.exists() and not folder.is_dir():
        found = "a file"
    elif folder.is_dir():
        foreign = [name for name in sorted(p.name for p in folder.iterdir()) if _is_foreign(name)]
        found = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
    else:
        found = ""
    if found:
        raise ProjectError(
            "the folder holds other files",
            expected="a new or empty folder, or one with a project",
            found=found,
            cure="give another folder with -p; it will be made",
            path=folder,
        )


def _is_foreign(name: str) -> bool:
    ours = name.lower() in _OURS or name.startswith(TEMPORARY_PREFIX)
    return not ours and name.lower() not in OF_FILE_BROWSERS


def _shown(value: tuple[str, ...] | LabelScheme) -> str:
    if not isinstance(value, LabelScheme):
        return ", ".join(value)
    names = ", ".join(f"{name} {values}" for name, values in value.to_mapping().items())
    looks = [f"{label.colour} {label.code}" for label in value.foreground if label.colour]
    order = value.regions_class_order
    return names + (f"; order {order}" if order else "") + (f"; {', '.join(looks)}" * bool(looks))


def _relative(folder: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(Path(folder).resolve(), start.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return ""

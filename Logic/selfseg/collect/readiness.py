"""What must hold before a data set is written: ready cases, a folder of our own, room."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..domain.errors import DatasetError, ProjectError
from ..io.image_endings import image_ending
from .collection import CollectedCase, Collection
from .records import FOLDER

OWN_ENDING = ".nrrd"
"""Of images that are written anew: ITK packs it at its fastest, and the header is exact."""

KEPT_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".tiff", ".bmp")
"""Images that all end like this are copied as they are."""

SPARE_BYTES = 200 * 2**20
"""Left free on the disk: a full system disk does more harm than a stopped command."""


def require_ready(collection: Collection, skip_problems: bool) -> tuple[CollectedCase, ...]:
    """The cases to write.

    Raises:
        DatasetError: some have problems (unless these are skipped), or none is ready.
    """
    faulty = [case for case in collection.cases if case.state == "problem"]
    if faulty and not skip_problems:
        shown = [f"{case.identifier}: {case.problems[0].what}" for case in faulty[:5]]
        more = [f"and {len(faulty) - 5} more"] if len(faulty) > 5 else []
        raise DatasetError(
            f"{len(faulty)} of {len(collection.cases)} cases have problems",
            expected="cases without problems",
            found="; ".join(shown + more),
            cure=f"{faulty[0].problems[0].cure}; look at all with --dry-run, or leave such cases "
            "out with --skip-problems",
        )
    cases = collection.ready
    if not cases or not collection.structures:
        raise DatasetError(
            "no case is ready" if not cases else "there is no structure to learn",
            expected="at least one segmented scan without problems",
            found=f"{len(collection.cases)} cases",
            cure="look at them with --dry-run",
        )
    return cases


def require_own(folder: Path) -> None:
    """Refuses to write into somebody else's folder.

    Raises:
        DatasetError: it is not empty, and not of our making.
    """
    content = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    foreign = folder.exists() and not folder.is_dir()
    if foreign or (content and FOLDER not in content):
        raise DatasetError(
            "there is something of this name already",
            expected="a new or empty folder, or one that `selfseg collect` has written",
            found="a file" if foreign else ", ".join(sorted(content)[:5]),
            cure="choose another folder for the data set",
            path=folder,
        )


def require_space(folder: Path, wanted: float) -> None:
    """Refuses to begin what the disk has no room for.

    Args:
        folder: where it goes; need not exist.
        wanted: bytes.

    Raises:
        ProjectError: fewer are free.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted + SPARE_BYTES > free:
        raise ProjectError(
            "there is not enough space for the data set",
            expected=f"about {(wanted + SPARE_BYTES) / 2**20:.0f} MB",
            found=f"{free / 2**20:.0f} MB",
            cure="free some space, or choose a folder on another disk",
            path=folder,
        )


def common_ending(cases: tuple[CollectedCase, ...]) -> str:
    """The ending of the data set: that of all images, or else our own."""
    endings = {
        (image_ending(image.voxels.shown) or "").lower() if image.voxels.form == "image" else ""
        for case in cases
        for image in case.images
    }
    only = endings.pop() if len(endings) == 1 else ""
    return only if only in KEPT_ENDINGS else OWN_ENDING


def make_folder(folder: Path) -> None:
    """Makes a folder where there is none.

    Raises:
        ProjectError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            "the folder cannot be written",
            expected="a place with the right to write and enough free space",
            found=error.strerror or str(error),
            cure="choose another place",
            path=folder,
        ) from error

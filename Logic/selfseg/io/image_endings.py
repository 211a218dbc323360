"""Which image files exist: their endings, and names without them."""

from __future__ import annotations

import re
from pathlib import Path

ITK_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl.gz", ".gipl")
"""Read and written by SimpleITK, with their place in the world."""

TIFF_ENDINGS = (".tif", ".tiff")
"""Photographs, or stacks of slices with the spacing in a JSON file beside them."""

PHOTO_ENDINGS = (".png", ".bmp", ".jpg", ".jpeg")
"""2D images without a place in the world."""

IMAGE_ENDINGS = ITK_ENDINGS + TIFF_ENDINGS + PHOTO_ENDINGS

_CHANNEL_SUFFIX = re.compile(r"(?P<identifier>.+)_(?P<channel>\d{4})")


def image_ending(path: Path | str) -> str | None:
    """The image ending of a file name as it is written there, or None if it has none we read."""
    name = Path(path).name
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[-len(ending) :]
    return None


def name_without_ending(path: Path | str) -> str:
    """The file name without its image ending ("liver_001" of "a/liver_001.nii.gz")."""
    ending = image_ending(path)
    return Path(path).name if ending is None else Path(path).name[: -len(ending)]


def split_channel(name: str) -> tuple[str, int | None]:
    """Splits "liver_001_0000" into case identifier and channel index.

    The index is None where the name does not end in an underscore and four digits.
    """
    match = _CHANNEL_SUFFIX.fullmatch(name)
    return (name, None) if match is None else (match["identifier"], int(match["channel"]))


def list_images(folder: Path, ending: str | None = None) -> list[Path]:
    """All visible image files of a folder, sorted by name; [] where there is no such folder.

    Args:
        folder: where to look; not searched below its first level.
        ending: only files that end like this (upper and lower case are the same).
    """
    if not folder.is_dir():
        return []
    wanted = None if ending is None else ending.lower()
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")  # "._x.nii.gz" is what macOS leaves in archives
        and (found := image_ending(path)) is not None
        and (wanted is None or found.lower() == wanted)
        and path.is_file()
    )

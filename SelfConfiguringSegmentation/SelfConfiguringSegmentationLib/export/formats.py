"""The formats that segmentations can be exported to, as the user chooses them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from selfseg.domain.errors import UsageError


@dataclass(frozen=True)
class FileFormat:
    """One entry of the list.

    Args:
        key: the word of `selfseg export --format`.
        title: what is shown.
        hint: what it is good for.
        ending: of a file that a script may name; "" where a folder is written.
    """

    key: str
    title: str
    hint: str
    ending: str


def file_formats() -> tuple[FileFormat, ...]:
    """All of them, in the order of the list."""
    return (
        FileFormat(
            "seg-nrrd",
            _("Segmentation (.seg.nrrd)"),
            _("Everything that Slicer knows about the segments: names, colours, overlaps."),
            ".seg.nrrd",
        ),
        FileFormat(
            "nifti",
            _("Label map, NIfTI (.nii.gz)"),
            _("One number per voxel on the scan's whole grid, with a colour table beside it."),
            ".nii.gz",
        ),
        FileFormat(
            "nrrd",
            _("Label map, NRRD (.nrrd)"),
            _("One number per voxel on the scan's whole grid, with a colour table beside it."),
            ".nrrd",
        ),
        FileFormat(
            "masks",
            _("One NIfTI mask per segment"),
            _("A folder with one file of zeros and ones for each segment."),
            "",
        ),
        FileFormat(
            "stl",
            _("Surfaces, STL"),
            _("One file per segment, for 3D printing. Coordinates are LPS."),
            ".stl",
        ),
        FileFormat(
            "obj",
            _("Surfaces, OBJ"),
            _("One file with all segments and their colours. Coordinates are LPS."),
            ".obj",
        ),
        FileFormat(
            "glb",
            _("Surfaces, glTF (.glb)"),
            _("One file with all segments and their colours, for web pages and slides."),
            ".glb",
        ),
        FileFormat(
            "dicom-seg",
            _("DICOM SEG"),
            _("For the hospital's archive. Patient and study are those of the scan's series."),
            ".dcm",
        ),
        FileFormat(
            "report",
            _("Table of volumes (.csv)"),
            _("Millilitres per segment, predicted quality, and the model's report."),
            ".csv",
        ),
    )


def format_of(key: str) -> FileFormat:
    """The format of that key.

    Raises:
        UsageError: there is none.
    """
    known = {one.key: one for one in file_formats()}
    if key in known:
        return known[key]
    raise UsageError(
        f"there is no format {key!r}",
        expected=", ".join(known),
        found=key,
        cure="choose one of these",
    )


def format_for(path: Path) -> FileFormat | None:
    """The format that a file's ending stands for; None for a folder or another ending."""
    lower = path.name.lower()
    endings = sorted(file_formats(), key=lambda one: -len(one.ending))
    return next((one for one in endings if one.ending and lower.endswith(one.ending)), None)

"""Image files with something wrong in their bytes, through `selfseg check` and `collect`."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from .dataset_rows import CHECK, DESCRIPTION, IMAGE, LABEL
from .files import (
    converted,
    cut,
    entries,
    image,
    meta,
    mode,
    nifti,
    nrrd,
    png_header,
    removed,
    written,
)
from .kit import SHAPE
from .rows import Change, Row, both, nothing

SIZES = SHAPE[::-1]
SLANTED = ((1.0, 0.2, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
HUGE = (10**6,) * 3


def _as(ending: str, change: Change) -> Change:
    """The data set consists of one case, of another format."""
    label = LABEL if ending == ".png" else LABEL.replace(".nii.gz", ending)

    def only(place: Path) -> None:
        for path in (*(place / "data").glob("*Tr/case_00[02]*"), place / IMAGE):
            path.unlink()

    return both(
        only,
        converted(LABEL, label) if label != LABEL else nothing,
        entries(DESCRIPTION, file_ending=ending, numTraining=1),
        change,
    )


def _file(ending: str) -> str:
    return IMAGE.replace(".nii.gz", ending)


FILES: tuple[Row, ...] = (
    Row(
        "a NIfTI spacing of zero",
        CHECK,
        ("spacing",),
        nifti(IMAGE, spacing=(0.0, 1.0, 1.0)),
    ),
    Row(
        "a negative NIfTI spacing",
        CHECK,
        ("does not lie on the grid",),
        nifti(IMAGE, spacing=(-1.0, 1.0, 1.0)),
    ),
    Row(
        "a NIfTI spacing of NaN",
        CHECK,
        ("spacing",),
        nifti(IMAGE, spacing=(float("nan"), 1.0, 1.0)),
    ),
    Row(
        "axes that are not perpendicular",
        CHECK,
        ("not perpendicular", "Resample"),
        nifti(IMAGE, axes=SLANTED),
    ),
    Row(
        "axes of zero length",
        CHECK,
        ("not perpendicular",),
        nifti(IMAGE, axes=((0.0,) * 3,) * 3),
    ),
    Row(
        "3000 slices in the header, three in the file",
        CHECK,
        ("cut off or damaged", "786432000 bytes"),
        nifti(IMAGE, (512, 512, 3000), bytes(3 * 512)),
    ),
    Row("a NIfTI header of 30000^3", CHECK, ("cut off",), nifti(IMAGE, (30_000,) * 3, b"x")),
    Row(
        "a NIfTI header with a negative size",
        CHECK,
        ("read",),
        nifti(IMAGE, (-5, 5, 5), b"x" * 500),
    ),
    Row(
        "voxels before the NIfTI header",
        CHECK,
        ("cannot be read",),
        nifti(IMAGE, offset=-400.0),
    ),
    Row("voxels at 10^30", CHECK, ("cut off",), nifti(IMAGE, offset=1e30)),
    Row(
        "colours cut in half",
        CHECK,
        ("cut off",),
        nifti(IMAGE, SIZES, bytes(100), kind=(128, 24)),
    ),
    Row(
        "complex numbers",
        CHECK,
        ("complex numbers", "magnitude"),
        nifti(IMAGE, kind=(32, 64)),
    ),
    Row(
        "five axes",
        CHECK,
        ("too many axes", "one 3D file per channel"),
        nifti(IMAGE, (*SIZES, 2, 2)),
    ),
    Row("text named .nii.gz", CHECK, ("cannot be read",), written(IMAGE, "Patient has left.\n")),
    Row("an empty file", CHECK, ("cannot be read",), written(IMAGE, b"")),
    Row("a compressed file cut off", CHECK, ("cut off or damaged",), cut(IMAGE, -20)),
    Row(
        "a NRRD header of 10^6 x 10^6 x 10^6",
        CHECK,
        ("cut off or damaged", "1000000000000000000 bytes"),
        _as(".nrrd", nrrd(_file(".nrrd"), HUGE)),
    ),
    Row(
        "a NRRD header of 8 GB over 64 bytes",
        CHECK,
        ("cut off or damaged", "8000000000 bytes", "64 bytes"),
        _as(".nrrd", nrrd(_file(".nrrd"), (2000,) * 3)),
    ),
    Row(
        "a compressed NRRD of 10^6 x 10^6 x 10^6",
        CHECK,
        ("cut off or damaged",),
        _as(".nrrd", nrrd(_file(".nrrd"), HUGE, encoding="gzip")),
    ),
    Row(
        "a NRRD size of zero",
        CHECK,
        ("cannot be read", "size"),
        _as(".nrrd", nrrd(_file(".nrrd"), (0, 4, 4))),
    ),
    Row(
        "NRRD directions of zero",
        CHECK,
        ("read",),
        _as(".nrrd", nrrd(_file(".nrrd"), (4, 4, 4), space_directions="(0,0,0) (0,0,0) (0,0,0)")),
    ),
    Row(
        "a NRRD header that names /etc/passwd",
        CHECK,
        ("outside of its own folder", "/etc/passwd"),
        _as(".nhdr", nrrd(_file(".nhdr"), (4, 4, 4), b"", data_file="/etc/passwd")),
    ),
    Row(
        "a MetaImage header of 10^6 x 10^6 x 10^6",
        CHECK,
        ("cut off or damaged",),
        _as(".mha", meta(_file(".mha"), HUGE)),
    ),
    Row(
        "a compressed MetaImage of 8 GB over 64 bytes",
        CHECK,
        ("cut off or damaged",),
        _as(".mha", meta(_file(".mha"), (2000,) * 3, compressed=True)),
    ),
    Row(
        "a compressed MetaImage with damage inside",
        CHECK,
        ("cut off or damaged", "what to do"),
        _as(
            ".mha",
            meta(
                _file(".mha"), SIZES, zlib.compress(bytes(1680))[:-6] + b"??????", compressed=True
            ),
        ),
    ),
    Row(
        "MetaImage axes that are not perpendicular",
        CHECK,
        ("not perpendicular",),
        _as(".mha", meta(_file(".mha"), (4, 4, 4), matrix="1 0.3 0 0 1 0 0 0 1")),
    ),
    Row(
        "a negative MetaImage spacing",
        CHECK,
        ("does not lie on the grid",),
        _as(".mha", meta(_file(".mha"), (4, 4, 4), spacing="-1 1 1")),
    ),
    Row(
        "a MetaImage header that names a file elsewhere",
        CHECK,
        ("outside of its own folder", "../../../secret.raw"),
        _as(".mhd", meta(_file(".mhd"), (4, 4, 4), b"", file="../../../secret.raw")),
    ),
    Row(
        "a MetaImage without its file of voxels",
        CHECK,
        ("voxels is not there", "lost.raw"),
        _as(".mhd", meta(_file(".mhd"), (4, 4, 4), b"", file="lost.raw")),
    ),
    Row(
        "PNG files of 16 bit",
        CHECK,
        ("0 errors, 0 warnings",),
        both(
            _as(".png", image(_file(".png"), np.arange(2000, 4000, 10, np.uint16).reshape(10, 20))),
            image(
                LABEL.replace(".nii.gz", ".png"),
                np.arange(200, dtype=np.uint16).reshape(10, 20) % 3,
            ),
            removed(LABEL),
        ),
        status=0,
    ),
    Row(
        "a PNG of 100000 x 100000",
        CHECK,
        ("cannot be read",),
        _as(".png", png_header(_file(".png"), 10**5, 10**5, 8, 0)),
    ),
    Row(
        "a PNG of 60000 x 60000 in 16-bit colour",
        CHECK,
        ("cannot be read",),
        _as(".png", png_header(_file(".png"), 60_000, 60_000, 16, 2)),
    ),
    Row(
        "a file that may not be read",
        CHECK,
        ("cannot be read",),
        mode(IMAGE, 0),
        limit="plain user",
    ),
)

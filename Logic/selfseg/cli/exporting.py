"""The verb `export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..console import StopRequest
from ..domain.errors import UsageError
from ..domain.events import Reporter

FORMATS = ("seg-nrrd", "nifti", "nrrd", "masks", "stl", "obj", "glb", "dicom-seg", "report")
"""As `stages.export_forms.FORMATS`, which is too heavy for `--help`; a test compares them."""


def matrix(text: str) -> tuple[float, ...]:
    """Reads 16 numbers.

    Raises:
        argparse.ArgumentTypeError: there are not 16.
    """
    try:
        numbers = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        numbers = ()
    if len(numbers) != 16:
        raise argparse.ArgumentTypeError("16 numbers, row by row, with commas between them")
    return numbers


def add_options(parser: argparse.ArgumentParser) -> None:
    """Lets the verb understand its options."""
    parser.add_argument(
        "source",
        type=Path,
        nargs="+",
        metavar="SOURCE",
        help=".seg.nrrd file, label map, or folder of them as `selfseg predict` writes it",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "-f", "--format", choices=FORMATS, required=True, help="see docs/how-to/export.md"
    )
    parser.add_argument(
        "--reviewed",
        action="store_true",
        help="of a folder of predictions, what reviewers approved or corrected",
    )
    parser.add_argument(
        "--reference", type=Path, metavar="IMAGE", help="whose grid label maps shall have"
    )
    parser.add_argument(
        "--dicom",
        type=Path,
        metavar="FOLDER",
        help="the DICOM series that was segmented; for several cases, folders named as they are",
    )
    parser.add_argument(
        "--dicom-list", type=Path, metavar="FILE", help="text file that names the series' files"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="whose report goes along with --format report"
    )
    parser.add_argument(
        "--to-world",
        type=matrix,
        metavar="M11,M12,...",
        help="a transform (4 x 4, LPS mm) hardened into surfaces",
    )
    parser.add_argument("--to-reference", type=matrix, help=argparse.SUPPRESS)


def export(options: argparse.Namespace, reporter: Reporter, stop: StopRequest) -> int:
    """Writes the files and prints them."""
    import numpy as np

    from ..stages.export_files import export_segmentations
    from ..stages.export_forms import ExportOptions
    from ..stages.export_sources import find_segmentations

    def four_by_four(numbers: tuple[float, ...] | None) -> np.ndarray | None:
        return None if numbers is None else np.reshape(numbers, (4, 4))

    written = export_segmentations(
        find_segmentations(options.source, reviewed=options.reviewed),
        options.output,
        ExportOptions(
            options.format,
            options.reference,
            four_by_four(options.to_world),
            four_by_four(options.to_reference),
            options.dicom,
            _listed(options.dicom_list),
            options.model,
        ),
        reporter=reporter,
        should_stop=stop,
    )
    if options.progress != "json":
        for path in written:
            print(path)
    return 0


def _listed(path: Path | None) -> tuple[Path, ...]:
    """The files that a text file names, one per line."""
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the list of files cannot be read",
            expected="a text file in UTF-8, one file per line",
            found=str(error),
            cure="check the path",
            path=path,
        ) from error
    return tuple(path.parent / line.strip() for line in lines if line.strip())

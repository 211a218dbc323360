"""A table that says which files belong together: case, image (or image_<channel>), segmentation.

Comma or semicolon between the columns; paths relative to the table. A column `group` names the
patient, `table` a colour table for the label map.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..domain.errors import DatasetError, ImageError
from ..io.colour_tables import read_colour_table
from .collection import CollectedCase, CollectedImage, CollectOptions
from .headers import image_source, layers_of
from .label_maps import read_segmentation

LARGEST_TABLE = 64 * 2**20
"""Bytes: a line of a case has some hundreds."""

IMAGE, SEGMENTATION = "image", "segmentation"
EXAMPLE = "case,image,segmentation or case,image_T1,image_T2,segmentation"


def table_cases(path: Path, options: CollectOptions) -> Iterator[CollectedCase]:
    """The cases of a table, one by one.

    Raises:
        DatasetError: it is no such table.
    """
    rows, images = _rows(path)
    for number, row in enumerate(rows, 2):
        yield _case(path, number, row, images, options)


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise _wrong(path, f"more than {LARGEST_TABLE} bytes")
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.DictReader(text.splitlines(), delimiter=";" if ";" in first else ",")
        rows = [
            {str(key).strip(): str(entry or "").strip() for key, entry in row.items()}
            for row in reader
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _wrong(path, str(error)) from error
    columns = [name.strip() for name in reader.fieldnames or ()]
    images = [name for name in columns if name == IMAGE or name.startswith(IMAGE + "_")]
    unknown = sorted(set(columns) - set(images) - {"case", SEGMENTATION, "group", "table"})
    if not images or SEGMENTATION not in columns or unknown:
        raise _wrong(path, "the columns " + ", ".join(columns))
    if not rows:
        raise _wrong(path, "no line below the first")
    return rows, images


def _case(
    path: Path, number: int, row: Mapping[str, str], columns: list[str], options: CollectOptions
) -> CollectedCase:
    case = CollectedCase(row.get("case") or f"line_{number}", path, group=row.get("group") or None)
    missing = [column for column in (*columns, SEGMENTATION) if not row.get(column)]
    if missing:
        return case.with_problem(
            "no-segmentation" if missing == [SEGMENTATION] else "no-image",
            f"line {number} of {path.name} names no {', '.join(missing)}",
            "fill in the line, or remove it",
        )
    located = {column: path.parent / row[column] for column in (*columns, SEGMENTATION)}
    try:
        images = []
        for column in columns:
            label = column.removeprefix(IMAGE).removeprefix("_")
            images += [
                CollectedImage(label, part) for part in layers_of(image_source(located[column]))
            ]
        table = read_colour_table(path.parent / row["table"]) if row.get("table") else None
        found, problems = read_segmentation(located[SEGMENTATION], options, table)
    except ImageError as error:
        where = f"{error.path.name}: " if error.path is not None else ""
        return case.with_problem("unreadable", f"{where}{error.what} ({error.found})", error.cure)
    return replace(
        case,
        images=tuple(images),
        segmentation=found.segmentation,
        segments=found.segments,
        problems=problems,
    )


def _wrong(path: Path, found: str) -> DatasetError:
    return DatasetError(
        "the table does not say which files belong together",
        expected=f"text in UTF-8 whose first line is {EXAMPLE} (and group, table if you like)",
        found=found[:300],
        cure="correct the table; paths in it are relative to its folder",
        path=path,
    )

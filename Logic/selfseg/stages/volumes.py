"""The table of volumes: one row per case, one column per structure, for people and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.geometry import Geometry
from ..domain.labels import LabelScheme
from ..io.atomic_files import write_bytes_atomically

TABLE_FILE = "volumes.csv"

ML, SQUARE_CM = "ml", "cm2"
"""Units: of volumes, and of areas in 2D images."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets compute a cell that begins so; an apostrophe before it makes it text."""


@dataclass(frozen=True)
class VolumeRow:
    """One case.

    Args:
        case: its name.
        sizes: of each structure that was looked for: ml, or cm² in 2D; 0 where it was not found.
        unit: of them.
        dice: predicted; None where nothing is.
        hd95_mm: predicted.
        reasons: why somebody should look at it; None where nothing is known of its quality.
        unknown: what is not known of its quality, in words; "" where all is.
        failure: why there is no segmentation; "" where there is one.
    """

    case: str
    sizes: Mapping[str, float] = field(default_factory=dict)
    unit: str = ML
    dice: float | None = None
    hd95_mm: float | None = None
    reasons: tuple[str, ...] | None = None
    unknown: str = ""
    failure: str = ""


def structure_sizes(labels: NDArray[Any], scheme: LabelScheme, grid: Geometry) -> dict[str, float]:
    """The size of every structure of a label map (Z, Y, X): ml, or cm² where the grid is 2D."""
    counts: dict[int, int] = {}
    for plane in labels:  # slice by slice, so that memory stays small
        values, numbers = np.unique(plane, return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + number
    factor = voxel_size(grid)
    return {
        label.name: round(factor * sum(counts.get(value, 0) for value in label.values), 6)
        for label in scheme.foreground
    }


def voxel_size(grid: Geometry) -> float:
    """Of one voxel: ml, or cm² where the grid is 2D."""
    depth, height, width = grid.spacing
    return height * width / 100 if grid.is_2d else depth * height * width / 1000


def unit_of(grid: Geometry) -> str:
    """Of `voxel_size`."""
    return SQUARE_CM if grid.is_2d else ML


def volume_table(rows: Iterable[VolumeRow]) -> str:
    """The table as CSV text."""
    listed = list(rows)
    columns = list(
        dict.fromkeys((name, row.unit) for row in listed for name in row.sizes)
    )  # in the order in which they come
    title: list[object] = ["case", "state", "predicted Dice", "predicted HD95 (mm)", "look at"]
    lines: list[Sequence[object]] = [
        [*title, "reasons", *(f"{name} ({unit})" for name, unit in columns)]
    ]
    for row in listed:
        state = "failed" if row.failure else "done"
        look, reasons = _judgement(row)
        values = [row.sizes.get(name) if unit == row.unit else None for name, unit in columns]
        lines.append(
            [row.case, state, _number(row.dice, 3), _number(row.hd95_mm, 1), look, reasons]
            + [_number(value, 4) for value in values]
        )
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(
        [_plain(value) for value in line] for line in lines
    )
    return stream.getvalue()


def write_volume_table(path: Path, rows: Iterable[VolumeRow]) -> None:
    """Writes the table, in UTF-8 as spreadsheets recognise it.

    Raises:
        ProjectError: it cannot be written.
    """
    write_bytes_atomically(path, volume_table(rows).encode("utf-8-sig"))


def _judgement(row: VolumeRow) -> tuple[str, str]:
    """Whether to look at a case, and why."""
    if row.failure:
        return "", row.failure
    told = [text for text in (*(row.reasons or ()), row.unknown) if text]
    look = "unknown" if row.reasons is None else "yes" if row.reasons else "no"
    return look, "; ".join(told)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _plain(value: object) -> object:
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    return f"'{line}" if line.startswith(_FORMULA) else line

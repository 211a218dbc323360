"""Tables that a review gives to others: the log for people, the cases to train on for `collect`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..domain.errors import ProjectError
from ..io.atomic_files import write_bytes_atomically
from .cases import is_plain_name
from .decisions import Decision

REVIEWED_FOLDER = "reviewed"
"""Beside the predictions: the segmentations that somebody approved, one `.seg.nrrd` per case."""

TRAINING_FILE = "training.csv"
"""In the reviewed folder: what `selfseg collect` takes."""

_COLUMNS = (
    "number", "case", "decision", "reviewer", "time", "comment", "changed", "file",
    "sha256_before", "sha256_after", "software",
)  # fmt: skip

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets compute a cell that begins so; an apostrophe before it makes it text."""


def log_table(decisions: Iterable[Decision]) -> str:
    """The log as CSV, one row per decision, the oldest first."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for found in decisions:
        changed = "; ".join(f"{name} {dice:.4f}" for name, dice in found.changes.items())
        row = (
            found.number,
            found.case,
            found.verdict,
            found.reviewer,
            found.time,
            found.comment,
            changed,
            found.file or "",
            found.sha256_before,
            found.sha256_after or "",
            found.software,
        )
        rows.append([_as_text(value) for value in row])
    return _csv(rows)


def trainable(latest: Mapping[str, Decision]) -> tuple[Decision, ...]:
    """The decisions whose segmentations can be trained on: approved and edited ones.

    Args:
        latest: the last decision of each case.
    """
    return tuple(
        found
        for _, found in sorted(latest.items())
        if found.verdict != "rejected" and found.file is not None
    )


def training_table(
    latest: Mapping[str, Decision],
    images: Mapping[str, Sequence[Path]],
    reviewed: Path,
    channels: Sequence[str] = (),
) -> str:
    """The cases to train on as the CSV that `selfseg collect` takes.

    One row per case: `case`, `image_<channel>` for each channel and `segmentation`; the
    `.seg.nrrd` brings the structures' names, codes and colours along. Files in the reviewed
    folder are given relative to it.

    Args:
        latest: the last decision of each case.
        images: by case; cases without are left out.
        reviewed: the folder of the reviewed segmentations, where the table will lie.
        channels: what the images are; without it one is called `image`, several by number.

    Raises:
        ProjectError: nothing is left, a reviewed file is missing, or cases have different
            numbers of channels.
    """
    chosen = [found for found in trainable(latest) if images.get(found.case)]
    if not chosen:
        raise ProjectError(
            "there is no case to train on",
            expected="at least one case that was approved or corrected, with its image",
            found="none",
            cure="review some cases first",
            path=reviewed,
        )
    counts = {len(images[found.case]) for found in chosen}
    if len(counts) > 1:
        raise ProjectError(
            "the cases have different numbers of images",
            expected="the same channels in every case",
            found=", ".join(map(str, sorted(counts))),
            cure="complete the folder of images",
            path=reviewed,
        )
    (count,) = counts
    names = channels if len(channels) == count else [str(number) for number in range(count)]
    alone = count == 1 and len(channels) != 1
    titles = ["image"] if alone else [f"image_{name}" for name in names]
    rows: list[Sequence[object]] = [["case", *titles, "segmentation"]]
    for found in chosen:
        if found.file is None or not is_plain_name(found.file):
            continue
        if not (reviewed / found.file).is_file():
            raise ProjectError(
                f"the reviewed segmentation of {found.case} is missing",
                expected=found.file,
                found="no such file",
                cure="review the case again",
                path=reviewed,
            )
        rows.append(
            [found.case, *(str(path.absolute()) for path in images[found.case]), found.file]
        )
    return _csv(rows)


def write_log_table(path: Path, decisions: Iterable[Decision]) -> None:
    """Writes the log as CSV that spreadsheets read as UTF-8.

    Raises:
        ProjectError: it cannot be written.
    """
    write_bytes_atomically(path, log_table(decisions).encode("utf-8-sig"))


def write_training_table(
    latest: Mapping[str, Decision],
    images: Mapping[str, Sequence[Path]],
    folder: Path,
    channels: Sequence[str] = (),
) -> Path:
    """Writes the cases to train on beside the reviewed segmentations.

    Args:
        latest: the last decision of each case.
        images: by case.
        folder: of the predictions.
        channels: what the images are.

    Raises:
        ProjectError: see `training_table`.
    """
    reviewed = folder / REVIEWED_FOLDER
    path = reviewed / TRAINING_FILE
    table = training_table(latest, images, reviewed, channels)
    write_bytes_atomically(path, table.encode("utf-8"))
    return path


def _as_text(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def _csv(rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()

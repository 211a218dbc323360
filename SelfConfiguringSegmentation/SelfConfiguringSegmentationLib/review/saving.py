"""Writes what a reviewer did: drafts of edits, reviewed segmentations, rows of the log.

    <folder>/<case>.nii.gz                          the prediction; never touched
             review.sqlite                          the log
             reviewed/<case>.seg.nrrd               approved, corrected or not
             reviewed/earlier/<case>.<hash>.seg.nrrd   what a later decision has replaced
             reviewed/drafts/<case>.<who>.seg.nrrd  edits that nobody has decided about yet

A draft is deleted only after its decision is in the log: whatever crashes, either the draft or
the reviewed segmentation is there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selfseg.domain.errors import ProjectError
from selfseg.domain.geometry import Geometry
from selfseg.io.atomic_files import written_atomically
from selfseg.io.digests import digest_of
from selfseg.io.seg_nrrd_header import ENDING as SEGMENTATION_ENDING
from selfseg.review.cases import IMAGE_FOLDER, ReviewCase
from selfseg.review.decisions import Decision
from selfseg.review.log import ReviewLog
from selfseg.review.tables import REVIEWED_FOLDER

from .case_files import LoadedCase
from .seg_nrrd import write_segments
from .segments import Segments, changed_structures, check_exclusive

DRAFT_FOLDER = "drafts"
EARLIER_FOLDER = "earlier"

_NAME_LENGTH = 40


@dataclass(frozen=True)
class Saved:
    """A decision that is in the log.

    Args:
        decision: with its number.
        latest: the last decision of every case, those of others included.
        meanwhile: what somebody else had decided since the case was opened.
    """

    decision: Decision
    latest: Mapping[str, Decision]
    meanwhile: Decision | None = None


@dataclass(frozen=True)
class Reviewer:
    """Who decides, with which software, by which clock."""

    name: str
    software: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def time(self) -> str:
        """The present time, as it is written down."""
        return self.now().astimezone(UTC).isoformat(timespec="seconds")


def draft_file(folder: Path, case: str, reviewer: str) -> Path:
    """Where a reviewer's undecided edits of a case lie."""
    who = re.sub(r"[^\w-]+", "_", reviewer.strip())[:_NAME_LENGTH] or "reviewer"
    return folder / REVIEWED_FOLDER / DRAFT_FOLDER / f"{case}.{who}{SEGMENTATION_ENDING}"


def reviewed_file(folder: Path, decision: Decision | None) -> Path | None:
    """The segmentation that a decision was about, None where there is none."""
    if decision is None or decision.file is None:
        return None
    return folder / REVIEWED_FOLDER / Path(decision.file).name


def approve(
    folder: Path,
    loaded: LoadedCase,
    shown: Segments,
    comment: str,
    reviewer: Reviewer,
    known: Decision | None,
) -> Saved:
    """Writes the segments as the reviewed segmentation and puts the approval into the log.

    Args:
        folder: of the predictions.
        loaded: the case as it was opened.
        shown: its segments as they are now.
        comment: the reviewer's words.
        reviewer: who.
        known: the last decision that the reviewer has seen.

    Raises:
        ImageError: structures overlap that must not.
        ProjectError: something cannot be written; there is no decision then.
    """
    check_exclusive(shown)
    _check_prediction(loaded)
    changes = changed_structures(loaded.prediction, shown)
    name = f"{loaded.case.identifier}{SEGMENTATION_ENDING}"
    path = folder / REVIEWED_FOLDER / name
    _keep_earlier(path)
    write_segments(path, _with_origin(shown, changes, loaded.prediction))
    decision = Decision(
        case=loaded.case.identifier,
        verdict="edited" if changes else "approved",
        reviewer=reviewer.name,
        time=reviewer.time,
        comment=comment,
        sha256_before=loaded.sha256,
        sha256_after=digest_of(path),
        file=name,
        changes={key: round(dice, 6) for key, dice in changes.items()},
        software=reviewer.software,
    )
    saved = _log(folder, decision, known)
    with suppress(OSError):
        draft_file(folder, loaded.case.identifier, reviewer.name).unlink(missing_ok=True)
    return saved


def reject(
    folder: Path,
    case: ReviewCase,
    sha256: str,
    comment: str,
    reviewer: Reviewer,
    known: Decision | None,
) -> Saved:
    """Puts a rejection into the log; a draft of edits stays where it is.

    Raises:
        ProjectError: the log cannot be written; there is no decision then.
    """
    decision = Decision(
        case=case.identifier,
        verdict="rejected",
        reviewer=reviewer.name,
        time=reviewer.time,
        comment=comment,
        sha256_before=sha256,
        software=reviewer.software,
    )
    return _log(folder, decision, known)


def save_draft(folder: Path, case: str, shown: Segments, reviewer: str) -> Path:
    """Keeps edits for later.

    Raises:
        ProjectError: they cannot be written.
    """
    path = draft_file(folder, case, reviewer)
    write_segments(path, shown)
    return path


def save_scene_case(
    folder: Path, identifier: str, voxels: Any, grid: Geometry, segments: Segments
) -> None:
    """Writes an image and its segmentation from the scene, so that they can be reviewed.

    Raises:
        ProjectError: they cannot be written, or a case of that name is there already.
    """
    from selfseg.io.nrrd_files import write_nrrd

    target = folder / f"{identifier}{SEGMENTATION_ENDING}"
    if target.exists():
        raise ProjectError(
            f"{identifier} is in this folder already",
            expected="another name, or another folder",
            found=target.name,
            cure="choose an empty folder, or rename the segmentation in Slicer",
            path=target,
        )
    write_nrrd(folder / IMAGE_FOLDER / f"{identifier}_0000.nrrd", voxels, grid)
    write_segments(target, segments)


def remove_draft(folder: Path, case: str, reviewer: str) -> None:
    """Forgets edits.

    Raises:
        ProjectError: the file cannot be deleted.
    """
    path = draft_file(folder, case, reviewer)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ProjectError(
            "the draft cannot be deleted",
            expected="a folder with the right to write",
            found=error.strerror or str(error),
            cure="check the folder's rights",
            path=path,
        ) from error


def _log(folder: Path, decision: Decision, known: Decision | None) -> Saved:
    log = ReviewLog.of(folder)
    before = log.latest().get(decision.case)
    added = log.add(decision)
    seen = 0 if known is None else known.number or 0
    newer = before is not None and (before.number or 0) > seen
    return Saved(added, log.latest(), before if newer else None)


def _check_prediction(loaded: LoadedCase) -> None:
    """The prediction must still be what the reviewer was shown.

    Raises:
        ProjectError: somebody has changed or removed it meanwhile.
    """
    path = loaded.case.label_map
    if not path.is_file() or digest_of(path) != loaded.sha256:
        raise ProjectError(
            "the prediction was changed or removed while it was reviewed",
            expected="the file that is shown",
            found="another one" if path.is_file() else "no such file",
            cure="open the folder again; your edits are kept as a draft",
            path=path,
        )


def _keep_earlier(path: Path) -> None:
    """Copies what a new reviewed segmentation is about to replace."""
    if not path.is_file():
        return
    stem = path.name.removesuffix(SEGMENTATION_ENDING)
    kept = path.parent / EARLIER_FOLDER / f"{stem}.{digest_of(path)[:12]}{SEGMENTATION_ENDING}"
    if not kept.exists():
        with written_atomically(kept) as part:
            shutil.copyfile(path, part)


def _with_origin(shown: Segments, changes: dict[str, float], before: Segments) -> Segments:
    """Says of each segment how it was made, in DICOM's words."""
    predicted = {segment.identifier for segment in before.segments}

    def made(identifier: str, name: str) -> str:
        if identifier not in predicted:
            return "MANUAL"
        return "SEMIAUTOMATIC" if name in changes else "AUTOMATIC"

    return replace(
        shown,
        segments=tuple(
            replace(segment, made=made(segment.identifier, segment.name))
            for segment in shown.segments
        ),
    )

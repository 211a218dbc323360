"""Every candidate on every held-out case: single configurations and averaged pairs.

Single ones are scored already. Pairs need the logits of both; where those were not kept, they are
predicted again, some cases at a time. Each case's scores are kept: what was done is not repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..domain.bundle import Member
from ..domain.events import Reporter
from ..domain.quality import StructureFeatures
from ..io.case_store import StoredCase
from ..io.json_files import read_json, write_json
from ..select.dice_table import DiceTable, number_or_none
from ..select.trials import Pair
from .averaging import KeptCase, Pairs, score_pairs, write_averages
from .calibrate import SAMPLES_FILE, LogitSampler
from .held_out import Contest
from .logits import (
    forget,
    has_room,
    logit_bytes,
    logits_folder,
    predict_missing,
    without_logits,
)
from .selected import SELECTION_FOLDER

BATCH_BYTES = 16 * 2**30
"""Logits that are predicted again for lack of room are on the disk at most this much at once."""

_CASE_SCHEMA = "selfseg.pair-scores/1"

FEATURES_FILE = "quality_features.json"
FEATURES_SCHEMA = "selfseg.mean-features/1"


@dataclass(frozen=True)
class MeanFeatures:
    """What was seen of held-out cases in the mean of some members: by case and structure.

    `members` are their plans and configurations.
    """

    members: tuple[tuple[str, str], ...]
    cases: Mapping[str, Mapping[str, StructureFeatures]]


def score_candidates(
    contest: Contest,
    candidates: Sequence[tuple[Member, ...]],
    workers: int | None,
    reporter: Reporter,
) -> list[DiceTable]:
    """Dice of every candidate by case and structure, in the order of the candidates.

    Args:
        contest: the held-out cases.
        candidates: single members of it, then pairs.
        workers: processes; by cores and memory otherwise.
        reporter: is told of the progress.
    """
    places = {member: place for place, member in enumerate(contest.members)}
    pairs = tuple(
        (places[members[0]], places[members[1]]) for members in candidates if len(members) == 2
    )
    tables = [contest.table(place) for place in range(len(contest.members))]
    if not pairs:
        return tables
    rows: dict[str, list[list[float]]] = {}
    keys = {case: _pairs_key(contest, case, pairs) for case in contest.cases}
    for case in contest.cases:
        known = _read_rows(_rows_file(contest, case), keys[case])
        if known is not None:
            rows[case] = known
    todo = [case for case in contest.cases if case not in rows]
    for kept in with_kept_logits(contest, todo):
        labels = contest.dataset.description.labels
        found = score_pairs(kept, pairs, labels, workers=workers, reporter=reporter)
        for name, dice in zip([case.identifier for case in kept], found, strict=True):
            rows[name] = dice
            _write_rows(_rows_file(contest, name), keys[name], dice)
    for number in range(len(pairs)):
        tables.append(DiceTable(np.array([rows[case][number] for case in contest.cases])))
    return tables


def with_kept_logits(contest: Contest, cases: Sequence[str]) -> Iterator[list[KeptCase]]:
    """Cases whose logits are all there while they are worked on: first those that were kept.

    What has to be predicted again for the others is removed afterwards, where there is no room
    to keep it.
    """
    for batch in _batches(contest, cases):
        yield [_kept_case(contest, name) for name in batch]


def _batches(contest: Contest, cases: Sequence[str]) -> Iterator[list[str]]:
    ready, by_fold = [], dict[str, list[str]]()
    for case in cases:
        fold = contest.held_out[case]
        if any(_missing(contest, place, fold, [case]) for place in range(len(contest.members))):
            by_fold.setdefault(fold, []).append(case)
        else:
            ready.append(case)
    if ready:
        yield ready
    for fold, names in by_fold.items():
        runs = [contest.runs[place, fold] for place in range(len(contest.members))]
        batch: list[str] = []
        room = 0
        for name in names:
            size = sum(logit_bytes(run, run.stored([name])) for run in runs)
            if batch and room + size > BATCH_BYTES:
                yield from _with_logits(contest, fold, batch)
                batch, room = [], 0
            batch.append(name)
            room += size
        yield from _with_logits(contest, fold, batch)


def _with_logits(contest: Contest, fold: str, batch: list[str]) -> Iterator[list[str]]:
    made = []
    for place in range(len(contest.members)):
        run = contest.runs[place, fold]
        missing = _missing(contest, place, fold, batch)
        predict_missing(run, missing, contest.weights[place, fold], checkpoint=contest.checkpoint)
        made.append((run, missing))
    yield batch
    for run, missing in made:
        if not has_room(run, run.stored(run.split.validation)):
            forget(run, missing)


def _missing(contest: Contest, place: int, fold: str, cases: Sequence[str]) -> list[StoredCase]:
    run = contest.runs[place, fold]
    return without_logits(run, run.stored(cases), contest.weights[place, fold])


def _kept_case(contest: Contest, name: str) -> KeptCase:
    fold = contest.held_out[name]
    runs = [contest.runs[place, fold] for place in range(len(contest.members))]
    stored = [run.stored([name])[0] for run in runs]
    return KeptCase(
        name,
        contest.reference(name),
        tuple(logits_folder(run) for run in runs),
        tuple(stored),
        max(logit_bytes(run, [case]) for run, case in zip(runs, stored, strict=True)),
    )


def predictions_of(
    contest: Contest, members: tuple[Member, ...], workers: int | None, reporter: Reporter
) -> list[Pair]:
    """(reference, out-of-fold label map) of every case, those of a pair written first."""
    if len(members) == 1:
        place = contest.members.index(members[0])
        return [
            (contest.reference(case), contest.prediction(place, case)) for case in contest.cases
        ]
    written = average_members(contest, members, workers, reporter)
    return [(contest.reference(case), written[case]) for case in contest.cases]


def average_members(
    contest: Contest, members: tuple[Member, ...], workers: int | None, reporter: Reporter
) -> dict[str, Path]:
    """Writes the label map of every case as the mean of some members says it.

    Keeps beside them what `selected_quality` learns from.
    """
    places = [contest.members.index(member) for member in members]
    home = contest.project.folder / SELECTION_FOLDER
    labels = contest.dataset.description.labels
    written: dict[str, Path] = {}
    features, sampler = {}, LogitSampler(labels)
    for kept in with_kept_logits(contest, contest.cases):
        found = write_averages(
            kept,
            places,
            labels,
            home / "before_postprocessing",
            contest.ending,
            workers=workers,
            reporter=reporter,
        )
        for case, averaged in zip(kept, found, strict=True):
            written[case.identifier] = averaged.path
            features[case.identifier] = averaged.features
            if len(averaged.truth):
                sampler.take(averaged.logits, averaged.truth)
    (home / SAMPLES_FILE).unlink(missing_ok=True)
    sampler.write(home)
    of = MeanFeatures(tuple((m.plan, m.configuration) for m in members), features)
    write_json(home / FEATURES_FILE, of, schema=FEATURES_SCHEMA)
    return written


@dataclass(frozen=True)
class _Rows:
    """Dice of one case: per pair of configurations, per structure; None where undefined."""

    key: str
    dice: tuple[tuple[float | None, ...], ...]


def _rows_file(contest: Contest, case: str) -> Path:
    return contest.project.folder / SELECTION_FOLDER / "pairs" / f"{case}.json"


def _pairs_key(contest: Contest, case: str, pairs: Pairs) -> str:
    """A hash of what the scores of a case's pairs follow from."""
    fold, state = contest.held_out[case], contest.reference(case).stat()
    weights = [contest.weights[place, fold] for place in range(len(contest.members))]
    stored = [contest.runs[p, fold].stored([case])[0].key for p in range(len(contest.members))]
    parts = repr((pairs, weights, stored, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _read_rows(path: Path, key: str) -> list[list[float]] | None:
    if not path.is_file():
        return None
    known = read_json(path, _Rows, schema=_CASE_SCHEMA)
    if known.key != key:
        return None
    return [[float("nan") if value is None else value for value in row] for row in known.dice]


def _write_rows(path: Path, key: str, dice: Sequence[Sequence[float]]) -> None:
    rows = tuple(tuple(number_or_none(value) for value in row) for row in dice)
    write_json(path, _Rows(key, rows), schema=_CASE_SCHEMA)

"""Out-of-fold logits of a project: kept while a fold is judged, predicted again where they are not.

They are what any two configurations are averaged from, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..crossvalidate.splits import ALL
from ..domain.case import FloatArray
from ..domain.events import CaseFinished, StageFinished, StageStarted
from ..io.case_store import StoredCase
from ..io.json_files import read_json, write_json
from ..io.logit_store import has_logits, remove_logits, write_logits
from .first_stage import ensure_predictions
from .fold import FoldRun
from .models import load_backend
from .segment import CaseProgress, predict_case

FOLDER = "logits"
JUDGED_FILE = "judged.json"
JUDGED_SCHEMA = "selfseg.judged/1"

MOST_BYTES = 8 * 2**30
"""A training keeps the logits of its held-out cases where they are not more than this, before
compression."""

SHARE_OF_DISK = 0.05
"""Of what is free on the disk, at most this much for one training."""


@dataclass(frozen=True)
class Judged:
    """`judged.json` of a training: with which weights its held-out cases were predicted."""

    weights: str
    mirror: bool


class LogitKeeper:
    """Keeps the logits of a fold's held-out cases where there is room.

    Args:
        run: the fold.
        weights: the hash of its weights.
    """

    def __init__(self, run: FoldRun, weights: str) -> None:
        self.run = run
        self.weights = weights
        self.has_room = run.fold != ALL and has_room(run, run.stored(run.split.validation))

    def add(self, case: StoredCase, logits: FloatArray) -> None:
        """Keeps the logits (K, Z, Y, X) of a case."""
        if self.has_room:
            _write(self.run, case, logits, self.weights)

    def finish(self, *, mirror: bool) -> None:
        """Notes which weights the fold was judged with."""
        judged = Judged(self.weights, mirror)
        write_json(self.run.folder / JUDGED_FILE, judged, schema=JUDGED_SCHEMA)


def read_judged(run: FoldRun) -> Judged | None:
    """How a fold was judged; None where nobody knows."""
    path = run.folder / JUDGED_FILE
    return read_json(path, Judged, schema=JUDGED_SCHEMA) if path.is_file() else None


def logits_folder(run: FoldRun) -> Path:
    """Where a fold's logits lie."""
    return run.folder / FOLDER


def logit_bytes(run: FoldRun, cases: Iterable[StoredCase]) -> int:
    """What the logits of some cases take before compression."""
    heads = run.plan.description.labels.head_count
    return sum(2 * heads * int(np.prod(case.shape)) for case in cases)


def has_room(run: FoldRun, cases: Iterable[StoredCase]) -> bool:
    """Whether the logits of these cases may be kept."""
    run.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(run.folder).free
    return logit_bytes(run, cases) <= min(MOST_BYTES, SHARE_OF_DISK * free)


def without_logits(run: FoldRun, cases: Sequence[StoredCase], weights: str) -> list[StoredCase]:
    """Those of a fold's held-out cases whose logits are missing or of other weights."""
    folder = logits_folder(run)
    return [
        case for case in cases if not has_logits(folder, case.identifier, key=_key(case, weights))
    ]


def predict_missing(
    run: FoldRun, cases: Sequence[StoredCase], weights: str, *, checkpoint: str, mirror: bool = True
) -> None:
    """Predicts these held-out cases of a fold again and keeps their logits.

    Args:
        run: the fold; the first stage of a cascade predicts first.
        cases: of the fold.
        weights: the hash of its weights.
        checkpoint: "final" or "best".
        mirror: averages over mirrored images.
    """
    if not cases:
        return
    ensure_predictions(run, checkpoint=checkpoint)
    stage = f"predict again with {run.plan.name} {run.configuration} fold {run.fold}"
    start, began = run.clock(), time.monotonic()
    run.reporter(StageStarted(stage, total=len(cases), unit="case"))
    backend = load_backend(
        run.project, run.plan, run.configuration, (run.fold,), checkpoint, run.device
    )
    for done, case in enumerate(cases):
        case_start = run.clock()
        logits = predict_case(
            case.load(),
            backend,
            run.plan,
            run.configuration,
            mirror=mirror,
            reporter=CaseProgress(stage, done, len(cases), began, run.reporter),
            should_stop=run.should_stop,
        )
        _write(run, case, logits, weights)
        run.reporter(CaseFinished(case.identifier, run.clock() - case_start))
    run.reporter(StageFinished(stage, seconds=run.clock() - start))


def forget(run: FoldRun, cases: Iterable[StoredCase]) -> None:
    """Removes the logits of these cases."""
    for case in cases:
        remove_logits(logits_folder(run), case.identifier)


def _write(run: FoldRun, case: StoredCase, logits: FloatArray, weights: str) -> None:
    regions = run.plan.description.labels.has_regions
    folder = logits_folder(run)
    write_logits(folder, case.identifier, logits, key=_key(case, weights), regions=regions)


def _key(case: StoredCase, weights: str) -> str:
    # A stored case's key says from which files and by which plan it was preprocessed.
    return hashlib.sha256(repr((weights, case.key)).encode()).hexdigest()[:16]

"""What a cascade's first stage predicts for the training of the second.

    first stage, fold by fold: the cases that the fold holds out -> logits
        -> linear interpolation to the second stage's preprocessed grid -> label map, stored

So the second stage learns from predictions as they are for new images, not from those for
images that the first stage has learned from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..crossvalidate.splits import ALL, holding_folds
from ..domain.case import FloatArray, IntArray
from ..domain.dataset import Dataset
from ..domain.errors import TrainingError
from ..domain.events import CaseFinished, Notice, Reporter, StageFinished, StageStarted, silent
from ..infer.restore import labels_for_next_stage
from ..io.case_store import StoredCase, has_case, open_case
from ..io.digests import digest_of
from ..io.previous_store import has_previous, write_previous
from .fold import FoldRun
from .models import load_backend, weights_path
from .order import first_stage_folds
from .segment import CaseProgress, predict_case


def ensure_predictions(run: FoldRun, *, checkpoint: str) -> None:
    """Predicts with the first stage whatever a fold of a cascade needs and is not stored yet.

    Nothing to do for other configurations. A prediction is stored with a hash of the network,
    the case and the plan that it came from, and made anew where one of them has changed.

    Args:
        run: the fold of the cascade.
        checkpoint: which weights of the first stage predict, "final" or "best".

    Raises:
        TrainingError: folds of the first stage are not trained yet.
        Cancelled: `run.should_stop` said so; what is predicted is kept.
    """
    first = run.previous_stage
    if first is None:
        return
    _require_trained(run, first)
    todo = _missing(run, first, checkpoint)
    stage = f"predict {first} for {run.configuration}"
    total = sum(len(part.cases) for part in todo)
    if not total:
        run.reporter(StageFinished(stage, skipped=True))
        return
    start, began, done = run.clock(), time.monotonic(), 0
    run.reporter(StageStarted(stage, total=total, unit="case"))
    for part in todo:
        folds = (part.source.fold,)
        backend = load_backend(run.project, run.plan, first, folds, checkpoint, run.device)
        for case in part.cases:
            case_start = run.clock()
            logits = predict_case(
                case.load(),
                backend,
                run.plan,
                first,
                reporter=CaseProgress(stage, done, total, began, run.reporter),
                should_stop=run.should_stop,
            )
            grid = _grid_of(run, case.identifier)
            grid.store(case, grid.decide(case, logits), part.weights)
            done += 1
            run.reporter(CaseFinished(case.identifier, run.clock() - case_start))
    run.reporter(StageFinished(stage, seconds=run.clock() - start))


@dataclass(frozen=True)
class NextStageGrid:
    """One case as a cascade's second stage sees it: where the first stage's prediction goes."""

    run: FoldRun
    case: StoredCase

    def decide(self, first_case: StoredCase, logits: FloatArray) -> IntArray:
        """The first stage's logits (K, Z, Y, X) as a label map (Z', Y', X') on this grid."""
        scheme = self.run.plan.description.labels
        return labels_for_next_stage(logits, first_case.record, self.case.shape, scheme)

    def store(self, first_case: StoredCase, labels: IntArray, weights: str) -> None:
        """Keeps the label map; `weights` is the hash of the network that predicted it."""
        folder = self.run.previous_folder
        assert folder is not None  # noqa: S101 - `run` is a cascade's
        write_previous(
            folder,
            self.case.identifier,
            labels,
            key=self._key(first_case, weights),
            patch_size=self.run.plan.configuration(self.run.configuration).patch_size,
        )

    def holds(self, first_case: StoredCase, weights: str) -> bool:
        """Whether that network's prediction for the case is stored."""
        folder = self.run.previous_folder
        key = self._key(first_case, weights)
        return folder is not None and has_previous(folder, self.case.identifier, key=key)

    def _key(self, first_case: StoredCase, weights: str) -> str:
        # A stored case's key says from which files and by which plan it was preprocessed.
        parts = repr((weights, first_case.key, self.case.key))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


def next_stage_grids(run: FoldRun, identifier: str) -> tuple[NextStageGrid, ...]:
    """Where the prediction of one fold for one held-out case is wanted by a cascade.

    None where the plan has no cascade on top of the fold's configuration, where another fold
    predicts the case, or where the second stage's images are not preprocessed yet: then
    `ensure_predictions` makes up for it.
    """
    if not run.plan.next_stages(run.configuration):
        return ()
    if predicting_folds(run.dataset, run.fold)[identifier] != run.fold:
        return ()
    following = [replace(run, configuration=c) for c in run.plan.next_stages(run.configuration)]
    return tuple(
        _grid_of(f, identifier) for f in following if has_case(f.images_folder, identifier)
    )


def predicting_folds(
    dataset: Dataset, fold: str, *, reporter: Reporter = silent
) -> Mapping[str, str]:
    """For each case the fold of the first stage that predicts it for a fold of the second.

    The first fold that holds it out; for fold "all", "all". A case that no fold holds out
    falls to fold 0. The reporter is warned where a network predicts what it has learned from.
    """
    names = [case.identifier for case in dataset.cases]
    better = "its predictions for them are better than for new images, and the second stage may "
    better += "trust it too much"
    if fold == ALL:
        text = (
            f"the first stage has learned from the cases it predicts: {better}; `-f cv` avoids it"
        )
        reporter(Notice(text, level="warning"))
        return dict.fromkeys(names, ALL)
    held_out = holding_folds(dataset)
    never = [name for name in names if name not in held_out]
    if never:
        text = f"no fold holds out {len(never)} cases ({', '.join(never[:5])}), so the first stage "
        reporter(Notice(f"{text}has learned from them: {better}", level="warning"))
    return {name: held_out.get(name, "0") for name in names}


def weights_digest(run: FoldRun, checkpoint: str) -> str:
    """A hash of a fold's weights file.

    Raises:
        ModelError: there is none.
    """
    return digest_of(weights_path(run.project, run.plan, run.configuration, run.fold, checkpoint))


@dataclass(frozen=True)
class _Part:
    """Cases that one fold of the first stage has still to predict."""

    source: FoldRun
    weights: str
    cases: tuple[StoredCase, ...]


def _missing(run: FoldRun, first: str, checkpoint: str) -> list[_Part]:
    by_fold: dict[str, list[str]] = {}
    for name, fold in predicting_folds(run.dataset, run.fold, reporter=run.reporter).items():
        by_fold.setdefault(fold, []).append(name)
    parts = []
    for fold, names in by_fold.items():
        source = replace(run, configuration=first, fold=fold)
        weights = weights_digest(source, checkpoint)
        cases = tuple(
            case
            for case in source.stored(names)
            if not _grid_of(run, case.identifier).holds(case, weights)
        )
        if cases:
            parts.append(_Part(source, weights, cases))
    return parts


def _grid_of(run: FoldRun, identifier: str) -> NextStageGrid:
    return NextStageGrid(run, open_case(run.images_folder, identifier))


def _require_trained(run: FoldRun, first: str) -> None:
    needed = first_stage_folds(run.dataset, run.fold)
    trained = run.project.trained_folds(run.plan.name, first)
    missing = [fold for fold in needed if fold not in trained]
    if not missing:
        return
    raise TrainingError(
        f"{run.configuration} cannot be trained before its first stage",
        expected=f"{first} fold {', '.join(needed)} trained: they predict the cases that "
        f"{run.configuration} learns from",
        found=f"{first} fold {', '.join(trained)}" if trained else f"no fold of {first}",
        cure=f"train {first} fold {', '.join(missing)} first, or let `selfseg run DATASET -p "
        f"PROJECT -c {run.configuration} -f {run.fold}` do all of it",
        path=run.project.folder,
    )

"""Scoring held-out predictions as they would be after some postprocessing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.metrics import count_pairs
from ..domain.bundle import PostprocessingStep
from ..domain.events import Reporter, silent
from ..domain.labels import LabelScheme
from ..io.images import read_label_map
from ..io.workers import map_cases, worker_count
from ..postprocess.components import postprocess
from .components import CaseParts, parts_of
from .dice_table import DiceTable, dice_of

Steps = tuple[PostprocessingStep, ...]

Scorer = Callable[[Sequence[Steps]], list[DiceTable]]
"""From lists of steps to the scores of all cases after each of them."""

Pair = tuple[Path, Path]

BYTES_PER_VOXEL = 24
"""Peak memory of a case: two label maps, a changed copy, masks, components of 4 bytes each."""

STAGE = "try postprocessing"


def parts_of_files(
    pairs: Sequence[Pair],
    labels: LabelScheme,
    *,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> list[CaseParts]:
    """The components of every prediction, compared with its reference.

    Args:
        pairs: files (reference, prediction).
        labels: no regions.
        workers: processes; by cores and memory otherwise.
        reporter: is told of the progress.
    """
    count = workers_for(pairs, workers)
    work = partial(_parts_of_pair, labels=labels)
    return list(
        map_cases(work, pairs, workers=count, stage=STAGE, name=_name_of, reporter=reporter)
    )


def score_parts(cases: Sequence[CaseParts], labels: LabelScheme) -> Scorer:
    """Scores steps that keep or drop whole components, from tables alone."""

    def score(sequences: Sequence[Steps]) -> list[DiceTable]:
        return [
            DiceTable(np.array([case.dice(steps, labels) for case in cases])) for steps in sequences
        ]

    return score


def score_maps(
    pairs: Sequence[Pair],
    labels: LabelScheme,
    *,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> Scorer:
    """Scores any steps by doing them; every call reads all label maps once.

    Args:
        pairs: files (reference, prediction).
        labels: the structures, regions too.
        workers: processes; by cores and memory otherwise.
        reporter: is told of the progress.
    """
    count = workers_for(pairs, workers)

    def score(sequences: Sequence[Steps]) -> list[DiceTable]:
        work = partial(_score_pair, labels=labels, sequences=tuple(sequences))
        rows = list(
            map_cases(work, pairs, workers=count, stage=STAGE, name=_name_of, reporter=reporter)
        )
        return [DiceTable(np.array([row[k] for row in rows])) for k in range(len(sequences))]

    return score


def score_after(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    labels: LabelScheme,
    sequences: Sequence[Steps],
) -> list[NDArray[np.float64]]:
    """(structures,) Dice of one case after each of some lists of steps.

    What the lists have in common at their beginning is done once, and after the rest only the
    voxels that it has changed are counted again.
    """
    shared = _shared_beginning(sequences)
    base = postprocess(prediction.copy(), shared, labels)
    counts = count_pairs(reference, base)
    found = [counts.overlap(label.values, labels.ignore) for label in labels.foreground]
    start = np.array([[f.true_positives, f.prediction_size, f.reference_size] for f in found])
    results = []
    for steps in sequences:
        total = start.copy()
        rest = steps[len(shared) :]
        if rest:
            after = postprocess(base.copy(), rest, labels)
            changed = after != base
            if labels.ignore is not None:
                changed &= reference != labels.ignore
            truth, old, new = reference[changed], base[changed], after[changed]
            for place, label in enumerate(labels.foreground):
                gained = np.isin(new, label.values).astype(np.int64)
                gained -= np.isin(old, label.values)
                total[place, 0] += gained[np.isin(truth, label.values)].sum()
                total[place, 1] += gained.sum()
        results.append(np.array([dice_of(*map(int, row)) for row in total]))
    return results


def workers_for(pairs: Sequence[Pair], wanted: int | None) -> int:
    """Processes for work on pairs of label maps, by what the largest file will take."""
    # Label maps compress to a hundredth and less; what is free decides only for huge images.
    largest = max((path.stat().st_size for pair in pairs for path in pair), default=0)
    return worker_count(wanted, len(pairs), largest * 100 * BYTES_PER_VOXEL)


def _parts_of_pair(pair: Pair, *, labels: LabelScheme) -> CaseParts:
    return parts_of(read_label_map(pair[0])[0], read_label_map(pair[1])[0], labels)


def _score_pair(
    pair: Pair, *, labels: LabelScheme, sequences: tuple[Steps, ...]
) -> list[NDArray[np.float64]]:
    reference, prediction = (read_label_map(path)[0] for path in pair)
    return score_after(reference, prediction, labels, sequences)


def _shared_beginning(sequences: Sequence[Steps]) -> Steps:
    shared = min(sequences, key=len, default=())
    for place in range(len(shared)):
        if any(steps[place] != shared[place] for steps in sequences):
            return shared[:place]
    return shared


def _name_of(pair: Pair) -> str:
    return pair[1].name

"""Multi-atlas label fusion as a refinement of the selected model: tried only where asked for.

each held-out case: atlases from the training cases of its fold, registered and fused
-> a voter beside the networks, with some share -> postprocessing -> Dice
-> kept where held-out cases get better and no structure gets worse
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..domain.bundle import PostprocessingStep
from ..domain.dataset import CaseFiles, Dataset
from ..domain.errors import Cancelled, UsageError
from ..domain.events import Notice, Reporter
from ..domain.labels import LabelScheme
from ..domain.selection import AtlasFusion, Selection
from ..infer.ensemble import decide
from ..io.images import read_case, read_label_map, write_label_map
from ..io.workers import map_cases, worker_count
from ..postprocess.components import postprocess
from ..select.atlas import fuse
from ..select.dice_table import DiceTable, dice_row, number_or_none
from ..select.trials import Pair
from .atlas_vote import atlas_votes, register_all
from .averaging import KeptCase
from .candidate_scores import with_kept_logits
from .held_out import Contest

SHARES = (0.25, 0.5)
FUSIONS = ("weighted", "staple")
PER_IMAGE = 5
"""Atlases that vote."""

OFFERED = 10
"""Training cases that serve as atlases, all registered to an image."""

BYTES_PER_VOXEL = 200
"""Of registering: images in several resolutions, registered atlases and their weights."""


def try_atlases(
    contest: Contest,
    selection: Selection,
    finals: Sequence[Pair],
    *,
    workers: int | None,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> Selection:
    """The selection, with atlas fusion where that wins; its label maps are then written anew.

    Args:
        contest: the held-out cases.
        selection: without atlases.
        finals: (reference, label map of the selection) per case.
        workers: processes; by cores and memory otherwise.
        reporter: is told what came of it.
        should_stop: polled between cases.

    Raises:
        UsageError: the images are 2D.
        Cancelled: `should_stop` said so.
    """
    labels = contest.dataset.description.labels
    options = list(product(FUSIONS, SHARES))
    places = tuple(contest.members.index(member) for member in selection.members)
    rows: dict[str, list[list[float]]] = {}
    work = _Trial(contest.dataset, places, selection.postprocessing, tuple(options))
    for kept in with_kept_logits(contest, contest.cases):
        items = [(case, _training_cases(contest, case.identifier)) for case in kept]
        _check_3d(kept)
        found = map_cases(
            work.scores, items, workers=_workers(kept, workers), stage="try atlases",
            name=_name_of, reporter=reporter,
        )  # fmt: skip
        for case, scores in zip(kept, found, strict=True):
            rows[case.identifier] = scores
            if should_stop():
                raise Cancelled("stopped as you asked", cure="give the same command again")
    tables = [
        DiceTable(np.array([rows[case][number] for case in contest.cases]))
        for number in range(len(options))
    ]
    now = DiceTable(np.array([_score_files(pair, labels) for pair in finals]))
    folds = np.array([contest.held_out[case] for case in contest.cases])
    honest = now.values.copy()
    for fold in set(folds):
        part = folds == fold
        rest = ~part if (~part).any() else part
        honest[part] = tables[_best([table.rows(rest) for table in tables])].values[part]
    place = _best(tables)
    best = number_or_none(tables[place].mean_of_defined)
    if not all(_wins(now, table) for table in (DiceTable(honest), tables[place])):
        reporter(Notice("atlas fusion does not make the held-out cases better: it stays off"))
        return replace(selection, atlas_dice=best)
    fusion, share = options[place]
    atlas = AtlasFusion(_some(contest.cases), share, PER_IMAGE, fusion)
    reporter(Notice(f"atlas fusion ({fusion}, share {share:g}) makes the held-out cases better"))
    write = replace(work, options=((fusion, share),))
    for kept in with_kept_logits(contest, contest.cases):
        items = [(case, _training_cases(contest, case.identifier)) for case in kept]
        targets = {path.name.removesuffix(contest.ending): path for _, path in finals}
        done = map_cases(
            partial(write.write, targets=targets), items, workers=_workers(kept, workers),
            stage="write the selected", name=_name_of, reporter=reporter,
        )  # fmt: skip
        list(done)
    groups = contest.dataset.groups or {}
    return replace(
        selection,
        atlas=atlas,
        atlas_dice=best,
        dice=best,
        dice_by_structure=tables[place].named(labels),
        interval=tables[place].interval([groups.get(c, f"case {c}") for c in contest.cases]),
    )


@dataclass(frozen=True)
class _Trial:
    """Fuses networks and atlases on held-out cases."""

    dataset: Dataset
    places: tuple[int, ...]
    steps: tuple[PostprocessingStep, ...]
    options: tuple[tuple[str, float], ...]

    def scores(self, item: tuple[KeptCase, tuple[CaseFiles, ...]]) -> list[list[float]]:
        """Dice by option, then by structure."""
        case, _ = item
        assert case.reference is not None  # noqa: S101 - contests are about cases with one
        reference, _ = read_label_map(case.reference)
        labels = self.dataset.description.labels
        return [dice_row(reference, fused, labels).tolist() for fused in self.fused(item)]

    def write(
        self, item: tuple[KeptCase, tuple[CaseFiles, ...]], *, targets: dict[str, Path]
    ) -> Path:
        """Writes the label map of the only option."""
        case, _ = item
        path = targets[case.identifier]
        (fused,) = self.fused(item)
        write_label_map(path, fused, case.records[0].native)
        return path

    def fused(self, item: tuple[KeptCase, tuple[CaseFiles, ...]]) -> list[NDArray[np.generic]]:
        """The label map of each option."""
        case, atlases = item
        labels = self.dataset.description.labels
        files = self.dataset.case(case.identifier)
        raw = read_case(files, None, with_labels=False)
        registered = register_all(raw, atlases)
        votes = [case.vote(place) for place in self.places]
        said = {
            fusion: fuse(
                registered, raw.channels[0], raw.geometry, labels, per_image=PER_IMAGE,
                fusion=fusion,
            )
            for fusion in {fusion for fusion, _ in self.options}
        }  # fmt: skip
        return [
            postprocess(
                decide(atlas_votes(votes, said[f], share, labels), labels), self.steps, labels
            )
            for f, share in self.options
        ]


def _training_cases(contest: Contest, name: str) -> tuple[CaseFiles, ...]:
    fold = contest.held_out[name]
    return tuple(contest.dataset.case(n) for n in _some(contest.runs[0, fold].split.train))


def _some(names: Sequence[str]) -> tuple[str, ...]:
    """Evenly spread over the sorted names."""
    ordered = sorted(names)
    step = max(1, -(-len(ordered) // OFFERED))
    return tuple(ordered[::step])


def _best(tables: Sequence[DiceTable]) -> int:
    values = np.array([table.mean_of_defined for table in tables])
    values[np.isnan(values)] = -np.inf
    return int(values.argmax())


def _wins(now: DiceTable, after: DiceTable) -> bool:
    worse = after.by_structure < now.by_structure
    return after.mean_of_defined > now.mean_of_defined and not bool(worse.any())


def _score_files(pair: Pair, labels: LabelScheme) -> NDArray[np.float64]:
    return dice_row(read_label_map(pair[0])[0], read_label_map(pair[1])[0], labels)


def _check_3d(cases: Sequence[KeptCase]) -> None:
    if any(min(case.records[0].native.shape) < 4 for case in cases):
        raise UsageError(
            "multi-atlas label fusion needs volumes",
            expected="at least 4 slices along every axis",
            found="flat images",
            cure="select without --atlas",
        )


def _workers(cases: Sequence[KeptCase], wanted: int | None) -> int:
    voxels = max(int(np.prod(case.records[0].native.shape)) for case in cases)
    return worker_count(wanted, len(cases), voxels * BYTES_PER_VOXEL)


def _name_of(item: tuple[KeptCase, tuple[CaseFiles, ...]]) -> str:
    return item[0].identifier

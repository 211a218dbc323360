"""Which model of a project to trust: configurations, pairs of them, postprocessing.

out-of-fold label maps of every configuration, scored -+
out-of-fold probabilities of every pair, averaged,     +-> the best, ties to the simpler
    decided and scored                                -+
-> the method's postprocessing -> refinements -> multi-atlas label fusion, if asked for
-> selection.json, and the label maps it leads to
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..domain.dataset import Dataset
from ..domain.events import Notice, Reporter, StageFinished, StageStarted, silent
from ..domain.selection import ScoredCandidate, Selection
from ..evaluate.scores import evaluate_files
from ..io.datasets import open_dataset
from ..io.images import read_label_map, write_label_map
from ..io.json_files import write_json
from ..io.project import Project
from ..io.selection_file import write_selection
from ..io.workers import map_cases
from ..postprocess.components import postprocess
from ..select.candidates import best, candidates_from
from ..select.dice_table import number_or_none
from ..select.postprocessing import Chosen, choose_steps, refine
from ..select.trials import Pair, parts_of_files, score_maps, score_parts, workers_for
from .candidate_scores import predictions_of, score_candidates
from .folds import with_known_folds
from .held_out import Contest, open_contest
from .selected import SELECTION_FOLDER
from .selected_quality import learn_selected
from .summary import write_project_report


@dataclass(frozen=True)
class SelectOptions:
    """What is tried.

    Args:
        plans: which plans compete; all otherwise.
        pairs: whether averages of two configurations compete.
        refinements: whether postprocessing beyond the method's is tried; without, everything is
            decided as nnU-Net does.
        checkpoint: the weights that are judged, "final" or "best".
        atlas: whether multi-atlas label fusion is tried, which takes minutes per case.
    """

    plans: tuple[str, ...] = ()
    pairs: bool = True
    refinements: bool = True
    checkpoint: str = "final"
    atlas: bool = False


STANDARD = SelectOptions()


def select(
    project: Path,
    options: SelectOptions = STANDARD,
    *,
    device: str = "auto",
    workers: int | None = None,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Selection:
    """Chooses the configurations and the postprocessing that are best on held-out cases.

    What it needs and was not kept is predicted. The choice is `selection.json` in the project, and
    the report tells it.

    Args:
        project: folder of a project with trainings.
        options: what is tried.
        device: where to predict.
        workers: processes; by cores and memory otherwise.
        reporter: is told what was chosen, and why.
        should_stop: polled while predicting.

    Raises:
        ModelError: nothing that could be compared is trained.
        Cancelled: `should_stop` said so; what is done is kept.
    """
    home = Project.open(project)
    with home.lock():
        dataset = with_known_folds(home, open_dataset(home.dataset_folder))
        selection = select_model(
            home,
            dataset,
            options,
            device=device,
            workers=workers,
            reporter=reporter,
            should_stop=should_stop,
        )
        plan = home.read_plan(selection.members[0].plan)
        write_project_report(home, dataset, plan, reporter=reporter)
    return selection


def select_model(
    project: Project,
    dataset: Dataset,
    options: SelectOptions = STANDARD,
    *,
    device: str = "auto",
    workers: int | None = None,
    reporter: Reporter,
    should_stop: Callable[[], bool] = lambda: False,
) -> Selection:
    """Chooses, and writes `selection.json` and `selection/`.

    Args:
        project: with trainings of some folds.
        dataset: with the project's folds.
        options: what is tried.
        device: where to predict what is missing.
        workers: processes; by cores and memory otherwise.
        reporter: is told what was chosen, and why.
        should_stop: polled while predicting.

    Raises:
        ModelError: nothing that could be compared is trained.
        Cancelled: `should_stop` said so; what is done is kept.
    """
    contest = open_contest(
        project, dataset, options.plans, checkpoint=options.checkpoint, device=device,
        reporter=reporter, should_stop=should_stop,
    )  # fmt: skip
    began = time.monotonic()
    reporter(StageStarted("select", total=len(contest.cases), unit="case"))
    labels = dataset.description.labels
    candidates = candidates_from(contest.members, pairs=options.pairs)
    tables = score_candidates(contest, candidates, workers, reporter)
    winner = best(tables, as_peer=not options.refinements)
    scored = tuple(
        ScoredCandidate(
            members,
            number_or_none(table.mean_of_defined),
            table.named(labels),
            table.interval(_groups(contest)),
        )
        for members, table in zip(candidates, tables, strict=True)
    )
    reporter(Notice(f"best of {len(scored)} candidates: {scored[winner].name}"))
    pairs = predictions_of(contest, candidates[winner], workers, reporter)
    chosen = _choose_postprocessing(contest, pairs, options.refinements, workers, reporter)
    selection = Selection(
        members=candidates[winner],
        checkpoint=options.checkpoint,
        candidates=scored,
        cases=len(contest.cases),
        postprocessing=chosen.steps,
        tested=chosen.tested,
        dice=number_or_none(chosen.table.mean_of_defined),
        dice_by_structure=chosen.table.named(labels),
        interval=chosen.table.interval(_groups(contest)),
    )
    finals = _write_finals(contest, pairs, selection, workers, reporter)
    if options.atlas:
        from .atlas import try_atlases

        selection = try_atlases(
            contest, selection, finals, workers=workers, reporter=reporter, should_stop=should_stop
        )
    scores = evaluate_files(finals, labels, groups=dataset.groups, workers=workers)
    path = project.folder / SELECTION_FOLDER / "validation.json"
    write_json(path, scores.as_mapping(), schema="selfseg.scores/1")
    learn_selected(contest, selection, workers=workers, reporter=reporter)
    write_selection(project, selection)
    reporter(StageFinished("select", seconds=time.monotonic() - began, detail=describe(selection)))
    return selection


def describe(selection: Selection) -> str:
    """The choice in one line."""
    names = ", ".join(
        f"{step.kind}({', '.join(step.structures)})" if step.structures else step.kind
        for step in selection.postprocessing
    )
    dice = "undefined" if selection.dice is None else f"{selection.dice:.4f}"
    text = f"{selection.chosen.name}, {names or 'no postprocessing'}"
    return f"{text}: mean foreground Dice {dice} on {selection.cases} held-out cases"


def _choose_postprocessing(
    contest: Contest,
    pairs: Sequence[Pair],
    refinements: bool,
    workers: int | None,
    reporter: Reporter,
) -> Chosen:
    labels = contest.dataset.description.labels
    images = score_maps(pairs, labels, workers=workers, reporter=reporter)
    components = images
    if not labels.has_regions:
        parts = parts_of_files(pairs, labels, workers=workers, reporter=reporter)
        components = score_parts(parts, labels)
    chosen = choose_steps(components, labels, as_peer=not refinements)
    if refinements:
        folds = [contest.held_out[case] for case in contest.cases]
        chosen = refine(chosen, components, images, labels, folds)
    for trial in chosen.tested:
        if trial.kept:
            names = ", ".join(trial.step.structures) or "all structures"
            reporter(Notice(f"postprocessing: {trial.step.kind} of {names}: {trial.reason}"))
    return chosen


def _write_finals(
    contest: Contest,
    pairs: Sequence[Pair],
    selection: Selection,
    workers: int | None,
    reporter: Reporter,
) -> list[Pair]:
    """The label maps of the selected model on held-out cases, in `selection/validation/`."""
    folder = contest.project.folder / SELECTION_FOLDER / "validation"
    shutil.rmtree(folder, ignore_errors=True)
    work = _Finish(folder, selection, contest.dataset)
    finals = map_cases(
        work, [prediction for _, prediction in pairs], workers=workers_for(pairs, workers),
        stage="write the selected", name=_file_name, reporter=reporter,
    )  # fmt: skip
    return [(reference, path) for (reference, _), path in zip(pairs, finals, strict=True)]


@dataclass(frozen=True)
class _Finish:
    """Applies the selected postprocessing to a label map file and writes the result."""

    folder: Path
    selection: Selection
    dataset: Dataset

    def __call__(self, prediction: Path) -> Path:
        labels, geometry = read_label_map(prediction)
        scheme = self.dataset.description.labels
        path = self.folder / prediction.name
        final = postprocess(np.array(labels), self.selection.postprocessing, scheme)
        write_label_map(path, final, geometry)
        return path


def _groups(contest: Contest) -> list[str]:
    groups = contest.dataset.groups or {}
    return [groups.get(case, f"case {case}") for case in contest.cases]


def _file_name(path: Path) -> str:
    return path.name

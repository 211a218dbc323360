"""Training one fold, and judging it on the cases it has not seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..crossvalidate.splits import ALL, split_for_fold, splits_of
from ..domain.dataset import Dataset, Split
from ..domain.events import CaseFinished, Notice, Reporter, StageFinished, StageStarted
from ..domain.plan import Plan
from ..evaluate.scores import Scores, evaluate_files
from ..io.case_store import StoredCase, open_case
from ..io.images import write_label_map
from ..io.json_files import write_json
from ..io.project import Project
from .segment import CaseProgress, load_backend, segment_case


@dataclass(frozen=True)
class FoldRun:
    """One fold of one configuration in a project, and how to work on it.

    `clock` counts seconds; `should_stop` is polled while training and predicting.
    """

    project: Project
    dataset: Dataset
    plan: Plan
    configuration: str
    fold: str
    device: str
    reporter: Reporter
    should_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic

    @property
    def folder(self) -> Path:
        """Where this training keeps its files."""
        return self.project.run_folder(self.plan.name, self.configuration, self.fold)

    @property
    def split(self) -> Split:
        """The cases to learn from and to be judged on."""
        names = [case.identifier for case in self.dataset.cases]
        return split_for_fold(splits_of(self.dataset), self.fold, names)

    @property
    def is_trained(self) -> bool:
        """Whether the training is over."""
        return self.fold in self.project.trained_folds(self.plan.name, self.configuration)

    @property
    def is_judged(self) -> bool:
        """Whether the validation cases are predicted and scored."""
        return self.is_trained and (self.folder / "validation.json").is_file()

    def stored(self, identifiers: Sequence[str]) -> tuple[StoredCase, ...]:
        """The preprocessed cases of that name."""
        folder = self.project.preprocessed_folder(self.plan.name, self.configuration)
        return tuple(open_case(folder, identifier) for identifier in identifiers)


def train_fold(run: FoldRun, *, seconds: float | None, seed: int) -> None:
    """Trains the fold, or goes on where an earlier call stopped; skips a finished one."""
    from ..train.loop import TrainingTask, train

    stage = f"train {run.configuration} fold {run.fold}"
    if run.is_trained:
        run.reporter(StageFinished(stage, skipped=True))
        return
    task = TrainingTask(
        plan=run.plan,
        configuration=run.configuration,
        fold=run.fold,
        training=run.stored(run.split.train),
        validation=run.stored(run.split.validation),
        run_folder=run.folder,
        device=run.device,
        seed=seed,
        seconds=seconds,
    )
    start = run.clock()
    run.reporter(StageStarted(stage))
    train(task, reporter=run.reporter, clock=run.clock, should_stop=run.should_stop)
    run.reporter(StageFinished(stage, seconds=run.clock() - start))


def validation_seconds(run: FoldRun, *, mirror: bool) -> float:
    """Time that judging the fold will take, from predicting one case with a fresh network."""
    cases = run.stored(run.split.validation)
    if not cases:
        return 0.0
    voxels = [case.shape[0] * case.shape[1] * case.shape[2] for case in cases]
    largest = cases[voxels.index(max(voxels))].load()
    backend = load_backend(run.project, run.plan, run.configuration, (), "final", run.device)
    # The first call pays for memory and kernels, and the second is what a case costs.
    for _ in range(2):
        start = run.clock()
        segment_case(
            largest,
            backend,
            run.plan,
            run.configuration,
            mirror=mirror,
            should_stop=run.should_stop,
        )
        seconds = run.clock() - start
    return seconds * sum(voxels) / max(voxels)


def judge_fold(run: FoldRun, *, mirror: bool, checkpoint: str) -> Scores:
    """Predicts the fold's validation cases on their native grid and scores them.

    Label maps go to `validation/` in the run's folder, scores to `validation.json`.
    """
    stage = f"validate {run.configuration} fold {run.fold}"
    names, ending = run.split.validation, run.dataset.description.file_ending
    start, began = run.clock(), time.monotonic()
    run.reporter(StageStarted(stage, total=len(names), unit="case"))
    if run.fold == ALL:
        text = "these cases were learned from: their scores say nothing about new ones"
        run.reporter(Notice(text, level="warning"))
    backend = load_backend(
        run.project, run.plan, run.configuration, (run.fold,), checkpoint, run.device
    )
    pairs = []
    for done, case in enumerate(run.stored(names)):
        case_start = run.clock()
        labels = segment_case(
            case.load(),
            backend,
            run.plan,
            run.configuration,
            mirror=mirror,
            reporter=CaseProgress(stage, done, len(names), began, run.reporter),
            should_stop=run.should_stop,
        )
        path = run.folder / "validation" / f"{case.identifier}{ending}"
        write_label_map(path, labels, case.record.native)
        reference = run.dataset.case(case.identifier).label
        if reference is not None:
            pairs.append((reference, path))
        run.reporter(CaseFinished(case.identifier, run.clock() - case_start))
    scores = evaluate_files(pairs, run.dataset.description.labels)
    write_json(run.folder / "validation.json", scores.as_mapping(), schema="selfseg.scores/1")
    mean = scores.mean_foreground("Dice")
    detail = "no structure to score" if mean is None else f"mean foreground Dice {mean:.4f}"
    run.reporter(StageFinished(stage, seconds=run.clock() - start, detail=detail))
    return scores

"""Training one fold, and judging it on the cases it has not seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..crossvalidate.splits import ALL, split_for_fold, splits_of
from ..domain.dataset import Dataset
from ..domain.events import CaseFinished, Notice, Reporter, StageFinished, StageStarted
from ..domain.plan import Plan
from ..evaluate.scores import Scores, evaluate_files
from ..io.case_store import StoredCase, open_case
from ..io.images import write_label_map
from ..io.json_files import write_json
from ..io.project import Project
from .segment import CaseProgress, load_backend, segment_case

VALIDATION_SHARE = 0.3
"""At most this share of a time budget goes into judging the model; above it, mirroring is
left out of the judging, which makes it 4 (2D) or 8 (3D) times faster."""


def stored_cases(
    project: Project, plan: Plan, configuration: str, identifiers: Sequence[str]
) -> tuple[StoredCase, ...]:
    """The preprocessed cases of that name."""
    folder = project.preprocessed_folder(plan.name, configuration)
    return tuple(open_case(folder, identifier) for identifier in identifiers)


def train_fold(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configuration: str,
    fold: str,
    *,
    device: str,
    seed: int,
    seconds: float | None,
    reporter: Reporter,
    should_stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Trains one fold, or goes on where an earlier run stopped; skips a finished one."""
    from ..train.loop import TrainingTask, train

    stage = f"train {configuration} fold {fold}"
    if fold in project.trained_folds(plan.name, configuration):
        reporter(StageFinished(stage, skipped=True))
        return
    split = split_for_fold(splits_of(dataset), fold, [c.identifier for c in dataset.cases])
    task = TrainingTask(
        plan=plan,
        configuration=configuration,
        fold=fold,
        training=stored_cases(project, plan, configuration, split.train),
        validation=stored_cases(project, plan, configuration, split.validation),
        run_folder=project.run_folder(plan.name, configuration, fold),
        device=device,
        seed=seed,
        seconds=seconds,
    )
    start = time.monotonic()
    reporter(StageStarted(stage))
    train(task, reporter=reporter, clock=clock, should_stop=should_stop)
    reporter(StageFinished(stage, seconds=time.monotonic() - start))


def validation_seconds(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configuration: str,
    fold: str,
    *,
    device: str,
    mirror: bool,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Time that judging the fold will take, from predicting one case with a fresh network."""
    split = split_for_fold(splits_of(dataset), fold, [c.identifier for c in dataset.cases])
    cases = stored_cases(project, plan, configuration, split.validation)
    if not cases:
        return 0.0
    by_size = sorted(cases, key=lambda case: case.shape[0] * case.shape[1] * case.shape[2])
    largest = by_size[-1].load()
    backend = load_backend(project, plan, configuration, (), "final", device)
    # The first call pays for memory and kernels, and the second is what a case costs.
    for _ in range(2):
        start = clock()
        segment_case(largest, backend, plan, configuration, mirror=mirror)
        seconds = clock() - start
    voxels = [c.shape[0] * c.shape[1] * c.shape[2] for c in by_size]
    return seconds * sum(voxels) / voxels[-1]


def judge_fold(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configuration: str,
    fold: str,
    *,
    device: str,
    mirror: bool,
    checkpoint: str,
    reporter: Reporter,
    should_stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Scores:
    """Predicts the fold's validation cases on their native grid and scores them.

    Label maps go to `validation/` in the run's folder, scores to `validation.json`.
    """
    split = split_for_fold(splits_of(dataset), fold, [c.identifier for c in dataset.cases])
    run_folder = project.run_folder(plan.name, configuration, fold)
    stage = f"validate {configuration} fold {fold}"
    start, began = clock(), time.monotonic()
    reporter(StageStarted(stage, total=len(split.validation), unit="case"))
    if fold == ALL:
        reporter(
            Notice(
                "these cases were learned from: their scores say nothing about new ones",
                level="warning",
            )
        )
    backend = load_backend(project, plan, configuration, (fold,), checkpoint, device)
    pairs = []
    for done, case in enumerate(stored_cases(project, plan, configuration, split.validation)):
        case_start = clock()
        labels = segment_case(
            case.load(),
            backend,
            plan,
            configuration,
            mirror=mirror,
            reporter=CaseProgress(stage, done, len(split.validation), began, reporter),
            should_stop=should_stop,
        )
        path = run_folder / "validation" / f"{case.identifier}{dataset.description.file_ending}"
        write_label_map(path, labels, case.record.native)
        reference = dataset.case(case.identifier).label
        if reference is not None:
            pairs.append((reference, path))
        reporter(CaseFinished(case.identifier, clock() - case_start))
    scores = evaluate_files(pairs, dataset.description.labels)
    write_json(run_folder / "validation.json", scores.as_mapping(), schema="selfseg.scores/1")
    mean = scores.mean_foreground("Dice")
    detail = "no structure to score" if mean is None else f"mean foreground Dice {mean:.4f}"
    reporter(StageFinished(stage, seconds=clock() - start, detail=detail))
    return scores

"""Training one fold, and judging it on the cases it has not seen."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..crossvalidate.splits import ALL
from ..domain.events import CaseFinished, Notice, StageFinished, StageStarted
from ..domain.plan import Plan
from ..evaluate.scores import Scores, evaluate_files
from ..infer.restore import restore
from ..io.images import write_label_map
from ..io.json_files import write_json
from .calibrate import LogitSampler, fit_configuration
from .first_stage import next_stage_grids, weights_digest
from .fold import FoldRun, check_trained_by
from .logits import LogitKeeper
from .models import load_backend
from .segment import CaseProgress, predict_case
from .start import starting_point
from .validate import held_out_cases, make_validator

__all__ = ["FoldRun", "TrainingOptions", "judge_fold", "train_fold", "validation_seconds"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train, beside what the plan decides; the same for every fold of a command.

    Args:
        seed: of everything random.
        deterministic: the same weights to the last bit every time, at some cost in speed.
        augmentation: in place of the policy of the plan's schedule.
        augmentation_family: where augmentation is computed; "auto" takes the faster one.
        foreground_cases: in place of the rule of the plan's schedule.
        validate_every: epochs between predictions of whole validation cases; 0 for none.
        hold_out: look at a tenth of the training cases for that, in place of the validation
            cases, and do not learn from them.
        early_stopping: end where the validation cases have not become better for long.
        start_from: weights to begin with, in place of fresh ones.
        tensorboard: also write TensorBoard's event files.
        micro_batch: samples at a time, where a batch does not fit the memory.
    """

    seed: int = 0
    deterministic: bool = False
    augmentation: Literal["full", "mild", "mirror"] | None = None
    augmentation_family: Literal["auto", "loader", "device"] = "auto"
    foreground_cases: Literal["with_foreground", "by_structure"] | None = None
    validate_every: int = 0
    hold_out: bool = False
    early_stopping: bool = False
    start_from: Path | None = None
    tensorboard: bool = False
    micro_batch: int | None = None

    def applied_to(self, plan: Plan) -> Plan:
        """The plan with the schedule changed as these options say."""
        schedule = plan.schedule
        return replace(
            plan,
            schedule=replace(
                schedule,
                augmentation=self.augmentation or schedule.augmentation,
                foreground_cases=self.foreground_cases or schedule.foreground_cases,
            ),
        )


def train_fold(run: FoldRun, options: TrainingOptions, *, seconds: float | None) -> None:
    """Trains the fold, or goes on where an earlier call stopped; skips a finished one.

    A cascade's fold needs the predictions of its first stage: see `ensure_predictions`.
    """
    from ..train.loop import train
    from ..train.ranks import is_first_rank
    from ..train.task import TrainingTask

    stage = f"train {run.configuration} fold {run.fold}"
    if run.is_trained:
        check_trained_by(run)
        run.reporter(StageFinished(stage, skipped=True))
        return
    held_out = held_out_cases(run) if options.hold_out else ()
    start_from = options.start_from
    task = TrainingTask(
        plan=options.applied_to(run.plan),
        configuration=run.configuration,
        fold=run.fold,
        training=run.stored([name for name in run.split.train if name not in held_out]),
        validation=run.stored(run.split.validation),
        run_folder=run.folder,
        device=run.device,
        seed=options.seed,
        seconds=seconds,
        deterministic=options.deterministic,
        augmentation_family=options.augmentation_family,
        validator=make_validator(run, options.validate_every, held_out=held_out),
        early_stopping=options.early_stopping,
        start=None if start_from is None else starting_point(start_from, run.configuration),
        micro_batch=options.micro_batch,
        tensorboard=options.tensorboard,
    )
    start = run.clock()
    run.reporter(StageStarted(stage))
    if task.schedule.seconds is not None:
        text = "the number of epochs follows the clock: the total is a guess until the end"
        run.reporter(Notice(text))
    # The ranks of one training work in the same folder; the first holds it for all.
    with run.lock() if is_first_rank() else nullcontext():
        train(task, reporter=run.reporter, clock=run.clock, should_stop=run.should_stop)
    run.reporter(StageFinished(stage, seconds=run.clock() - start))


def validation_seconds(run: FoldRun, *, mirror: bool) -> float:
    """Time that judging the fold will take, from predicting one case with a fresh network."""
    cases = run.stored(run.split.validation)
    if not cases:
        return 0.0
    voxels = [case.shape[0] * case.shape[1] * case.shape[2] for case in cases]
    largest = cases[voxels.index(max(voxels))]
    loaded, grids = largest.load(), next_stage_grids(run, largest.identifier)
    backend = load_backend(run.project, run.plan, run.configuration, (), "final", run.device)
    # The first call pays for memory and kernels, and the second is what a case costs.
    for _ in range(2):
        start = run.clock()
        logits = predict_case(
            loaded,
            backend,
            run.plan,
            run.configuration,
            mirror=mirror,
            should_stop=run.should_stop,
        )
        restore(logits, largest.record, run.plan.description.labels)
        for grid in grids:
            grid.decide(largest, logits)
        seconds = run.clock() - start
    return seconds * sum(voxels) / max(voxels)


def judge_fold(run: FoldRun, *, mirror: bool, checkpoint: str) -> Scores:
    """Predicts the fold's validation cases on their native grid and scores them.

    Label maps go to `validation/` in the run's folder, scores to `validation.json`. What the
    first stage of a cascade predicts here is kept for the training of the second, and all logits
    for `select` where there is room. The configuration's temperature is fitted anew, to all
    folds judged so far.
    """
    stage = f"validate {run.configuration} fold {run.fold}"
    names, ending = run.split.validation, run.dataset.description.file_ending
    start, began = run.clock(), time.monotonic()
    run.reporter(StageStarted(stage, total=len(names), unit="case"))
    if run.fold == ALL:
        text = "these cases were learned from: their scores say nothing about new ones"
        run.reporter(Notice(text, level="warning"))
    scheme = run.dataset.description.labels
    weights = weights_digest(run, checkpoint)
    backend = load_backend(
        run.project, run.plan, run.configuration, (run.fold,), checkpoint, run.device
    )
    pairs, sampler, keeper = [], LogitSampler(scheme), LogitKeeper(run, weights)
    for done, case in enumerate(run.stored(names)):
        case_start, loaded = run.clock(), case.load()
        logits = predict_case(
            loaded,
            backend,
            run.plan,
            run.configuration,
            mirror=mirror,
            reporter=CaseProgress(stage, done, len(names), began, run.reporter),
            should_stop=run.should_stop,
        )
        if loaded.labels is not None:
            sampler.add(case.identifier, logits, loaded.labels)
        keeper.add(case, logits)
        for grid in next_stage_grids(run, case.identifier):
            grid.store(case, grid.decide(case, logits), weights)
        path = run.folder / "validation" / f"{case.identifier}{ending}"
        write_label_map(path, restore(logits, case.record, scheme), case.record.native)
        reference = run.dataset.case(case.identifier).label
        if reference is not None:
            pairs.append((reference, path))
        run.reporter(CaseFinished(case.identifier, run.clock() - case_start))
    scores = evaluate_files(pairs, scheme, groups=run.dataset.groups)
    sampler.write(run.folder)
    fit_configuration(run.project, run.plan, run.configuration)
    keeper.finish(mirror=mirror)
    # Last: a fold with this file is judged.
    write_json(run.folder / "validation.json", scores.as_mapping(), schema="selfseg.scores/1")
    mean = scores.mean_foreground("Dice")
    detail = "no structure to score" if mean is None else f"mean foreground Dice {mean:.4f}"
    run.reporter(StageFinished(stage, seconds=run.clock() - start, detail=detail))
    return scores

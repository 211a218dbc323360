"""The whole story: from a folder of segmented scans to a trained model, and to segmentations.

Every verb of the command line is a function here. They take paths, tell what they do through
`reporter` (see `selfseg.domain.events`), keep everything in a project folder, and can be
stopped at any point and called again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .crossvalidate.splits import ALL, splits_of
from .domain.dataset import Dataset, Fault
from .domain.errors import UsageError
from .domain.events import Notice, Reporter, silent
from .domain.fingerprint import Fingerprint
from .domain.plan import DeviceName, Plan, PlannerName
from .evaluate.scores import Scores, evaluate_folders
from .io.dataset_check import check_dataset
from .io.datasets import find_cases, open_dataset
from .io.json_files import read_plain_json
from .io.nnunet_json import description_from_nnunet
from .io.project import Project
from .plan.planner import make_plan
from .stages import budget, learn, measure, prepare, segment, summary

CROSS_VALIDATION = "cv"
CASCADE = "3d_cascade_fullres"


def check(dataset: Path, *, reporter: Reporter = silent) -> tuple[Fault, ...]:
    """Names every fault of a data set, with its cure; an empty result means all is well."""
    return check_dataset(dataset, reporter)


def fingerprint(
    dataset: Path, project: Path, *, workers: int | None = None, reporter: Reporter = silent
) -> Fingerprint:
    """Measures the training cases: sizes, spacings, intensities."""
    data = open_dataset(dataset)
    home = Project.create(project, data)
    with home.lock():
        return measure.measure_dataset(home, data, workers=workers, reporter=reporter)


def plan(
    dataset: Path,
    project: Path,
    *,
    planner: PlannerName = "plain",
    memory_gb: float | None = None,
    device: DeviceName = "auto",
    time_budget: float | None = None,
    name: str | None = None,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> Plan:
    """Decides every setting from the fingerprint.

    Args:
        dataset: nnU-Net or Decathlon folder.
        project: folder to keep everything in; made if it does not exist.
        planner: "plain", "resenc_m", "resenc_l" or "resenc_xl".
        memory_gb: graphics memory to plan for; the planner's own default otherwise.
        device: "cpu" chooses a network that converges on this machine's processor.
        time_budget: seconds for one training; chooses network and schedule to fit.
        name: name of the plan in the project; the planner's otherwise.
        workers: processes for measuring; chosen by cores and memory otherwise.
        reporter: is told what happens.
    """
    data = open_dataset(dataset)
    home = Project.create(project, data)
    with home.lock():
        measured = measure.measure_dataset(home, data, workers=workers, reporter=reporter)
        made = make_plan(measured, data.description, planner, memory_gb, name)
        if device == "cpu" or time_budget is not None:
            return measure.fitted_plan(
                home, made, device=device, seconds=time_budget, reporter=reporter
            )
        home.write_plan(made)
        return made


def preprocess(
    project: Path,
    *,
    configurations: Sequence[str] = (),
    plan_name: str | None = None,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> None:
    """Crops, normalises and resamples every case for some configurations, or all planned."""
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    with home.lock():
        chosen = home.read_plan(plan_name)
        for configuration in configurations or chosen.recommended:
            prepare.preprocess_project(
                home, data, chosen, configuration, workers=workers, reporter=reporter
            )


def train(
    project: Path,
    *,
    configuration: str,
    fold: str,
    plan_name: str | None = None,
    time_budget: float | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    device: DeviceName = "auto",
    seed: int = 0,
    workers: int | None = None,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Trains one fold of one configuration; `time_budget` (seconds) is for training alone."""
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    with home.lock():
        chosen = home.read_plan(plan_name)
        if time_budget is not None:
            chosen = measure.fitted_plan(
                home, chosen, device=device, seconds=time_budget, reporter=reporter
            )
        chosen = measure.with_length(chosen, epochs, iterations)
        prepare.preprocess_project(
            home, data, chosen, configuration, workers=workers, reporter=reporter
        )
        fold_run = learn.FoldRun(
            home, data, chosen, configuration, fold, device, reporter, should_stop
        )
        learn.train_fold(fold_run, seconds=time_budget, seed=seed)


def predict(
    model: Path,
    inputs: Sequence[Path],
    output: Path,
    *,
    plan_name: str | None = None,
    configuration: str | None = None,
    folds: Sequence[str] = (),
    checkpoint: str = "final",
    mirror: bool = True,
    step: float = 0.5,
    device: DeviceName = "auto",
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Segments files or folders of images with a trained model.

    Args:
        model: a project folder.
        inputs: image files or folders of them.
        output: folder for the label maps, one per case, on the grid of its image.
        plan_name: plan of the project to use; the first trained one otherwise.
        configuration: configuration to use; the first trained one otherwise.
        folds: folds whose logits are averaged; all trained ones otherwise.
        checkpoint: "final" or "best".
        mirror: averages over mirrored images (slower, better).
        step: distance of neighbouring tiles as a share of the patch.
        device: where to compute.
        reporter: is told what happens.
        should_stop: polled between tiles.

    Returns:
        The files written.
    """
    home = Project.open(model)
    chosen, name, trained = segment.choose_trained(home, reporter, plan_name, configuration)
    description = chosen.description
    cases = find_cases(inputs, len(description.channel_names), description.file_ending)
    backend = segment.load_backend(home, chosen, name, folds or trained, checkpoint, device)
    output.mkdir(parents=True, exist_ok=True)
    return segment.segment_files(
        cases,
        backend,
        chosen,
        name,
        output,
        ending=description.file_ending,
        mirror=mirror,
        step=step,
        reporter=reporter,
        should_stop=should_stop,
    )


def evaluate(
    reference: Path,
    prediction: Path,
    *,
    dataset_json: Path | None = None,
    reporter: Reporter = silent,
) -> Scores:
    """Scores a folder of label maps against a folder of references, case by case.

    Args:
        reference: folder of reference label maps.
        prediction: folder of predicted label maps of the same names.
        dataset_json: says which structures there are, regions included; otherwise every
            value above 0 that a file holds is one.
        reporter: is told what happens.
    """
    labels = None
    if dataset_json is not None:
        labels = description_from_nnunet(read_plain_json(dataset_json)).labels
    return evaluate_folders(reference, prediction, labels, reporter=reporter)


def report(
    project: Path,
    *,
    test_images: Path | None = None,
    test_scores: Scores | None = None,
    plan_name: str | None = None,
    reporter: Reporter = silent,
) -> Path:
    """Writes the project's report.html, on test cases where their scores are given.

    Args:
        project: the project folder.
        test_images: folder of the images that were scored.
        test_scores: their scores, as `evaluate` returns them; out-of-fold scores otherwise.
        plan_name: the plan to report on; the first otherwise.
        reporter: is told what happens.
    """
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    chosen = home.read_plan(plan_name)
    test_cases = (
        ()
        if test_images is None
        else find_cases(
            [test_images], len(chosen.description.channel_names), chosen.description.file_ending
        )
    )
    return summary.write_project_report(
        home, data, chosen, test_cases=test_cases, test_scores=test_scores, reporter=reporter
    )


def run(
    dataset: Path,
    project: Path,
    *,
    configurations: Sequence[str] = (),
    folds: str = CROSS_VALIDATION,
    planner: PlannerName = "plain",
    memory_gb: float | None = None,
    plan_name: str | None = None,
    device: DeviceName = "auto",
    time_budget: float | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    checkpoint: str = "final",
    seed: int = 0,
    workers: int | None = None,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    started: float | None = None,
) -> Project:
    """Does everything: measure, plan, preprocess, train, judge on unseen cases, report.

    Args:
        dataset: nnU-Net or Decathlon folder.
        project: folder to keep everything in.
        configurations: which to train; what the plan recommends otherwise.
        folds: "0".."4", "cv" (every fold) or "all" (one model on every case).
        planner: see `plan`.
        memory_gb: see `plan`.
        plan_name: a plan of the project to use as it stands, made before by `plan`.
        device: where to compute; without a graphics card the plan is made for the processor.
        time_budget: seconds for the whole call, shared by its trainings.
        epochs: overrides the schedule.
        iterations: iterations per epoch; overrides the schedule.
        checkpoint: which weights judge the fold, "final" or "best".
        seed: of everything random.
        workers: processes for reading and preprocessing.
        reporter: is told what happens.
        should_stop: polled while training.
        clock: seconds; passed in for tests.
        started: the clock's time when the budget began to run; now otherwise.

    Returns:
        The project, report.html in its folder.
    """
    watch = budget.Budget(time_budget, clock, clock() if started is None else started)
    data = open_dataset(dataset)
    home = Project.create(project, data)
    with home.lock():
        measured = measure.measure_dataset(home, data, workers=workers, reporter=reporter)
        base = budget.base_plan(
            home,
            make_plan(measured, data.description, planner, memory_gb),
            plan_name,
            reporter=reporter,
        )
        chosen_names = _trainable(base, configurations, reporter)
        for name in chosen_names:
            prepare.preprocess_project(home, data, base, name, workers=workers, reporter=reporter)

        trainings = [(n, f) for n in chosen_names for f in _folds(folds, data)]
        chosen = budget.plan_for_budget(
            home, base, watch, len(trainings), device=device, reporter=reporter
        )
        chosen = measure.with_length(chosen, epochs, iterations)
        for position, (name, fold) in enumerate(trainings):
            fold_run = learn.FoldRun(
                home, data, chosen, name, fold, device, reporter, should_stop, clock
            )
            share = watch.share(len(trainings) - position)
            budget.train_and_judge(fold_run, share, checkpoint=checkpoint, seed=seed)
        summary.write_project_report(home, data, chosen, reporter=reporter)
    return home


def _folds(folds: str, data: Dataset) -> tuple[str, ...]:
    if folds == CROSS_VALIDATION:
        return tuple(str(k) for k in range(len(splits_of(data))))
    if folds == ALL or folds.isdigit():
        return (folds,)
    raise UsageError(f"{folds!r} is no fold", expected="a number from 0, cv or all", found=folds)


def _trainable(plan: Plan, wanted: Sequence[str], reporter: Reporter) -> tuple[str, ...]:
    names = tuple(wanted) or plan.recommended
    for name in names:
        plan.configuration(name)
    if CASCADE in names and not wanted:
        reporter(
            Notice(
                "the plan also holds a cascade; its second stage is not trained by `run` yet",
                level="warning",
            )
        )
    return tuple(name for name in names if name != CASCADE)

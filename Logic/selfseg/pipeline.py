"""The whole story: from a folder of segmented scans to a trained model, and to segmentations.

Most verbs of the command line are functions here. They take paths, tell what they do through
`reporter` (see `selfseg.domain.events`), keep everything in a project folder, and can be
stopped at any point and called again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from .collect.collecting import collect as collect
from .collect.collection import CollectOptions as CollectOptions
from .domain.dataset import Fault
from .domain.events import Reporter, silent
from .domain.fingerprint import Fingerprint
from .domain.plan import DeviceName, Plan, PlannerName
from .evaluate.scores import Scores, evaluate_folders
from .io.dataset_check import check_dataset
from .io.datasets import open_dataset
from .io.nnunet_json import read_description
from .io.project import Project
from .plan.planner import make_plan
from .stages import budget, first_stage, learn, measure, order, prepare, start, summary
from .stages.bundle import ModelChoice, Precision
from .stages.crossvalidate import crossvalidate as crossvalidate
from .stages.crossvalidate import learn_qualities
from .stages.folds import require_fold, with_folds
from .stages.inputs import find_inputs
from .stages.learn import TrainingOptions as TrainingOptions
from .stages.model import BackendName, open_model
from .stages.order import CROSS_VALIDATION
from .stages.predict_files import Job, predict_files
from .stages.select import SelectOptions as SelectOptions
from .stages.select import select as select
from .stages.strategy import PredictOptions
from .stages.summary import report as report
from .stages.trainings import HowToTrain, gather, train_all

STANDARD = TrainingOptions()
"""The method as published."""


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
    """Decides every setting from the fingerprint; a plan that trainings use stays as it is.

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
        return budget.written_plan(
            home, made, device=device, seconds=time_budget, reporter=reporter
        )


def preprocess(
    project: Path,
    *,
    configurations: Sequence[str] = (),
    plan_name: str | None = None,
    checkpoint: str = "final",
    device: DeviceName = "auto",
    workers: int | None = None,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Crops, normalises and resamples every case for some configurations, or all planned.

    For a cascade whose first stage is trained, that stage's predictions are made too, with its
    weights `checkpoint`.
    """
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    with home.lock(wait=True, reporter=reporter, should_stop=should_stop):
        chosen = home.read_plan(plan_name)
        names = configurations or chosen.recommended
        prepare.preprocess_project(home, data, chosen, names, workers=workers, reporter=reporter)
        data = with_folds(home, data, chosen, names[0], reporter=reporter)
        for cascade in order.predictable_cascades(home, data, chosen, names):
            name, fold = cascade.configuration, cascade.fold
            fold_run = learn.FoldRun(home, data, chosen, name, fold, device, reporter, should_stop)
            first_stage.ensure_predictions(fold_run, checkpoint=checkpoint)


def train(
    project: Path,
    *,
    configuration: str,
    fold: str,
    plan_name: str | None = None,
    time_budget: float | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    checkpoint: str = "final",
    device: DeviceName = "auto",
    options: TrainingOptions = STANDARD,
    workers: int | None = None,
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Trains one fold of one configuration; `time_budget` (seconds) is for training alone.

    The folds of a cascade's first stage must be trained before (`run` does it); what they have
    not predicted yet with the weights `checkpoint` is predicted first. Several trainings of a
    project can run at the same time.
    """
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    require_fold(home, data, fold)
    with home.lock(wait=True, reporter=reporter, should_stop=should_stop):
        measured = measure.measure_dataset(home, data, workers=workers, reporter=reporter)
        if options.start_from is not None and plan_name is None:
            point = start.starting_point(options.start_from, configuration)
            chosen = start.plan_to_start_from(home, measured, point, reporter=reporter)
        else:
            chosen = home.read_plan(plan_name)
        if time_budget is not None and options.start_from is None:
            chosen = budget.written_plan(
                home, chosen, device=device, seconds=time_budget, reporter=reporter
            )
        chosen = measure.with_length(chosen, epochs, iterations)
        names = (configuration,)
        prepare.preprocess_project(home, data, chosen, names, workers=workers, reporter=reporter)
        data = with_folds(home, data, chosen, configuration, reporter=reporter)
        fold_run = learn.FoldRun(
            home, data, chosen, configuration, fold, device, reporter, should_stop
        )
        if not fold_run.is_trained:
            first_stage.ensure_predictions(fold_run, checkpoint=checkpoint)
    learn.train_fold(fold_run, options, seconds=time_budget)


def predict(
    model: str | Path,
    inputs: Sequence[Path],
    output: Path,
    *,
    plan_name: str | None = None,
    configuration: str | Sequence[str] | None = None,
    folds: Sequence[str] = (),
    checkpoint: Literal["final", "best"] | None = None,
    mirror: bool = True,
    step: float = 0.5,
    structures: Sequence[str] = (),
    region: bool = False,
    probabilities: bool = False,
    confidence: bool = True,
    go_on: bool = False,
    memory_bytes: int | None = None,
    backend: BackendName | None = None,
    library: Path | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    reporter: Reporter = silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, ...]:
    """Segments files or folders of images with a trained model, whatever votes in it.

    What made every file, and how sure the model was, is in `predictions.json` of the output.

    Args:
        model: a project, a bundle (folder or `.selfseg` file), a folder of ONNX graphs, or a
            model's name in the library.
        inputs: image files, folders of them, and folders with DICOM series.
        output: folder for the label maps, one per case, on the grid of its image, and for the
            table of volumes.
        plan_name: plan to use; the selected or first trained one of a project otherwise.
        configuration: those to use, whose probabilities are averaged; otherwise those of the
            bundle, or of a project those selected or else the first trained one.
        folds: folds whose logits are averaged; otherwise those of the bundle, or all trained
            ones of a project but "all".
        checkpoint: "final" or "best", of a project; the selected one's, or "final", otherwise.
        mirror: averages over mirrored images (slower, better).
        step: distance of neighbouring tiles as a share of the patch.
        structures: names of those to write; the others become background.
        region: looks first where the structures are, and predicts only there in full.
        probabilities: also writes them, at the network's resolution.
        confidence: measures how sure the model is of each case.
        go_on: leaves cases alone that the same model has segmented with the same options.
        memory_bytes: what the process may use in all; what the machine has otherwise.
        backend: "torch" or "onnx"; what the model is made for otherwise.
        library: folder of the library of models; the user's otherwise.
        device: where to compute.
        precision: "auto", half precision where the machine computes it natively; or "float32".
        reporter: is told what happens.
        should_stop: polled many times a second.

    Returns:
        The label maps, those that were there already included.

    Raises:
        CasesFailed: some of several cases could not be segmented; the others are done.
    """
    names = (configuration,) if isinstance(configuration, str) else tuple(configuration or ())
    choice = ModelChoice(plan_name, names, tuple(folds), checkpoint, precision)
    options = PredictOptions(
        step, mirror, tuple(structures), region, probabilities, confidence, memory_bytes
    )
    with open_model(model, choice, backend=backend, library=library, reporter=reporter) as opened:
        description = opened.bundle.description
        ending = description.file_ending
        channels = len(description.channel_names)
        found = find_inputs(inputs, channels, ending, output, reporter=reporter)
        job = Job(found, output, ending, options, go_on, device)
        return predict_files(opened, job, reporter=reporter, should_stop=should_stop)


def evaluate(
    reference: Path,
    prediction: Path,
    *,
    dataset_json: Path | None = None,
    tolerance_mm: float = 2.0,
    workers: int | None = None,
    reporter: Reporter = silent,
) -> Scores:
    """Scores a folder of label maps against a folder of references, case by case.

    Args:
        reference: folder of reference label maps.
        prediction: folder of predicted label maps of the same names.
        dataset_json: says which structures there are, regions included; otherwise every
            value above 0 that a file holds is one.
        tolerance_mm: of the surface Dice.
        workers: processes; as many as pay off otherwise.
        reporter: is told what happens.
    """
    labels = None
    if dataset_json is not None:
        labels = read_description(dataset_json).labels
    return evaluate_folders(
        reference,
        prediction,
        labels,
        tolerance_mm=tolerance_mm,
        workers=workers,
        reporter=reporter,
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
    options: TrainingOptions = STANDARD,
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
        configurations: which to train; what the plan recommends otherwise. A cascade brings
            the trainings of its first stage along.
        folds: "0".."4", "cv" (every fold) or "all" (one model on every case).
        planner: see `plan`.
        memory_gb: see `plan`.
        plan_name: a plan of the project to use as it stands, made before by `plan`.
        device: where to compute; without a graphics card the plan is made for the processor.
        time_budget: seconds for the whole call, shared by its trainings.
        epochs: overrides the schedule.
        iterations: iterations per epoch; overrides the schedule.
        checkpoint: which weights judge the fold, "final" or "best".
        options: how to train, see `TrainingOptions`.
        workers: processes for reading and preprocessing.
        reporter: is told what happens.
        should_stop: polled while training.
        clock: seconds; passed in for tests.
        started: the clock's time when the budget began to run; now otherwise.

    Returns:
        The project, report.html in its folder.
    """
    watch = budget.Budget(time_budget, clock, clock() if started is None else started)
    how = HowToTrain(
        watch, device, epochs, iterations, checkpoint, options, workers, reporter, should_stop
    )
    data = open_dataset(dataset.absolute())  # its paths are written down
    watch.require_to_begin(project, configurations)
    home = Project.create(project, data)
    with home.lock():
        measured = measure.measure_dataset(home, data, workers=workers, reporter=reporter)
        base = budget.base_plan(
            home,
            make_plan(measured, data.description, planner, memory_gb),
            plan_name,
            reporter=reporter,
        )
        if options.start_from is not None and plan_name is None:
            point = start.starting_point(options.start_from, *configurations[:1])
            base = start.plan_to_start_from(home, measured, point, reporter=reporter)
            configurations = configurations or (point.configuration,)
        todo = gather(home, data, base, configurations, folds, how)
        if todo.undone(home):
            how = replace(how, watch=budget.with_closing(watch, home, data, base))
        chosen = budget.plan_for_budget(home, base, how.watch, todo.trainings, device, reporter)
        todo = replace(todo, plan=chosen)
        train_all(home, [todo], how)
        learn_qualities(home, [todo], how)
        chosen = measure.with_length(chosen, epochs, iterations)
        summary.write_project_report(home, data, chosen, reporter=reporter)
    return home

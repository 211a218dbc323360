"""Every fold of every configuration, trained and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..domain.events import Notice, Reporter, silent
from ..domain.plan import DeviceName
from ..io.datasets import open_dataset
from ..io.project import Project
from .budget import Budget, with_closing
from .fold import FoldRun
from .learn import TrainingOptions
from .order import CROSS_VALIDATION
from .quality import learn_quality
from .summary import write_project_report
from .trainings import HowToTrain, Todo, gather, train_all

STANDARD = TrainingOptions()


def crossvalidate(
    project: Path,
    *,
    plans: Sequence[str] = (),
    configurations: Sequence[str] = (),
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
    """Trains and judges every fold of every configuration that the project's plans offer.

    What is done is not done again. Arguments that are not explained here are those of `run`.

    Args:
        project: folder of a project with at least one plan.
        plans: names; all of the project otherwise.
        configurations: names, of every plan that has them; all recommended ones otherwise.
        device: where to compute.
        time_budget: seconds for the whole call, shared by its trainings.
        epochs: overrides the schedule.
        iterations: per epoch; overrides the schedule.
        checkpoint: which weights judge the folds.
        options: how to train.
        workers: processes.
        reporter: is told what happens.
        should_stop: polled while training.
        clock: seconds.
        started: the clock's time when the budget began to run.

    Raises:
        PlanError: there is no plan, or none has such a configuration.
    """
    watch = Budget(time_budget, clock, clock() if started is None else started)
    how = HowToTrain(
        watch, device, epochs, iterations, checkpoint, options, workers, reporter, should_stop
    )
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    chosen = [home.read_plan(name) for name in plans or home.plan_names or (None,)]
    with home.lock():
        todo = []
        for plan in chosen:
            named = [name for name in configurations if name in plan.configurations]
            if named or not configurations:
                todo.append(gather(home, data, plan, named, CROSS_VALIDATION, how))
        if not todo:  # raises what says which configurations there are
            todo.append(gather(home, data, chosen[0], configurations, CROSS_VALIDATION, how))
        total = sum(len(part.trainings) for part in todo)
        undone = sum(part.undone(home) for part in todo)
        if undone > 1:
            text = f"{undone} of {total} trainings are to do, one after the other; `selfseg launch "
            text += f"{home.folder}` runs them side by side, here or on a cluster"
            reporter(Notice(text))
        if undone:
            how = replace(how, watch=with_closing(watch, home, todo[0].dataset, todo[0].plan))
        train_all(home, todo, how)
        learn_qualities(home, todo, how)
        if undone or not home.report_file.is_file():
            write_project_report(home, todo[0].dataset, todo[0].plan, reporter=reporter)
    return home


def learn_qualities(project: Project, todo: Sequence[Todo], how: HowToTrain) -> None:
    """Learns from the judged folds of every configuration what predicts its quality.

    Nothing is predicted for it: a configuration whose logits could not be kept is left to
    `select`. Quick where nothing has changed.

    Args:
        project: keeps everything.
        todo: the trainings, done by now.
        how: device and reporter.
    """
    for part in todo:
        for name in dict.fromkeys(training.configuration for training in part.trainings):
            runs = [
                FoldRun(
                    project, part.dataset, part.plan, name, fold, how.device, how.reporter,
                    how.should_stop, how.watch.clock,
                )
                for fold in project.trained_folds(part.plan.name, name)
            ]  # fmt: skip
            learn_quality(runs, checkpoint=how.checkpoint, predict=False)

"""Training and judging many folds, one after the other, within a time budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..domain.dataset import Dataset
from ..domain.events import Reporter
from ..domain.plan import Plan
from ..io.project import Project
from . import budget, learn, measure, order, prepare
from .folds import require_fold, with_folds


@dataclass(frozen=True)
class HowToTrain:
    """What all trainings of a command have in common.

    Args:
        watch: the time there is.
        device: where to compute.
        epochs: overrides the schedule.
        iterations: per epoch; overrides the schedule.
        checkpoint: which weights judge the folds, "final" or "best".
        options: see `TrainingOptions`.
        workers: processes for reading and preprocessing.
        reporter: is told what happens.
        should_stop: polled while training.
    """

    watch: budget.Budget
    device: str
    epochs: int | None
    iterations: int | None
    checkpoint: str
    options: learn.TrainingOptions
    workers: int | None
    reporter: Reporter
    should_stop: Callable[[], bool]


@dataclass(frozen=True)
class Todo:
    """The trainings of one plan."""

    plan: Plan
    dataset: Dataset
    trainings: tuple[order.Training, ...]

    def undone(self, project: Project) -> int:
        """How many of them are not finished yet."""
        trained = {
            t: project.trained_folds(self.plan.name, t.configuration) for t in self.trainings
        }
        return sum(training.fold not in folds for training, folds in trained.items())


def gather(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configurations: Sequence[str],
    folds: str,
    how: HowToTrain,
) -> Todo:
    """Decides what has to be trained with a plan, and preprocesses for it.

    Args:
        project: keeps everything.
        dataset: as opened; the result has the project's folds.
        plan: holds the configurations.
        configurations: asked for by name; all that the plan recommends otherwise.
        folds: a number, "cv" or "all".
        how: processes and reporter.

    Raises:
        DatasetError: there is no such fold.
        UsageError, PlanError: see `order.trainings_in_order`.
    """
    trainings = order.trainings_in_order(
        project, dataset, plan, configurations, folds, reporter=how.reporter
    )
    for fold in dict.fromkeys(training.fold for training in trainings):
        require_fold(project, dataset, fold)
    names = [training.configuration for training in trainings]
    prepare.preprocess_project(
        project, dataset, plan, names, workers=how.workers, reporter=how.reporter
    )
    if names:
        dataset = with_folds(project, dataset, plan, names[0], reporter=how.reporter)
    return Todo(plan, dataset, trainings)


def train_all(project: Project, todo: Sequence[Todo], how: HowToTrain) -> None:
    """Trains and judges whatever is not done yet; the time left is shared evenly."""
    left = sum(len(part.trainings) for part in todo)
    for part, training in _each(todo):
        plan = measure.with_length(part.plan, how.epochs, how.iterations)
        run = learn.FoldRun(
            project, part.dataset, plan, training.configuration, training.fold, how.device,
            how.reporter, how.should_stop, how.watch.clock,
        )  # fmt: skip
        budget.train_and_judge(
            run, how.options, watch=how.watch, trainings_left=left, checkpoint=how.checkpoint
        )
        left -= 1


def _each(todo: Sequence[Todo]) -> Iterator[tuple[Todo, order.Training]]:
    for part in todo:
        for training in part.trainings:
            yield part, training

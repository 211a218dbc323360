"""The jobs of a cross-validation: one training each, in an order that a cascade can learn in."""

from __future__ import annotations

from collections.abc import Sequence

from ..domain.dataset import Dataset
from ..domain.events import Notice, Reporter, silent
from ..domain.plan import Plan
from ..io.project import Project
from ..stages.order import Training, first_stage_folds, trainings_in_order
from .jobs import Job


def jobs_for(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configurations: Sequence[str],
    folds: str,
    *,
    words: Sequence[str] = (),
    preparing_words: Sequence[str] = (),
    gpus: int = 1,
    reporter: Reporter = silent,
) -> tuple[Job, ...]:
    """The jobs that train these configurations and folds; what is trained already is left out.

    First of all the cases are preprocessed, in one job. A fold of a cascade waits for the folds
    of its first stage, and for one job that makes the missing predictions of all of them.

    Args:
        project: knows what is trained already.
        dataset: knows the folds.
        plan: holds the configurations.
        configurations: names; all that the plan recommends otherwise.
        folds: a number, "cv" (every one) or "all" (one network on every case).
        words: more words of each training's command line, as `("--epochs", "50")`.
        preparing_words: more words of each preprocessing's command line.
        gpus: graphics cards for one training.
        reporter: is told what is added or left out.

    Raises:
        UsageError: `folds` is no fold.
        PlanError: the plan has no such configuration.
    """
    wanted = trainings_in_order(project, dataset, plan, configurations, folds, reporter=reporter)
    todo = [t for t in wanted if t.fold not in project.trained_folds(plan.name, t.configuration)]
    if len(todo) < len(wanted):
        finished = len(wanted) - len(todo)
        reporter(Notice(f"{finished} of {len(wanted)} trainings are done already"))
    if not todo:
        return ()
    place = ("-p", str(project.folder), "--plan", plan.name)

    def prepare(names: Sequence[str], needs: Sequence[str], gpus: int) -> Job:
        chosen = tuple(word for name in names for word in ("-c", name))
        arguments = ("preprocess", *place, *chosen, *preparing_words)
        return Job(f"preprocess {' '.join(names)}", arguments, tuple(needs), gpus)

    images = prepare(tuple(dict.fromkeys(plan.images_of(t.configuration) for t in todo)), (), 0)
    jobs = [images]
    names = {training: _name(training) for training in todo}
    for configuration in dict.fromkeys(training.configuration for training in todo):
        ready = images.name
        of_this = [training for training in todo if training.configuration == configuration]
        first = plan.configuration(configuration).previous_stage
        if first is not None:
            sources = [Training(first, k) for k in first_stage_folds(dataset, of_this[0].fold)]
            needs = [names[source] for source in sources if source in names]
            predictions = prepare((configuration,), (ready, *needs), min(gpus, 1))
            jobs.append(predictions)
            ready = predictions.name
        for training in of_this:
            arguments = ("train", *place, "-c", configuration, "-f", training.fold, *words)
            cards = ("--gpus", str(gpus)) if gpus > 1 else ()
            jobs.append(Job(names[training], (*arguments, *cards), (ready,), gpus))
    return tuple(jobs)


def _name(training: Training) -> str:
    return f"{training.configuration} fold {training.fold}"

"""Which trainings a command needs, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..crossvalidate.splits import ALL, splits_of
from ..domain.dataset import Dataset
from ..domain.errors import UsageError
from ..domain.events import Notice, Reporter
from ..domain.plan import Plan
from ..io.project import Project

CROSS_VALIDATION = "cv"


@dataclass(frozen=True)
class Training:
    """One fold of one configuration."""

    configuration: str
    fold: str


def trainings_in_order(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    wanted: Sequence[str],
    folds: str,
    *,
    reporter: Reporter,
) -> tuple[Training, ...]:
    """What a command has to train, the first stage of a cascade before the second.

    A cascade needs every fold of its first stage. Where it was asked for by name, the folds
    that are missing are trained too; where it is only recommended, it is left out. Both is said.

    Args:
        project: knows what is trained already.
        dataset: knows the folds.
        plan: holds the configurations.
        wanted: configurations asked for by name; all that the plan recommends otherwise.
        folds: a number, "cv" (every one) or "all" (one network on every case).
        reporter: is told what is added or left out.

    Raises:
        UsageError: `folds` is no fold.
        PlanError: the plan has no such configuration.
    """
    chosen = _folds(folds, dataset)
    names = tuple(dict.fromkeys(wanted)) or plan.recommended
    first_stages = [name for name in names if plan.configuration(name).previous_stage is None]
    trainings = [Training(name, fold) for name in first_stages for fold in chosen]
    for name in names:
        previous = plan.configuration(name).previous_stage
        if previous is None:
            continue
        needed = [Training(previous, fold) for fold in first_stage_folds(dataset, chosen[0])]
        added = [t for t in needed if t not in trainings and not _is_judged(project, plan, t)]
        trained = project.trained_folds(plan.name, previous)
        missing = ", ".join(t.fold for t in added if t.fold not in trained)
        if missing and not wanted:
            reporter(
                Notice(
                    f"{name} is left out: it learns from the predictions of every fold of "
                    f"{previous}, and fold {missing} is neither trained nor asked for; `-f cv` "
                    f"trains all, `-c {name}` adds what is missing",
                    level="warning",
                )
            )
            continue
        if missing:
            reporter(
                Notice(
                    f"{name} learns from the predictions of every fold of {previous}: "
                    f"fold {missing} of {previous} is trained first"
                )
            )
        trainings += [*added, *(Training(name, fold) for fold in chosen)]
    return tuple(trainings)


def first_stage_folds(dataset: Dataset, fold: str) -> tuple[str, ...]:
    """The folds of the first stage that one fold of a cascade's second stage learns from."""
    return (ALL,) if fold == ALL else _folds(CROSS_VALIDATION, dataset)


def predictable_cascades(
    project: Project, dataset: Dataset, plan: Plan, names: Sequence[str]
) -> tuple[Training, ...]:
    """The cascades among some configurations whose whole first stage is trained.

    One fold stands for all those that learn from the same predictions: "0" and "all".
    """
    found = []
    for name in names:
        previous = plan.configuration(name).previous_stage
        if previous is not None:
            trained = set(project.trained_folds(plan.name, previous))
            found += [
                Training(name, fold)
                for fold in ("0", ALL)
                if trained.issuperset(first_stage_folds(dataset, fold))
            ]
    return tuple(found)


def _is_judged(project: Project, plan: Plan, training: Training) -> bool:
    folder = project.run_folder(plan.name, training.configuration, training.fold)
    trained = project.trained_folds(plan.name, training.configuration)
    return training.fold in trained and (folder / "validation.json").is_file()


def _folds(folds: str, dataset: Dataset) -> tuple[str, ...]:
    if folds == CROSS_VALIDATION:
        return tuple(str(k) for k in range(len(splits_of(dataset))))
    if folds == ALL or folds.isdigit():
        return (folds,)
    raise UsageError(
        f"{folds!r} is no fold",
        expected="a number from 0, cv or all",
        found=folds,
        cure="correct -f, or leave it out: `run` trains every fold then",
    )

"""The trained configurations of a project that can be compared: on the same held-out cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..crossvalidate.splits import ALL, holding_folds, splits_of
from ..domain.bundle import Member
from ..domain.dataset import Dataset
from ..domain.errors import ModelError
from ..domain.events import Notice, Reporter
from ..domain.plan import Plan
from ..evaluate.results import CaseScores, read_case_scores
from ..io.project import Project
from ..select.candidates import in_order
from ..select.dice_table import DiceTable, row_from
from .first_stage import ensure_predictions, weights_digest
from .fold import FoldRun
from .learn import judge_fold
from .logits import read_judged


@dataclass(frozen=True)
class Contest:
    """Who can be compared, and on what.

    Args:
        project: of the trainings.
        dataset: with the project's folds.
        plans: of the members, by name.
        members: configurations that are trained and judged on the same folds, simplest first.
        held_out: the fold that predicts each case, by name; only cases with a reference.
        checkpoint: "final" or "best".
        runs: the training of each member's fold, by (member's place, fold).
        weights: the hash of its weights, likewise.
    """

    project: Project
    dataset: Dataset
    plans: dict[str, Plan]
    members: tuple[Member, ...]
    held_out: dict[str, str]
    checkpoint: str
    runs: dict[tuple[int, str], FoldRun]
    weights: dict[tuple[int, str], str]

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases, sorted: sums over them have the same last bit every time."""
        return tuple(sorted(self.held_out))

    @property
    def ending(self) -> str:
        """Of label map files."""
        return self.dataset.description.file_ending

    def reference(self, case: str) -> Path:
        """The file of a case's label map."""
        path = self.dataset.case(case).label
        assert path is not None  # noqa: S101 - cases without are left out
        return path

    def prediction(self, member: int, case: str) -> Path:
        """The file of a member's out-of-fold label map."""
        run = self.runs[member, self.held_out[case]]
        return run.folder / "validation" / f"{case}{self.ending}"

    def table(self, member: int) -> DiceTable:
        """Dice of a member's out-of-fold label maps, from its score files."""
        scored: dict[str, CaseScores] = {}
        for fold in self.members[member].folds:
            path = self.runs[member, fold].folder / "validation.json"
            for case in read_case_scores(path):
                if self.held_out.get(case.identifier) == fold:
                    scored[case.identifier] = case
        labels = self.dataset.description.labels
        missing = [case for case in self.cases if case not in scored]
        if missing:
            raise ModelError(
                f"{self.members[member].configuration} was not scored on every held-out case",
                expected=f"scores of {len(self.cases)} cases",
                found=f"none of {', '.join(missing[:5])}",
                cure="delete validation.json in the runs' folders and select again",
                path=self.project.folder,
            )
        return DiceTable(np.array([row_from(scored[case].metrics, labels) for case in self.cases]))


def open_contest(
    project: Project,
    dataset: Dataset,
    plan_names: Sequence[str],
    *,
    checkpoint: str,
    device: str,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> Contest:
    """Gathers what is trained, and judges what is not judged with these weights yet.

    Configurations that lack a fold that others have are left out, and that is said.

    Args:
        project: with trainings.
        dataset: with the project's folds.
        plan_names: which plans compete; all of the project otherwise.
        checkpoint: "final" or "best".
        device: where to predict what is missing.
        reporter: is told who is left out.
        should_stop: polled while predicting.

    Raises:
        ModelError: no configuration is trained on a fold that holds cases out.
        PlanError: there is no such plan.
    """
    plans = {name: project.read_plan(name) for name in plan_names or project.plan_names}
    members = in_order(_comparable(project, dataset, plans, reporter))
    folds = members[0].folds
    runs, weights = {}, {}
    for place, member in enumerate(members):
        for fold in folds:
            run = FoldRun(
                project, dataset, plans[member.plan], member.configuration, fold, device,
                reporter, should_stop,
            )  # fmt: skip
            runs[place, fold], weights[place, fold] = run, weights_digest(run, checkpoint)
            judged = read_judged(run)
            stale = judged is not None and judged.weights != weights[place, fold]
            if stale or not run.is_judged:
                ensure_predictions(run, checkpoint=checkpoint)
                judge_fold(run, mirror=True, checkpoint=checkpoint)
    used = {member.plan for member in members}
    return Contest(
        project,
        dataset,
        {name: plan for name, plan in plans.items() if name in used},
        members,
        {
            case: fold
            for case, fold in holding_folds(dataset).items()
            if fold in folds and dataset.case(case).label is not None
        },
        checkpoint,
        runs,
        weights,
    )


def _comparable(
    project: Project, dataset: Dataset, plans: Mapping[str, Plan], reporter: Reporter
) -> list[Member]:
    """The configurations that are trained on the most folds, all on the same."""
    known = {str(number) for number in range(len(splits_of(dataset)))}
    trained = {
        (plan.name, configuration): tuple(
            fold
            for fold in project.trained_folds(plan.name, configuration)
            if fold != ALL and fold in known
        )
        for plan in plans.values()
        for configuration in plan.configurations
    }
    folds = max(trained.values(), key=len, default=())  # the first of those with the most
    if not folds:
        raise ModelError(
            "there is nothing to select from",
            expected="configurations trained on folds that hold cases out",
            found="none in " + (", ".join(plans) or "a project without a plan"),
            cure="run `selfseg crossvalidate PROJECT` first",
            path=project.folder,
        )
    members = []
    for (plan_name, configuration), found in trained.items():
        if set(found) >= set(folds):
            members.append(Member(plan_name, configuration, folds))
        elif found:
            text = f"{plan_name} {configuration} is left out: only fold {', '.join(found)} of "
            text += f"{', '.join(folds)} is trained"
            reporter(Notice(text, level="warning"))
    if len(folds) < len(known):
        text = f"only fold {', '.join(folds)} of {len(known)} is trained: the choice rests on "
        reporter(Notice(f"{text}the cases held out there", level="warning"))
    return members

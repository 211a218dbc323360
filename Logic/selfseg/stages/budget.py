"""Sharing a time budget among the trainings of one command."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..domain.dataset import Dataset
from ..domain.errors import UsageError
from ..domain.events import Notice, Reporter
from ..domain.plan import DeviceName, Plan
from ..io.project import PROJECT_FILE, Project
from . import first_stage, learn, measure
from .order import Training
from .summary import draft_seconds

CLOSING_SECONDS = 6.0
"""Kept back at least for the report and for ending the process."""

CLOSING_PER_DRAFT = 4.0
"""A whole report takes 2.7 to 4.8 times as long as a draft with one case (measured on five
projects on two busy cores, the longest of them photographs and done in 4 s)."""

MOST_CLOSING_SHARE = 0.15
"""Of a budget: a moment in which the machine had much else to do must not cost more."""

TIMING_SECONDS = 8.0
"""What timing the machine takes on two cores, once per project; more where they are busy."""

SAFETY = 1.15
"""Judging may take this much longer than predicted from one case."""

VALIDATION_SHARE = 0.3
"""At most this share of a time budget goes into judging the model; above it, mirroring is
left out of the judging, which makes it 4 (2D) or 8 (3D) times faster."""

LEAST_TRAINING_SECONDS = 5.0

LEAST_SECONDS_EACH = LEAST_TRAINING_SECONDS / (1 - VALIDATION_SHARE)
"""For training and judging, where it is not known yet how long judging takes."""

TRAINING_SHARE = 0.85
"""Of a training and its judging; what a plan tells people before either could be timed."""


@dataclass(frozen=True)
class Budget:
    """Wall-clock seconds for a whole command, and when they began to run."""

    seconds: float | None
    clock: Callable[[], float]
    started: float
    closing: float = CLOSING_SECONDS

    @property
    def used(self) -> float:
        """Seconds that have gone by."""
        return self.clock() - self.started

    def share(self, trainings_left: int) -> float | None:
        """Seconds for the next of `trainings_left` trainings, judging included."""
        if self.seconds is None:
            return None
        return (self.seconds - self.used - self.closing) / trainings_left

    def require(
        self, trainings: int, *, each: float = LEAST_SECONDS_EACH, once: float = 0.0
    ) -> None:
        """Refuses a budget in which nothing could be trained.

        Args:
            trainings: that are left.
            each: seconds that each needs, judging included.
            once: seconds for what else is to do before.

        Raises:
            UsageError: it is too short; names the least that would do.
        """
        if self.seconds is None:
            return
        least = self.used + self.closing + once + trainings * each
        if least > self.seconds:
            raise UsageError(
                "the time budget is too short",
                expected=f"at least {_rounded_up(least)} s in all",
                found=f"{self.seconds:.0f} s for {trainings} "
                f"training{'' if trainings == 1 else 's'}, preparing and judging",
                cure="give a longer --time-budget, or fewer folds and configurations "
                "(-c 3d_fullres -f 0)",
            )

    def require_to_begin(self, project: Path, configurations: Sequence[str]) -> None:
        """Refuses a budget that is too short whatever the data, before a project is begun.

        Raises:
            UsageError: it is too short; names the least that could do.
        """
        if not (project / PROJECT_FILE).is_file():
            self.require(max(1, len(set(configurations))), once=TIMING_SECONDS)


def with_closing(watch: Budget, project: Project, dataset: Dataset, plan: Plan) -> Budget:
    """The budget that keeps back what the report will take here, timed on a draft of it."""
    if watch.seconds is None:
        return watch
    closing = CLOSING_PER_DRAFT * draft_seconds(project, dataset, plan, clock=watch.clock)
    closing = min(closing, MOST_CLOSING_SHARE * watch.seconds)
    return replace(watch, closing=max(CLOSING_SECONDS, closing))


def written_plan(
    project: Project,
    made: Plan,
    *,
    device: DeviceName,
    seconds: float | None,
    reporter: Reporter,
) -> Plan:
    """Writes a plan, fitted to a processor or a time; one that trainings use stays as it is.

    Networks that were trained by a plan fit into no other.

    Args:
        project: keeps the plan.
        made: under its name.
        device: "cpu" fits it to this machine's processor.
        seconds: for one training; fits it to that time.
        reporter: is told where the plan in use is kept.
    """
    if made.name in project.plan_names and project.has_runs(made.name):
        known = project.read_plan(made.name)
        if known != made:
            text = f"plan {made.name} stays as it is: this project's trainings use it; "
            reporter(Notice(text + "`selfseg plan --name NEW` makes another one beside it"))
        return known
    if device == "cpu" or seconds is not None:
        return measure.fitted_plan(project, made, device=device, seconds=seconds, reporter=reporter)
    project.write_plan(made)
    return made


def base_plan(project: Project, made: Plan, plan_name: str | None, *, reporter: Reporter) -> Plan:
    """The plan to start from: the one named, the one trainings already use, or the one made.

    A plan that has been trained with is kept: half a cross-validation with one network and
    half with another could not be compared.
    """
    if plan_name is not None:
        return project.read_plan(plan_name)
    if made.name in project.plan_names and project.has_runs(made.name):
        known = project.read_plan(made.name)
        if known != made:
            reporter(Notice("going on with the plan that this project's trainings already use"))
        return known
    return made


def plan_for_budget(
    project: Project,
    base: Plan,
    watch: Budget,
    trainings: Sequence[Training],
    device: DeviceName,
    reporter: Reporter,
) -> Plan:
    """The plan fitted to the time there is, or to this machine's processor.

    A plan that is already in use or was chosen by name stays as it is.

    Args:
        project: keeps the plan.
        base: the plan to fit.
        watch: the time there is.
        trainings: that share it.
        device: where to compute.
        reporter: is told what was decided of the configurations that are trained.

    Raises:
        UsageError: the time is too short to train anything.
    """
    if base.name in project.plan_names and base == project.read_plan(base.name):
        return base
    on_cpu = _is_cpu(device)
    if watch.seconds is None and not on_cpu:
        project.write_plan(base)
        return base
    if on_cpu and device == "auto":
        reporter(Notice("no graphics card found: planning for the processor (--device cpu)"))
    target: DeviceName = "cpu" if on_cpu else device
    count = len(trainings)
    watch.require(count, once=0.0 if project.read_speed_profile() else TIMING_SECONDS)
    measure.speed_profile(project, base, target, reporter, watch.clock)
    watch.require(count)
    return measure.fitted_plan(
        project,
        base,
        device=target,
        seconds=watch.share(count),
        training_share=1.0 if watch.seconds is None else TRAINING_SHARE,
        told=[training.configuration for training in trainings],
        reporter=reporter,
        clock=watch.clock,
    )


def train_and_judge(
    run: learn.FoldRun,
    options: learn.TrainingOptions,
    *,
    watch: Budget,
    trainings_left: int,
    checkpoint: str,
) -> None:
    """Trains one fold and predicts its validation cases, both within its share of the budget.

    Args:
        run: the fold; for a cascade, what the first stage has not predicted yet comes first.
        options: how to train.
        watch: the time there is; without a limit the plan's schedule decides.
        trainings_left: that share it, with this one.
        checkpoint: which weights judge the fold, "final" or "best".

    Raises:
        UsageError: the time left is too short to train anything.
        TrainingError: the first stage of a cascade is not trained.
    """
    if run.is_judged:
        learn.train_fold(run, options, seconds=None)  # says that it is done
        return
    began, seconds = run.clock(), watch.share(trainings_left)
    first_stage.ensure_predictions(run, checkpoint=checkpoint)
    mirror, training_seconds = True, None
    if seconds is not None:
        reserve = learn.validation_seconds(run, mirror=True) * SAFETY
        if reserve > VALIDATION_SHARE * seconds:
            mirror, reserve = False, learn.validation_seconds(run, mirror=False) * SAFETY
            run.reporter(
                Notice("judging without mirroring: with it, it would take too much of the budget")
            )
        spent = run.clock() - began
        training_seconds = seconds - spent - reserve
        if training_seconds < LEAST_TRAINING_SECONDS and not run.is_trained:
            each = LEAST_TRAINING_SECONDS + reserve + spent
            watch.require(trainings_left, each=each, once=-spent)  # what is spent is counted
    learn.train_fold(run, options, seconds=training_seconds)
    learn.judge_fold(run, mirror=mirror, checkpoint=checkpoint)


def _is_cpu(device: DeviceName) -> bool:
    from ..infer.torch_backend import pick_device

    return str(pick_device(device)) == "cpu"


def _rounded_up(seconds: float) -> int:
    """To 5 s, with a little to spare: the next time takes not quite as long as this one."""
    return 5 * math.ceil(1.05 * seconds / 5)

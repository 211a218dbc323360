"""Sharing a time budget among the trainings of one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..domain.errors import UsageError
from ..domain.events import Notice, Reporter
from ..domain.plan import DeviceName, Plan
from ..io.project import Project
from . import first_stage, learn, measure

CLOSING_SECONDS = 6.0
"""Kept back for the report and for ending the process."""

SAFETY = 1.15
"""Judging may take this much longer than predicted from one case."""

VALIDATION_SHARE = 0.3
"""At most this share of a time budget goes into judging the model; above it, mirroring is
left out of the judging, which makes it 4 (2D) or 8 (3D) times faster."""

LEAST_TRAINING_SECONDS = 5.0


@dataclass(frozen=True)
class Budget:
    """Wall-clock seconds for a whole command, and when they began to run."""

    seconds: float | None
    clock: Callable[[], float]
    started: float

    def share(self, trainings_left: int) -> float | None:
        """Seconds for the next of `trainings_left` trainings, judging included."""
        if self.seconds is None:
            return None
        left = self.seconds - (self.clock() - self.started) - CLOSING_SECONDS
        return left / trainings_left


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
    trainings: int,
    *,
    device: DeviceName,
    reporter: Reporter,
) -> Plan:
    """The plan fitted to the time there is, or to this machine's processor.

    A plan that is already in use or was chosen by name stays as it is.
    """
    if base.name in project.plan_names and base == project.read_plan(base.name):
        return base
    seconds = watch.share(trainings)
    on_cpu = _is_cpu(device)
    if seconds is None and not on_cpu:
        project.write_plan(base)
        return base
    if on_cpu and device == "auto":
        reporter(Notice("no graphics card found: planning for the processor (--device cpu)"))
    return measure.fitted_plan(
        project,
        base,
        device="cpu" if on_cpu else device,
        seconds=seconds,
        reporter=reporter,
        clock=watch.clock,
    )


def train_and_judge(
    run: learn.FoldRun, options: learn.TrainingOptions, *, seconds: float | None, checkpoint: str
) -> None:
    """Trains one fold and predicts its validation cases, both within `seconds`.

    Args:
        run: the fold; for a cascade, what the first stage has not predicted yet comes first.
        options: how to train.
        seconds: for all of it; None leaves it to the plan's schedule.
        checkpoint: which weights judge the fold, "final" or "best".

    Raises:
        UsageError: the time left is too short to train anything.
        TrainingError: the first stage of a cascade is not trained.
    """
    if run.is_judged:
        learn.train_fold(run, options, seconds=None)  # says that it is done
        return
    began = run.clock()
    first_stage.ensure_predictions(run, checkpoint=checkpoint)
    mirror, training_seconds = True, None
    if seconds is not None:
        reserve = learn.validation_seconds(run, mirror=True) * SAFETY
        if reserve > VALIDATION_SHARE * seconds:
            mirror, reserve = False, learn.validation_seconds(run, mirror=False) * SAFETY
            run.reporter(
                Notice("judging without mirroring: with it, it would take too much of the budget")
            )
        training_seconds = seconds - (run.clock() - began) - reserve
        if training_seconds < LEAST_TRAINING_SECONDS and not run.is_trained:
            raise UsageError(
                "the time budget is too short",
                expected=f"at least {LEAST_TRAINING_SECONDS:.0f} s of training per fold beside "
                f"{reserve:.0f} s to judge it",
                found=f"{seconds:.0f} s in all for {run.configuration} fold {run.fold}",
                cure="give a longer --time-budget, or fewer folds and configurations "
                "(-c 3d_fullres -f 0)",
            )
    learn.train_fold(run, options, seconds=training_seconds)
    learn.judge_fold(run, mirror=mirror, checkpoint=checkpoint)


def _is_cpu(device: DeviceName) -> bool:
    from ..infer.torch_backend import pick_device

    return str(pick_device(device)) == "cpu"

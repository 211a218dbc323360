"""From a data set to its fingerprint and plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from ..domain.dataset import Dataset
from ..domain.events import Notice, Reporter, StageFinished, StageStarted
from ..domain.fingerprint import Fingerprint
from ..domain.plan import (
    ComputeTarget,
    DeviceName,
    Plan,
    SpeedProfile,
)
from ..fingerprint.batch import take_fingerprint
from ..io.images import read_case
from ..io.project import Project
from ..plan.compute_target import fit_to_target


def measure_dataset(
    project: Project, dataset: Dataset, *, workers: int | None, reporter: Reporter
) -> Fingerprint:
    """The fingerprint of the data set, measured once and kept in the project."""
    names = tuple(case.identifier for case in dataset.cases)
    known = project.read_fingerprint()
    if known is not None and known.case_identifiers == names:
        reporter(StageFinished("fingerprint", skipped=True))
        return known
    start = time.monotonic()
    reporter(StageStarted("fingerprint", total=len(names), unit="case"))
    fingerprint = take_fingerprint(
        dataset.cases,
        partial(read_case, labels=dataset.description.labels),
        workers=workers,
        reporter=reporter,
    )
    project.write_fingerprint(fingerprint)
    reporter(StageFinished("fingerprint", seconds=time.monotonic() - start))
    return fingerprint


def fitted_plan(
    project: Project,
    plan: Plan,
    *,
    device: DeviceName,
    seconds: float | None,
    reporter: Reporter,
    training_share: float = 1.0,
    told: Collection[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Plan:
    """The plan changed so that it converges on this machine in `seconds` per training.

    The machine is timed once per project; the profile is kept beside the plan.

    Args:
        project: keeps plan and profile.
        plan: to be changed.
        device: where to train.
        seconds: for one training and its judging.
        reporter: is told what was decided.
        training_share: of `seconds`, that training itself has.
        told: configurations to tell of; all otherwise.
        clock: seconds.
    """
    profile = speed_profile(project, plan, device, reporter, clock)
    target = ComputeTarget(plan.target.memory_gb, device, seconds)
    fitted = fit_to_target(plan, target, profile, training_share=training_share)
    project.write_plan(fitted)
    silenced = set(plan.configurations) - set(told or plan.configurations)
    for decision in fitted.decisions[len(plan.decisions) :]:
        if decision.what.split(":")[0] not in silenced:
            reporter(Notice(f"{decision.what}: {decision.value} ({decision.reason})"))
    return fitted


def with_length(plan: Plan, epochs: int | None, iterations: int | None) -> Plan:
    """The plan with another number of epochs or of iterations per epoch."""
    if epochs is None and iterations is None:
        return plan
    schedule = plan.schedule
    schedule = replace(
        schedule,
        epochs=schedule.epochs if epochs is None else epochs,
        iterations_per_epoch=schedule.iterations_per_epoch if iterations is None else iterations,
        validation_iterations=schedule.validation_iterations
        if iterations is None
        else min(schedule.validation_iterations, max(1, iterations // 5)),
        seconds=schedule.seconds if epochs is None else None,
    )
    return replace(plan, schedule=schedule)


def speed_profile(
    project: Project,
    plan: Plan,
    device: DeviceName,
    reporter: Reporter,
    clock: Callable[[], float] = time.monotonic,
) -> SpeedProfile:
    """How fast this machine trains; timed once per project and kept there."""
    from ..train.speed import measure_speed

    known = project.read_speed_profile()
    if known is not None and known.device == device:
        return known
    start = time.monotonic()
    reporter(StageStarted("time this machine"))
    configuration = plan.configuration(plan.recommended[-1])
    profile = measure_speed(
        configuration.network.dimensions,
        plan.input_channels(configuration.name),
        plan.description.labels.head_count,
        configuration.patch_size,
        device,
        clock=clock,
    )
    project.write_speed_profile(profile)
    reporter(StageFinished("time this machine", seconds=time.monotonic() - start))
    return profile

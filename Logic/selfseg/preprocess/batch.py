"""Preprocessing of all cases, in parallel, resumable case by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from ..domain.case import PreprocessedCase, RawCase
from ..domain.dataset import CaseFiles
from ..domain.events import Notice, Reporter
from ..domain.plan import Plan
from ..io.workers import map_cases, worker_count
from .case import preprocess_case

_BYTES_PER_VOXEL = 12
"""Peak memory of a case per voxel and channel: two float32 images and what is in between."""

_LARGER_THAN_MEDIAN = 3.0
"""How much larger than the median case the ones worked on at a time may be."""


def preprocess_cases(
    cases: Sequence[CaseFiles],
    plan: Plan,
    configuration: str,
    read: Callable[[CaseFiles], RawCase],
    write: Callable[[PreprocessedCase], object],
    is_done: Callable[[str], bool],
    *,
    workers: int | None = None,
    reporter: Reporter,
) -> None:
    """Preprocesses every case that is not done yet.

    Args:
        cases: what to preprocess.
        plan: decides how.
        configuration: which of the plan's.
        read: reads one case; picklable.
        write: stores one case so that it is there in full or not at all; picklable. Called in
            the process that made the case, so that no image travels between processes.
        is_done: whether the case of that name is stored already; asked here only.
        workers: processes; None chooses by cores, free memory and the plan's image size.
        reporter: gets a `Progress` per case, and a `Notice` where memory limits the workers.

    Raises:
        PlanError: the plan has no such configuration.
        SelfsegError: a case cannot be read, preprocessed or written; the message names it.
    """
    needed = estimated_bytes(plan, configuration)
    todo = [case for case in cases if not is_done(case.identifier)]
    count = worker_count(workers, len(todo), needed)
    possible = worker_count(workers, len(todo), 0.0)
    if count < possible:
        reporter(
            Notice(
                f"preprocessing with {count} instead of {possible} processes: a case needs "
                f"about {needed / 2**30:.1f} GB of memory"
            )
        )
    work = partial(_one_case, plan=plan, configuration=configuration, read=read, write=write)
    for _ in map_cases(
        work,
        todo,
        workers=count,
        stage=f"preprocess {configuration}",
        name=_identifier,
        reporter=reporter,
    ):
        pass


def estimated_bytes(plan: Plan, configuration: str) -> float:
    """The memory that preprocessing a large case of this data set may need at its peak.

    Raises:
        PlanError: the plan has no such configuration.
    """
    chosen = plan.configuration(configuration)
    before = math.prod(plan.original_median_shape)
    depth = plan.original_median_shape[0] if chosen.is_2d and len(chosen.median_shape) == 2 else 1
    after = math.prod(chosen.median_shape) * depth
    channels = len(plan.description.channel_names)
    return (before + after) * channels * _BYTES_PER_VOXEL * _LARGER_THAN_MEDIAN


def _one_case(
    case: CaseFiles,
    plan: Plan,
    configuration: str,
    read: Callable[[CaseFiles], RawCase],
    write: Callable[[PreprocessedCase], object],
) -> None:
    write(preprocess_case(read(case), plan, configuration))


def _identifier(case: CaseFiles) -> str:
    return case.identifier

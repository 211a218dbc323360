"""From images on disk to what the network reads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from ..domain.case import PreprocessedCase
from ..domain.dataset import CaseFiles, Dataset
from ..domain.events import Reporter, StageFinished, StageStarted
from ..domain.plan import Plan
from ..io.case_store import has_case, write_case
from ..io.images import read_case
from ..io.project import Project
from ..preprocess.batch import preprocess_cases


def preprocess_project(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configurations: Iterable[str],
    *,
    workers: int | None,
    reporter: Reporter,
) -> None:
    """Preprocesses every training case that is not in the store yet, or has changed since.

    A cascade takes the images of 3d_fullres, and its first stage is preprocessed with it.
    """
    wanted: dict[str, None] = {}
    for name in configurations:
        first = plan.configuration(name).previous_stage
        wanted |= dict.fromkeys((*(() if first is None else (first,)), plan.images_of(name)))
    for name in wanted:
        _preprocess(project, dataset, plan, name, workers=workers, reporter=reporter)


def _preprocess(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    configuration: str,
    *,
    workers: int | None,
    reporter: Reporter,
) -> None:
    folder = project.preprocessed_folder(plan.name, configuration)
    decisions = preprocessing_key(plan, configuration)
    keys = {c.identifier: _case_key(c, decisions) for c in dataset.cases}

    def is_done(identifier: str) -> bool:
        return has_case(folder, identifier, key=keys[identifier])

    stage = f"preprocess {configuration}"
    todo = [case for case in dataset.cases if not is_done(case.identifier)]
    if not todo:
        reporter(StageFinished(stage, skipped=True))
        return
    start = time.monotonic()
    reporter(StageStarted(stage, total=len(todo), unit="case"))
    patch_size = plan.configuration(configuration).patch_size
    preprocess_cases(
        todo,
        plan,
        configuration,
        partial(read_case, labels=dataset.description.labels),
        partial(_store, folder, keys, patch_size),
        is_done,
        workers=workers,
        reporter=reporter,
    )
    reporter(StageFinished(stage, seconds=time.monotonic() - start))


def preprocessing_key(plan: Plan, configuration: str) -> str:
    """A hash of everything that decides what preprocessing does.

    The network is not part of it: a plan that was fitted to a budget can use the same cases.
    """
    chosen = plan.configuration(configuration)
    decides = (
        plan.orientation,
        plan.transpose_forward,
        chosen.spacing,
        chosen.normalisation,
        chosen.normalise_in_mask,
        plan.foreground_intensities,
        plan.description.labels,
    )
    return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16]


def _case_key(files: CaseFiles, decisions: str) -> str:
    # Size and time of change tell an edited file from the one that was preprocessed, without
    # reading it.
    paths = (*files.images, *(() if files.label is None else (files.label,)))
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr((decisions, states)).encode()).hexdigest()[:16]


def _store(
    folder: Path, keys: Mapping[str, str], patch_size: tuple[int, ...], case: PreprocessedCase
) -> None:
    write_case(folder, case, key=keys[case.identifier], patch_size=patch_size)

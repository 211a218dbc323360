"""Gathering what a project holds into its report."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..domain.dataset import CaseFiles, Dataset
from ..domain.events import Reporter, StageFinished
from ..domain.plan import Plan
from ..evaluate.scores import CaseScores, Scores, read_case_scores, summarise_cases
from ..io.images import read_case, read_label_map
from ..io.project import Project
from ..report.content import (
    OverlayCase,
    ReportContent,
    TrainingRun,
    choose_cases,
    mean_case_dice,
    read_log,
)
from ..report.html import write_report, write_report_json


def write_project_report(
    project: Project,
    dataset: Dataset,
    plan: Plan,
    *,
    test_cases: Sequence[CaseFiles] = (),
    test_scores: Scores | None = None,
    reporter: Reporter,
) -> Path:
    """Writes report.html and report.json into the project.

    Scores are those of `test_scores` where given, else the out-of-fold scores of the first
    configuration that was judged.
    """
    start = time.monotonic()
    configuration, cases = _validation_cases(project, plan)
    scores = summarise_cases(cases) if test_scores is None else test_scores
    files = {case.identifier: case for case in (*dataset.cases, *test_cases)}
    content = ReportContent(
        title=f"{dataset.description.name}: segmentation model",
        created=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        description=dataset.description,
        fingerprint=project.read_fingerprint(),
        plan=plan,
        runs=_runs(project, plan),
        scores=scores.as_mapping(),
        scored_on=(
            f"{len(scores.cases)} held-out cases of {configuration} (each predicted by a "
            "network that has not seen it)"
            if test_scores is None
            else f"{len(scores.cases)} test cases that no training has seen"
        ),
        overlays=_overlays(scores, lambda name: files.get(name), dataset),
        usage_command=f"selfseg predict -m {project.folder} -i IMAGES -o SEGMENTATIONS",
        usage_notes=("IMAGES is a file or a folder; label maps lie on the grid of the images.",),
        provenance=(
            ("selfseg", __version__),
            ("Python", platform.python_version()),
            ("machine", f"{platform.system()} {platform.machine()}"),
            ("data set", str(dataset.folder)),
            ("project", str(project.folder)),
        ),
    )
    write_report(project.report_file, content)
    write_report_json(project.report_file.with_suffix(".json"), content)
    reporter(
        StageFinished("report", seconds=time.monotonic() - start, detail=str(project.report_file))
    )
    return project.report_file


def _validation_cases(project: Project, plan: Plan) -> tuple[str, tuple[CaseScores, ...]]:
    for configuration in plan.configurations:
        cases: list[CaseScores] = []
        for fold in project.trained_folds(plan.name, configuration):
            path = project.run_folder(plan.name, configuration, fold) / "validation.json"
            if fold != "all" and path.is_file():
                cases += read_case_scores(path)
        if cases:
            return configuration, tuple(cases)
    return "no configuration", ()


def _runs(project: Project, plan: Plan) -> tuple[TrainingRun, ...]:
    return tuple(
        TrainingRun(
            configuration,
            fold,
            read_log(project.run_folder(plan.name, configuration, fold) / "log.jsonl"),
        )
        for configuration in plan.configurations
        for fold in project.trained_folds(plan.name, configuration)
    )


def _overlays(
    scores: Scores, files_of: Callable[[str], CaseFiles | None], dataset: Dataset
) -> tuple[OverlayCase, ...]:
    overlays = []
    for title, entry in choose_cases(scores.as_mapping()["metric_per_case"]):
        prediction = Path(entry["prediction_file"])
        identifier = prediction.name.removesuffix(dataset.description.file_ending)
        files = files_of(identifier)
        if files is None:
            continue
        raw = read_case(files, None, with_labels=False)
        reference = read_label_map(Path(entry["reference_file"]))[0]
        overlays.append(
            OverlayCase(
                identifier=identifier,
                image=_picture(raw.channels, dataset),
                predicted=read_label_map(prediction)[0],
                reference=reference,
                spacing=raw.geometry.spacing,
                direction=raw.geometry.direction,
                score=mean_case_dice(entry),
                title=title,
            )
        )
    return tuple(overlays)


def _picture(channels: np.ndarray[Any, Any], dataset: Dataset) -> np.ndarray[Any, Any]:
    colour = channels.shape[:2] == (3, 1) and dataset.description.file_ending not in (".nii.gz",)
    return np.moveaxis(channels, 0, -1) if colour else channels[0]

"""Gathering what a project holds into its report.

The page itself, and with it matplotlib, is imported when one is drawn: predicting draws none.
"""

from __future__ import annotations

import datetime
import math
import platform
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..arrays.calibration import Reliability, no_reliability, reliability
from ..arrays.probabilities import sigmoid, softmax
from ..crossvalidate.splits import ALL
from ..domain.bundle import Member
from ..domain.dataset import CaseFiles, Dataset
from ..domain.events import Reporter, StageFinished, silent
from ..domain.plan import Plan
from ..domain.quality import QualityModel
from ..domain.selection import Selection
from ..domain.wording import counted
from ..evaluate.scores import CaseScores, Scores, read_case_scores, summarise_cases
from ..io.datasets import find_cases, open_dataset
from ..io.image_endings import ITK_ENDINGS
from ..io.images import read_case, read_label_map
from ..io.project import Project
from ..io.selection_file import read_selection
from ..io.weights import read_weights
from ..report.content import (
    CalibrationContent,
    OverlayCase,
    ReportContent,
    ScoredConfiguration,
    TrainingRun,
    Usage,
    choose_cases,
    mean_case_dice,
    read_run,
)
from .calibrate import SAMPLES_FILE, calibration_of
from .quality_files import quality_of, read_quality
from .selected import SELECTION_FOLDER


def report(
    project: Path,
    *,
    test_images: Path | None = None,
    test_scores: Scores | None = None,
    plan_name: str | None = None,
    reporter: Reporter = silent,
) -> Path:
    """Writes the project's report.html, on test cases where their scores are given.

    Args:
        project: the project folder.
        test_images: folder of the images that were scored.
        test_scores: their scores, as `evaluate` returns them; out-of-fold scores otherwise.
        plan_name: the plan to report on; the first otherwise.
        reporter: is told what happens.
    """
    home = Project.open(project)
    data = open_dataset(home.dataset_folder)
    chosen = home.read_plan(plan_name)
    test_cases = (
        ()
        if test_images is None
        else find_cases(
            [test_images], len(chosen.description.channel_names), chosen.description.file_ending
        )
    )
    return write_project_report(
        home, data, chosen, test_cases=test_cases, test_scores=test_scores, reporter=reporter
    )


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

    Scores are those of `test_scores` where given, else the out-of-fold scores of the selected
    model, else those of the best configuration that was judged.
    """
    from ..report.html import write_report, write_report_json

    start = time.monotonic()
    selection = read_selection(project)
    judged = _judged(project, plan)
    shown = _shown(judged, plan, selection)
    selected = _selected_scores(project, selection)
    scores = judged.get(shown, summarise_cases(())) if selected is None else selected
    name = shown if selected is None or selection is None else _name_of(selection)
    if test_scores is not None:
        scores = test_scores
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
            f"{counted(len(scores.cases), 'held-out case')} of {name or 'no configuration'}, each "
            "predicted by networks that have not seen it"
            if test_scores is None
            else f"{counted(len(scores.cases), 'test case')} that no training has seen"
        ),
        overlays=_overlays(scores, lambda name: files.get(name), dataset),
        configurations=tuple(
            ScoredConfiguration(
                name,
                _folds(project, plan, name),
                found.as_mapping(),
                is_shown=test_scores is None and selected is None and name == shown,
            )
            for name, found in judged.items()
        ),
        calibration=_calibration(project, plan, shown) if shown else None,
        quality=_quality(project, plan, shown, selection),
        selection=selection,
        usage=_usage(project),
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


def draft_seconds(
    project: Project, dataset: Dataset, plan: Plan, *, clock: Callable[[], float] = time.monotonic
) -> float:
    """Time to draw a report on nothing but the data and their largest case, as it is labelled."""
    from ..report.html import render_report

    began, fingerprint = clock(), project.read_fingerprint()
    sizes: dict[str, int] = {}
    if fingerprint is not None:
        shapes = zip(fingerprint.case_identifiers, fingerprint.shapes_after_crop, strict=False)
        sizes = {name: math.prod(shape) for name, shape in shapes}
    labelled = [case for case in dataset.cases if case.label is not None]
    overlays = []
    for files in sorted(labelled, key=lambda case: -sizes.get(case.identifier, 0))[:1]:
        assert files.label is not None  # noqa: S101 - chosen so
        raw, labels = read_case(files, None, with_labels=False), read_label_map(files.label)[0]
        picture, grid = _picture(raw.channels, dataset), raw.geometry
        overlays.append(
            OverlayCase(
                files.identifier, picture, labels, grid.spacing, labels, direction=grid.direction
            )
        )
    render_report(
        ReportContent("", "", dataset.description, fingerprint, plan, overlays=tuple(overlays))
    )
    return clock() - began


def _folds(project: Project, plan: Plan, configuration: str) -> tuple[str, ...]:
    """The judged folds; "all" has seen what it is judged on, and does not count."""
    return tuple(
        fold
        for fold in project.trained_folds(plan.name, configuration)
        if fold != ALL
        and (project.run_folder(plan.name, configuration, fold) / "validation.json").is_file()
    )


def _judged(project: Project, plan: Plan) -> dict[str, Scores]:
    """By configuration, in the order of the plan."""
    found = {}
    for configuration in plan.configurations:
        cases: list[CaseScores] = []
        for fold in _folds(project, plan, configuration):
            folder = project.run_folder(plan.name, configuration, fold)
            cases += read_case_scores(folder / "validation.json")
        if cases:
            found[configuration] = summarise_cases(cases)
    return found


def _shown(judged: dict[str, Scores], plan: Plan, selection: Selection | None) -> str:
    """The configuration whose cases are shown; "" where none was judged.

    Several that vote together have no held-out label maps: the best of them stands for them.
    """
    members = selection.members if selection is not None else ()
    voting = [m.configuration for m in members if m.plan == plan.name]
    names = [name for name in voting if name in judged] or list(judged)
    return max(names, key=lambda name: judged[name].mean_foreground() or 0.0, default="")


def _selected_scores(project: Project, selection: Selection | None) -> Scores | None:
    """Of the selected model on its held-out cases; None where nothing was selected."""
    path = project.folder / SELECTION_FOLDER / "validation.json"
    if selection is None or not path.is_file():
        return None
    return summarise_cases(read_case_scores(path))


def _name_of(selection: Selection) -> str:
    steps = ", with its postprocessing" if selection.postprocessing else ""
    return f"the selected model ({selection.chosen.name}{steps})"


def _quality(
    project: Project, plan: Plan, shown: str, selection: Selection | None
) -> QualityModel | None:
    """Of the selected model, else of the configuration that is shown."""
    if selection is not None:
        return quality_of(project, selection.members, selected=True)
    return read_quality(project, plan.name, shown) if shown else None


def _runs(project: Project, plan: Plan) -> tuple[TrainingRun, ...]:
    runs = []
    for configuration in plan.configurations:
        for fold in project.trained_folds(plan.name, configuration):
            log = project.run_folder(plan.name, configuration, fold) / "log.jsonl"
            known = log.is_file()  # weights from elsewhere have none
            runs.append(
                read_run(configuration, fold, log) if known else TrainingRun(configuration, fold)
            )
    return tuple(runs)


def _calibration(project: Project, plan: Plan, configuration: str) -> CalibrationContent | None:
    """Reliability on the voxels that the temperature was fitted to; None without them."""
    labels = plan.description.labels
    folds = _folds(project, plan, configuration)
    paths = [project.run_folder(plan.name, configuration, fold) / SAMPLES_FILE for fold in folds]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        return None
    temperature = calibration_of(project, [Member(plan.name, configuration, folds)]).temperature
    sums: list[dict[str, Reliability]] = [{}, {}]
    cases = voxels = 0
    for path in paths:
        samples, text = read_weights(path)
        logits, truth = samples["logits"].astype(np.float32), samples["truth"]
        if logits.shape[1:] != (labels.head_count,):
            continue
        cases, voxels = cases + int(text["cases"]), voxels + len(truth)
        for total, value in zip(sums, (1.0, temperature), strict=True):
            probabilities = (sigmoid if labels.has_regions else softmax)(logits, value)
            first = 0 if labels.has_regions else 1
            for head, label in enumerate(labels.foreground, start=first):
                found = reliability(
                    np.clip(probabilities[:, head], 0, 1), np.isin(truth, label.values)
                )
                total[label.name] = total.get(label.name, no_reliability()) + found
    if not voxels:
        return None
    return CalibrationContent(sums[0], sums[1], temperature, cases, voxels)


def _usage(project: Project) -> tuple[Usage, ...]:
    folder = shlex.quote(str(project.folder))
    name = project.description.name or project.folder.name
    return (
        Usage(
            "Segment new images",
            f"selfseg predict -m {folder} -i IMAGES -o SEGMENTATIONS",
            "IMAGES is a file or a folder. Label maps lie on the grid of the images.",
        ),
        Usage(
            "In 3D Slicer",
            "",
            "Open Modules > Segmentation > Self-Configuring Segmentation, load a scan, choose the "
            f"folder {project.folder} as model and press Apply.",
        ),
        Usage(
            "Hand the model on",
            f"selfseg model export {folder} -o {shlex.quote(name + '.selfseg')}",
            "One file with networks, label names, colours and scores; it holds no scan.",
        ),
        Usage(
            "Compare with references of your own",
            "selfseg evaluate REFERENCES SEGMENTATIONS -o scores.json",
            "Folders of label maps with the same names.",
        ),
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
        # The data set's own place of it: it may have moved since.
        reference = read_label_map(files.label or Path(entry["reference_file"]))[0]
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
    # Three channels of a volume's format are no colours.
    colour = channels.shape[:2] == (3, 1) and dataset.description.file_ending not in ITK_ENDINGS
    return np.moveaxis(channels, 0, -1) if colour else channels[0]

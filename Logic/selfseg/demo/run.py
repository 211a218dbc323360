"""The demo: the whole way on made-up data, as a user would go it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import pipeline
from ..domain.events import Notice, Reporter
from ..domain.plan import DeviceName
from .synthetic import make_dataset

OVERHEAD_SECONDS = 60.0
"""Beside training: start-up, preprocessing, timing the machine, judging the held-out cases."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, and how good it is on scans that no training saw."""

    project: Path
    report: Path
    mean_dice: float | None
    summary: str


def run_demo(
    output: Path,
    *,
    budget: float,
    device: DeviceName,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> DemoResult:
    """Makes data, runs the pipeline on it, predicts held-out scans, scores them and reports.

    Args:
        output: folder for everything; an earlier demo in it is gone on with.
        budget: seconds of training.
        device: where to compute.
        reporter: is told what happens.
        should_stop: polled while training.
    """
    data = output / "data"
    project_folder = output / "project"
    predictions = output / "test-predictions"
    if not (data / "dataset.json").is_file():
        make_dataset(data, reporter=reporter)
    pipeline.run(
        data,
        project_folder,
        configurations=["3d_fullres"],
        folds="0",
        device="cpu" if device == "auto" else device,
        time_budget=budget + OVERHEAD_SECONDS,
        reporter=reporter,
        should_stop=should_stop,
    )
    pipeline.predict(
        project_folder, [data / "imagesTs"], predictions, device=device, reporter=reporter
    )
    scores = pipeline.evaluate(data / "labelsTs", predictions, reporter=reporter)
    report = pipeline.report(
        project_folder,
        test_images=data / "imagesTs",
        test_scores=scores,
        reporter=reporter,
    )
    mean = scores.mean_foreground("Dice")
    reporter(Notice("these scans were held out: no training saw them"))
    return DemoResult(
        project=project_folder,
        report=report.resolve(),
        mean_dice=mean,
        summary=(
            f"mean Dice on {len(scores.cases)} held-out scans: "
            f"{'undefined' if mean is None else f'{mean:.3f}'}\n"
            f"report: {report.resolve().as_uri()}"
        ),
    )

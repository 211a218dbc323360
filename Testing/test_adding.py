"""The how-tos for developers: what they change is changed in a copy, and works there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from page_changes import ChangedCopy
from selfseg.domain.geometry import Geometry
from selfseg.io.images import write_label_map

GRID = Geometry((3, 4, 5), (2.0, 1.0, 1.0))

REPORT = """
from report_examples import a_description
from selfseg.domain.labels import LabelScheme
from selfseg.report.content import ReportContent
from selfseg.report.html import render_report, report_numbers
from selfseg.report.summary import summarise
import json, sys
labels = LabelScheme.from_mapping({"background": 0, "liver": 1})
scores = json.load(open(sys.argv[1], encoding="utf-8"))
content = ReportContent("T", "now", a_description(labels=labels), scores=scores)
print(report_numbers(content, summarise(content))["structures"][0]["means"]["Specificity"])
assert ">Specificity<" in render_report(content)
"""


@pytest.fixture
def metric(tmp_path: Path) -> ChangedCopy:
    return ChangedCopy(tmp_path / "copy", "how-to/add-a-metric.md")


@pytest.fixture
def configuration(tmp_path: Path) -> ChangedCopy:
    return ChangedCopy(tmp_path / "copy", "how-to/add-a-configuration.md")


def test_the_added_metric_is_in_scores_and_report(metric: ChangedCopy, tmp_path: Path) -> None:
    reference, prediction = np.zeros((2, *GRID.shape), np.uint8)
    reference[:2, 1:3, 1:3], prediction[1:, 1:3, 1:3] = 1, 1
    write_label_map(tmp_path / "r" / "a.nii.gz", reference, GRID)
    write_label_map(tmp_path / "p" / "a.nii.gz", prediction, GRID)
    scores = tmp_path / "scores.json"
    metric.run(
        "-m", "selfseg", "evaluate", str(tmp_path / "r"), str(tmp_path / "p"), "-o", str(scores)
    )
    expected = 48 / 52
    content = json.loads(scores.read_text(encoding="utf-8"))
    assert content["foreground_mean"]["Specificity"] == pytest.approx(expected)
    found = metric.run("-c", REPORT, str(scores), cwd=metric.folder / "Testing")
    assert float(found) == pytest.approx(expected)


@pytest.mark.slow
def test_the_added_metrics_own_tests_pass(metric: ChangedCopy) -> None:
    assert "Testing/selfseg/evaluate/test_case.py" in metric.files
    metric.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "Testing/selfseg/evaluate")


def test_the_added_configuration_passes_the_planners_tests(configuration: ChangedCopy) -> None:
    files = ("plan/test_planner.py", "domain/test_configurations.py")
    assert "Testing/selfseg/plan/test_planner.py" in configuration.files
    configuration.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not reference",
        "-k", "midres or own_cases or configurations or explains",
        *(f"Testing/selfseg/{name}" for name in files),
    )  # fmt: skip


@pytest.mark.slow
def test_the_added_configuration_trains_and_segments(
    configuration: ChangedCopy, tmp_path: Path
) -> None:
    data, project = tmp_path / "data", tmp_path / "project"
    grid, draw = Geometry((96, 96, 96), (1.0, 1.0, 1.0)), np.random.default_rng(0)
    for case in range(4):
        labels = np.zeros(grid.shape, np.uint8)
        start = draw.integers(10, 40, 3)
        labels[tuple(slice(low, low + 40) for low in start)] = 1
        write_label_map(data / "labelsTr" / f"c{case}.nii.gz", labels, grid)
        image = draw.integers(0, 40, grid.shape).astype(np.uint8) + 100 * labels
        write_label_map(data / "imagesTr" / f"c{case}_0000.nii.gz", image, grid)
    (data / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "MR"},
                "labels": {"background": 0, "box": 1},
                "numTraining": 4,
                "file_ending": ".nii.gz",
            }
        )
    )

    def selfseg(*words: object) -> str:
        return configuration.run("-m", "selfseg", *map(str, words))

    assert "on request: 3d_midres" in selfseg("plan", data, "-p", project, "--memory", 0.3)
    selfseg("train", "-p", project, "-c", "3d_midres", "-f", 0, "--epochs", 1, "--iterations", 3,
            "--device", "cpu")  # fmt: skip
    selfseg("predict", "-m", project, "-i", data / "imagesTr/c0_0000.nii.gz", "-o",
            tmp_path / "out", "-c", "3d_midres", "--device", "cpu", "--no-tta")  # fmt: skip
    assert (tmp_path / "out" / "c0.nii.gz").is_file()

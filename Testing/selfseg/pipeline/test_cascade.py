"""A cascade the whole way, for real: regions, an ignore label and both stages in one run."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled
from selfseg.domain.events import EpochFinished, Event, Notice, StageFinished
from selfseg.io.images import read_label_map
from selfseg.io.project import Project
from selfseg.stages.learn import TrainingOptions

LOWRES, CASCADE = "3d_lowres", "3d_cascade_fullres"
QUICK: dict[str, Any] = {"device": "cpu", "epochs": 1, "iterations": 2, "workers": 1}
MEMORY_GB = 0.005
"""So little that the images of 24 x 28 x 26 voxels are large beside the patch."""


@pytest.fixture
def data(tmp_path: Path, one_thread: None) -> Path:
    """Three cases of regions with an ignored corner, for a plan with a cascade."""
    return make_small_dataset(
        tmp_path / "data", shape=(24, 28, 26), spacing=(1.0, 1.0, 1.0), cases=3, regions=True,
        ignore=True,
    )  # fmt: skip


def finished(told: list[Event]) -> list[str]:
    return [e.stage for e in told if isinstance(e, StageFinished) and not e.skipped]


def test_regions_ignore_label_and_cascade_in_one_run(data: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    options = {**QUICK, "configurations": [CASCADE], "folds": "0", "memory_gb": MEMORY_GB}
    home = pipeline.run(data, tmp_path / "p", reporter=told.append, **options)
    assert home.trained_folds("plain", LOWRES) == ("0", "1", "2")
    assert home.trained_folds("plain", CASCADE) == ("0",)
    order = [stage for stage in finished(told) if stage.startswith("train")]
    assert order == [f"train {LOWRES} fold {k}" for k in range(3)] + [f"train {CASCADE} fold 0"]
    assert "is trained first" in "\n".join(e.text for e in told if isinstance(e, Notice))
    for configuration, fold in ((LOWRES, "1"), (CASCADE, "0")):
        scores = home.run_folder("plain", configuration, fold) / "validation.json"
        assert set(json.loads(scores.read_text())["mean"]) == {"(1, 2)", "2"}
    assert home.report_file.is_file()

    told.clear()
    pipeline.run(data, tmp_path / "p", reporter=told.append, **options)
    assert finished(told) == ["report"]  # nothing is done twice

    images = data / "imagesTs"
    (written,) = pipeline.predict(
        tmp_path / "p", [images], tmp_path / "out", configuration=CASCADE, device="cpu",
        mirror=False,
    )  # fmt: skip
    labels, grid = read_label_map(written)
    assert set(labels.ravel().tolist()) <= {0, 1, 2}
    reference, native = read_label_map(data / "labelsTs" / written.name)
    assert (labels.shape, grid) == (reference.shape, native)


@pytest.mark.parametrize("after", ["first epoch of the first stage", "a judged fold", "cascade"])
def test_a_stopped_cascade_goes_on(
    after: str, data: Path, tmp_path: Path, narrow_plan: Callable[..., str]
) -> None:
    told: list[Event] = []
    until: dict[str, Callable[[], bool]] = {
        "first epoch of the first stage": lambda: any(isinstance(e, EpochFinished) for e in told),
        "a judged fold": lambda: f"validate {LOWRES} fold 1" in finished(told),
        "cascade": lambda: f"train {CASCADE} fold 0" in finished(told),
    }
    name = narrow_plan(data, tmp_path / "p", MEMORY_GB)
    options = {**QUICK, "configurations": [CASCADE], "folds": "0", "plan_name": name}
    with pytest.raises(Cancelled):
        pipeline.run(
            data, tmp_path / "p", reporter=told.append, should_stop=until[after], **options
        )
    before = finished(told)
    told.clear()
    home = pipeline.run(data, tmp_path / "p", reporter=told.append, **options)
    assert not set(before) & set(finished(told)) - {"report"}
    scores = home.run_folder("plain", CASCADE, "0") / "validation.json"
    assert json.loads(scores.read_text())["metric_per_case"]


def test_stages_one_by_one_and_a_new_first_stage(
    data: Path, tmp_path: Path, narrow_plan: Callable[..., str]
) -> None:
    """`train` alone: the second stage predicts what it needs, and again where that has changed."""
    project = tmp_path / "p"
    told: list[Event] = []
    options = {**QUICK, "plan_name": narrow_plan(data, project, MEMORY_GB)}
    for fold in ("0", "1", "2"):
        pipeline.train(project, configuration=LOWRES, fold=fold, **options)
    pipeline.train(project, configuration=CASCADE, fold="1", reporter=told.append, **options)
    assert f"predict {LOWRES} for {CASCADE}" in finished(told)

    home = Project.open(project)
    shutil.rmtree(home.run_folder("plain", LOWRES, "2"))
    pipeline.train(
        project, configuration=LOWRES, fold="2", options=TrainingOptions(seed=1), **options
    )
    told.clear()
    pipeline.train(project, configuration=CASCADE, fold="2", reporter=told.append, **options)
    assert f"predict {LOWRES} for {CASCADE}" in finished(told)
    assert home.trained_folds("plain", CASCADE) == ("1", "2")


def test_fold_all_of_a_cascade(data: Path, tmp_path: Path, narrow_plan: Callable[..., str]) -> None:
    told: list[Event] = []
    name = narrow_plan(data, tmp_path / "p", MEMORY_GB)
    home = pipeline.run(
        data, tmp_path / "p", configurations=[CASCADE], folds="all", plan_name=name,
        reporter=told.append, **QUICK,
    )  # fmt: skip
    assert home.trained_folds("plain", LOWRES) == ("all",)
    assert home.trained_folds("plain", CASCADE) == ("all",)
    assert "has learned from the cases it predicts" in "\n".join(
        e.text for e in told if isinstance(e, Notice)
    )


def test_one_fold_of_everything_leaves_the_cascade_out(
    data: Path, tmp_path: Path, narrow_plan: Callable[..., str]
) -> None:
    told: list[Event] = []
    name = narrow_plan(data, tmp_path / "p", MEMORY_GB)
    home = pipeline.run(
        data, tmp_path / "p", folds="0", plan_name=name, reporter=told.append, **QUICK
    )
    assert home.trained_configurations("plain") == ("2d", "3d_fullres", LOWRES)
    assert f"{CASCADE} is left out" in "\n".join(e.text for e in told if isinstance(e, Notice))


@pytest.mark.slow
def test_the_time_budget_covers_both_stages(data: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    home = pipeline.run(
        data, tmp_path / "p", configurations=[CASCADE], folds="0", device="cpu", workers=1,
        memory_gb=MEMORY_GB, time_budget=120,
    )  # fmt: skip
    assert time.monotonic() - start < 120 * 1.05
    assert home.trained_folds("plain", CASCADE) == ("0",)


@pytest.mark.slow
def test_a_cascade_killed_again_and_again_is_finished_in_the_end(
    data: Path, tmp_path: Path, narrow_plan: Callable[..., str]
) -> None:
    project = tmp_path / "p"
    options = {**QUICK, "plan_name": narrow_plan(data, project, MEMORY_GB), "epochs": 3}
    script = (
        "import sys\nfrom pathlib import Path\nfrom selfseg import pipeline\n"
        f"pipeline.run(Path(sys.argv[1]), Path(sys.argv[2]), configurations=[{CASCADE!r}], "
        f"folds='cv', **{options!r})\n"
    )
    kills, moment = 0, random.Random(0)
    while True:
        command = [sys.executable, "-c", script, str(data), str(project)]
        child = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        try:
            # The imports alone take seconds; later kills give ever more time.
            assert child.wait(3 + kills * moment.random()) == 0
            break
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
    assert kills > 2
    home = Project.open(project)
    assert home.trained_folds("plain", CASCADE) == ("0", "1", "2")
    for fold in ("0", "1", "2"):
        scores = home.run_folder("plain", CASCADE, fold) / "validation.json"
        assert json.loads(scores.read_text())["metric_per_case"]

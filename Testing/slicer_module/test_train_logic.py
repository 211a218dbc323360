"""`SelfConfiguringSegmentationLogic.train`, as scripts call it, with real child processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic
from SelfConfiguringSegmentationLib.train import training_folder

from selfseg.domain.errors import SelfsegError
from slicer_module.train_scenes import BALL, add_scan, add_segmentation, in_process_starter
from slicer_module.windows import qt_application

__all__ = ["qt_application"]


def launch(arguments: Sequence[str], output: Path) -> Any:
    return training_folder.launch_process(
        arguments, output, python=sys.executable, environment={"OMP_NUM_THREADS": "1"}
    )


@pytest.fixture
def logic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qt_application: Any) -> Any:
    path = tmp_path / "settings" / "trainings.json"
    monkeypatch.setattr("SelfConfiguringSegmentationLib.train.logic.default_path", lambda: path)
    return SelfConfiguringSegmentationLogic(in_process_starter, launch)


@pytest.mark.slow
def test_a_folder_becomes_a_model(logic: Any, dataset: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    model = logic.train(
        dataset,
        tmp_path / "training",
        name="Balls",
        timeBudget=300.0,
        device="cpu",
        options=["--epochs", "2", "--iterations", "4", "--workers", "1"],
        library=tmp_path / "library",
        onEvent=events.append,
    )
    assert (model.name, model.version) == ("Balls", "1")
    assert model.dice is not None
    assert Path(model.folder).is_dir()
    kinds = [event["event"] for event in events]
    assert kinds[-2:] == ["model_ready", "run_ended"]
    assert "epoch_finished" in kinds
    assert (tmp_path / "training" / "project" / "report.html").is_file()
    # The same call again has nothing to do.
    assert logic.train(dataset, tmp_path / "training", name="Balls") == model


def test_cases_with_problems_are_an_error_unless_skipped(
    logic: Any, scene: Any, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        volume, masks = add_scan(f"scan{number}", number)
        add_segmentation(volume, masks if number > 1 else {BALL: masks[BALL]})
    with pytest.raises(SelfsegError, match="1 of 3 cases have a problem: scan1"):
        logic.train(None, tmp_path / "training")
    run = logic.startTraining(None, tmp_path / "training", skipProblems=True, device="cpu")
    while run.training is None and not run.poll():
        if (tmp_path / "training" / "dataset" / "dataset.json").exists():
            break
    run.end_now()
    names = sorted(path.name for path in (tmp_path / "training" / "dataset" / "imagesTr").iterdir())
    assert [name.partition("_")[0] for name in names] == ["scan2", "scan3"]


def test_an_empty_scene_says_so(logic: Any, scene: Any, tmp_path: Path) -> None:
    with pytest.raises(SelfsegError, match="no segmented scan"):
        logic.train(None, tmp_path / "training")

"""A training followed from its files alone: progress, pause, crash, curves, what is remembered."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import slicer
from SelfConfiguringSegmentationLib.train import training_folder
from SelfConfiguringSegmentationLib.train.charts import TrainingCharts
from SelfConfiguringSegmentationLib.train.known_trainings import KnownTrainings
from SelfConfiguringSegmentationLib.train.progress import Epoch, TrainingProgress
from SelfConfiguringSegmentationLib.train.training import Training, TrainingFailed
from SelfConfiguringSegmentationLib.train.training_folder import (
    Description,
    ProgressReader,
    TrainingFolder,
)

from selfseg.domain.errors import Cancelled

DEAD = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                      capture_output=True, text=True, check=True)  # fmt: skip


def started(process: int | None = None, at: float = 100.0) -> dict[str, Any]:
    host = platform.node()
    number = os.getpid() if process is None else process
    return {"event": "run_started", "process": number, "host": host, "time": at, "arguments": []}


def epoch(number: int, fold: str = "0", dice: float | None = 0.5) -> dict[str, Any]:
    return {
        "event": "epoch_finished", "configuration": "3d_fullres", "fold": fold, "epoch": number,
        "epochs": 10, "train_loss": 1.0 - number, "validation_loss": None,
        "mean_pseudo_dice": dice, "pseudo_dice": {"ball": dice, "bud": None},
        "eta_seconds": 60.0,
    }  # fmt: skip


READY = {
    "event": "model_ready", "name": "M", "version": "1", "folder": "x", "dice": 0.9, "cases": 3,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> TrainingFolder:
    place = TrainingFolder(tmp_path / "training")
    training_folder.write_description(place, Description("Balls", ("run", "d"), 600.0))
    return place


def tell(place: TrainingFolder, *events: dict[str, Any]) -> None:
    with place.progress_file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(event) + "\n" for event in events)


def follow(place: TrainingFolder, **options: Any) -> Training:
    return Training(place.folder, launch=lambda: pytest.fail("nothing is started"), **options)


def poll_to_end(training: Training) -> None:
    assert any(training.poll() for _ in range(5))


def test_a_running_training_is_recognised_at_once(place: TrainingFolder) -> None:
    tell(place, started(at=time.time()), {"event": "stage_started", "stage": "train 3d fold 0"})
    training = follow(place)
    assert training.poll() is False
    assert training.poll() is False
    assert training.is_running
    assert training.progress.training == "3d fold 0"


def test_a_killed_process_is_told_from_a_silent_one(place: TrainingFolder) -> None:
    tell(place, started(int(DEAD.stdout)))
    training = follow(place)
    poll_to_end(training)
    assert "ended from outside" in training.failure
    with pytest.raises(TrainingFailed):
        training.result()


def test_long_silence_means_dead_wherever_it_ran(place: TrainingFolder) -> None:
    elsewhere = {**started(), "host": "another machine"}
    tell(place, elsewhere)
    training = follow(place)
    training.poll()
    assert training.is_running
    long_ago = time.time() - 2 * training_folder.SILENT_SECONDS
    os.utime(place.progress_file, (long_ago, long_ago))
    assert not training.is_running


def test_paused_and_finished_and_failed(place: TrainingFolder) -> None:
    tell(place, started(at=100.0), {"event": "run_ended", "status": 130, "message": "stopped",
                                    "time": 160.0})  # fmt: skip
    training = follow(place)
    poll_to_end(training)
    assert training.failure == ""
    assert training.used_seconds == 60.0
    with pytest.raises(Cancelled):
        training.result()
    tell(place, started(at=200.0), {"event": "run_ended", "status": 1, "message": "no room",
                                    "time": 230.0})  # fmt: skip
    poll_to_end(training)
    assert training.failure == "no room"
    tell(place, started(at=300.0), READY,
         {"event": "run_ended", "status": 0, "message": "", "time": 310.0})  # fmt: skip
    poll_to_end(training)
    assert training.result().in_words() == "M is ready: mean Dice 0.900 on 3 unseen cases."
    assert training.used_seconds == 100.0


def test_going_on_gives_what_is_left_of_the_budget(place: TrainingFolder) -> None:
    given: list[Sequence[str]] = []

    def launch(arguments: Sequence[str], output: Path) -> Any:
        given.append(arguments)
        return subprocess.Popen([sys.executable, "-c", "pass"])

    tell(place, started(at=100.0), {"event": "run_ended", "status": 130, "message": "stopped",
                                    "time": 250.0})  # fmt: skip
    place.stop_file.touch()
    training = Training(place.folder, launch=lambda: launch)
    training.start()
    assert not place.stop_file.exists()
    words = list(given[0])
    assert words[words.index("--time-budget") + 1] == "450"
    assert words[:2] == ["run", "d"]
    training._process.wait()


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_was_put_costs_no_budget(place: TrainingFolder, jump: float) -> None:
    tell(place, started(at=100.0), {"event": "run_ended", "status": 130, "message": "stopped",
                                    "time": 160.0 + jump, "seconds": 60.0})  # fmt: skip
    training = follow(place)
    poll_to_end(training)
    assert training.used_seconds == 60.0


def test_a_process_that_never_said_a_word_shows_what_it_printed(place: TrainingFolder) -> None:
    def launch(arguments: Sequence[str], output: Path) -> Any:
        output.write_text("No module named selfseg\n", encoding="utf-8")
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    training = Training(place.folder, launch=lambda: launch)
    training.start()
    training.wait(sleep=time.sleep)
    assert training.failure == "No module named selfseg"


def test_no_training_there(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no training here"):
        Training(tmp_path, launch=lambda: pytest.fail("nothing is started"))


def test_a_run_that_goes_on_repeats_epochs_once() -> None:
    lines: list[str] = []
    progress = TrainingProgress(lines.append)
    for event in (started(), epoch(0), epoch(1), epoch(2), started(), epoch(1, dice=0.7)):
        progress.take(event, seen_at=1.0)
    assert [(e.number, e.mean_dice) for e in progress.epochs] == [(0, 0.5), (1, 0.7)]
    assert progress.in_words() == "3d_fullres fold 0, epoch 3 of 10, 60 s left for this step"
    progress.take(epoch(0, fold="1"), seen_at=1.0)
    assert progress.curves_title == "3d_fullres fold 1"
    assert len(progress.epochs) == 1


def test_of_a_long_file_only_the_last_iteration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    lines = [{"event": "iteration_finished", "iteration": n, "eta_seconds": n} for n in range(500)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "half', "utf-8")
    reader = ProgressReader(path)
    assert [event["iteration"] for event in reader.read()] == [499]
    with path.open("a", encoding="utf-8") as stream:
        stream.write('_line"}\n')
    assert [event["event"] for event in reader.read()] == ["half_line"]
    assert reader.read() == []


def test_what_is_remembered(tmp_path: Path, place: TrainingFolder) -> None:
    known = KnownTrainings(tmp_path / "settings" / "trainings.json")
    assert known.read() == []
    known.remember(place.folder)
    assert [(k.folder, k.told) for k in known.read()] == [(place.folder, False)]
    known.remember(place.folder, told=True)
    assert [k.told for k in known.read()] == [True]
    known.path.write_text("{", encoding="utf-8")
    assert known.read() == []
    known.remember(place.folder)
    place.description_file.unlink()
    assert known.read() == []


def epochs(count: int) -> list[Epoch]:
    dice = {"ball": 0.5, "bud": None}
    return [Epoch(n, 1.0 / (n + 1), None, 0.1 * n, dice) for n in range(count)]


def test_curves_grow_without_being_made_anew(scene: Any, node_ids: Callable[[], set[str]]) -> None:
    before = node_ids()
    charts = TrainingCharts(scene)
    charts.draw("3d fold 0", epochs(2))
    made = node_ids() - before
    table = charts.table_node.GetTable()
    assert [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())] == [
        "Epoch", "Training loss", "Validation loss", "Mean pseudo Dice", "ball", "bud",
    ]  # fmt: skip
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 5
    charts.draw("3d fold 0", epochs(4))
    assert node_ids() - before == made
    assert table.GetNumberOfRows() == 4
    assert table.GetValue(3, 0).ToDouble() == 4.0
    assert table.GetValue(3, 2).ToDouble() != table.GetValue(3, 2).ToDouble()  # a gap
    charts.draw("3d fold 1", epochs(1))
    assert node_ids() - before == made
    assert table.GetNumberOfRows() == 1
    assert charts.chart_node.GetTitle() == "3d fold 1"
    charts.remove()
    assert node_ids() == before
    charts.remove()


def test_curves_survive_a_closed_scene(scene: Any) -> None:
    charts = TrainingCharts(scene)
    charts.draw("3d fold 0", epochs(2))
    scene.Clear(False)
    charts.draw("3d fold 0", epochs(3))
    assert charts.table_node.GetTable().GetNumberOfRows() == 3
    charts.remove()


def test_the_plot_comes_to_the_front_and_the_layout_comes_back(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import types

    layout = slicer.vtkMRMLLayoutNode()
    scene.AddNode(layout)
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    logic = slicer.vtkSlicerPlotsLogic()
    logic.SetMRMLScene(scene)
    module = types.SimpleNamespace(logic=lambda: logic)
    monkeypatch.setattr(slicer.modules, "plots", module, raising=False)
    shown: list[Any] = []
    monkeypatch.setattr(module, "logic", lambda: types.SimpleNamespace(
        ShowChartInLayout=lambda chart: (
            shown.append(chart), layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
        )
    ))  # fmt: skip
    charts = TrainingCharts(scene)
    charts.draw("3d fold 0", epochs(2))
    charts.show()
    assert shown == [charts.chart_node]
    charts.remove()
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView

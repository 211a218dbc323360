from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.errors import DatasetError, FileFormatError
from selfseg.domain.events import Event, Notice
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.evaluate.scores import evaluate_folders, read_case_scores, score_case, summarise_cases
from selfseg.io.images import write_label_map

PLAIN = LabelScheme((Label("a", (1,)), Label("b", (2,)), Label("c", (9,))))
GRID = Geometry((1, 2, 4), (2.0, 1.0, 1.0))


def a_map(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(GRID.shape)


REFERENCE = {"x": a_map(1, 1, 1, 2, 0, 0, 0, 0), "y": a_map(1, 0, 0, 0, 0, 0, 0, 0)}
PREDICTION = {"x": a_map(1, 1, 2, 2, 1, 0, 0, 0), "y": a_map(1, 1, 1, 0, 0, 0, 0, 0)}


def write(folder: Path, maps: dict[str, np.ndarray], ending: str = ".nii.gz") -> Path:
    for name, labels in maps.items():
        write_label_map(folder / f"{name}{ending}", labels, GRID)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "ref", REFERENCE), write(tmp_path / "pred", PREDICTION, ".nrrd")


def test_known_numbers(folders: tuple[Path, Path]) -> None:
    found = evaluate_folders(*folders).as_mapping()
    assert list(found) == ["foreground_mean", "mean", "metric_per_case"]
    x, y = found["metric_per_case"]
    assert x["reference_file"] == str(folders[0] / "x.nii.gz")
    assert x["prediction_file"] == str(folders[1] / "x.nrrd")
    assert x["metrics"]["1"] == {
        "Dice": pytest.approx(4 / 6),
        "IoU": pytest.approx(2 / 4),
        "FP": 1,
        "FN": 1,
        "TP": 2,
        "n_pred": 3,
        "n_ref": 3,
    }
    assert x["metrics"]["2"]["Dice"] == pytest.approx(2 / 3)
    assert y["metrics"]["1"]["Dice"] == pytest.approx(0.5)
    assert y["metrics"]["2"]["Dice"] is None  # in neither map: no value, not 1
    assert y["metrics"]["2"]["IoU"] is None
    one, two = found["mean"]["1"], found["mean"]["2"]
    assert one["Dice"] == pytest.approx((4 / 6 + 0.5) / 2)
    assert one["n_pred"] == 3
    assert two["Dice"] == pytest.approx(2 / 3)
    assert two["n_ref"] == 0.5
    assert found["foreground_mean"]["Dice"] == pytest.approx((one["Dice"] + two["Dice"]) / 2)
    assert "null" in json.dumps(found)
    assert "NaN" not in json.dumps(found)


def test_declared_labels_that_no_file_holds_are_undefined(folders: tuple[Path, Path]) -> None:
    scores = evaluate_folders(*folders, PLAIN)
    assert scores.mean["9"]["Dice"] is None
    assert scores.mean_foreground() == evaluate_folders(*folders).mean_foreground()
    nothing = LabelScheme((Label("d", (8,)),))
    assert evaluate_folders(*folders, nothing).mean_foreground() is None


def test_regions_are_unions_and_ignored_voxels_count_nowhere() -> None:
    labels = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2), ignore=3)
    reference = a_map(1, 2, 2, 3, 3, 0, 0, 0)
    prediction = a_map(2, 2, 0, 1, 0, 0, 0, 1)
    metrics = score_case(reference, prediction, labels)
    assert list(metrics) == ["(1, 2)", "2"]
    whole = metrics["(1, 2)"]
    assert (whole["TP"], whole["FP"], whole["FN"]) == (2, 1, 1)
    assert (metrics["2"]["TP"], metrics["2"]["FP"], metrics["2"]["FN"]) == (1, 1, 1)


def test_a_missing_prediction_is_an_error_and_an_extra_one_is_told(tmp_path: Path) -> None:
    reference, prediction = write(tmp_path / "r", REFERENCE), tmp_path / "p"
    write(prediction, {"x": PREDICTION["x"], "z": PREDICTION["y"]})
    with pytest.raises(DatasetError, match=r"y\.nii\.gz"):
        evaluate_folders(reference, prediction)
    write(prediction, {"y": PREDICTION["y"]})
    events: list[Event] = []
    assert len(evaluate_folders(reference, prediction, reporter=events.append).cases) == 2
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "z" in notices[0]


def test_wrong_folders_shapes_and_doubles_are_errors(tmp_path: Path) -> None:
    reference = write(tmp_path / "r", {"x": REFERENCE["x"]})
    with pytest.raises(DatasetError, match="nothing to compare"):
        evaluate_folders(tmp_path / "none", reference)
    other = tmp_path / "p"
    write_label_map(
        other / "x.nii.gz", np.zeros((2, 2, 4), np.uint8), Geometry((2, 2, 4), (1,) * 3)
    )
    with pytest.raises(DatasetError, match=r"\(2, 2, 4\)"):
        evaluate_folders(reference, other)
    with pytest.raises(DatasetError, match="shape"):
        score_case(np.zeros((1, 2, 3), int), np.zeros((1, 2, 4), int), PLAIN)
    write(reference, {"x": REFERENCE["x"]}, ".nrrd")
    with pytest.raises(DatasetError, match="same case"):
        evaluate_folders(reference, other)


def test_another_place_in_the_world_is_told(folders: tuple[Path, Path]) -> None:
    moved = Geometry(GRID.shape, GRID.spacing, (5.0, 0.0, 0.0))
    write_label_map(folders[1] / "x.nrrd", PREDICTION["x"], moved)
    events: list[Event] = []
    evaluate_folders(*folders, reporter=events.append)
    assert sum("elsewhere" in event.text for event in events if isinstance(event, Notice)) == 1


def test_empty_label_maps(tmp_path: Path) -> None:
    nothing = {"x": np.zeros(GRID.shape, np.uint8)}
    scores = evaluate_folders(write(tmp_path / "r", nothing), write(tmp_path / "p", nothing))
    assert scores.mean_foreground() is None
    assert scores.as_mapping()["mean"] == {}


def test_scores_can_be_read_again(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = evaluate_folders(*folders)
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores.as_mapping()))
    assert summarise_cases(read_case_scores(path)) == scores
    assert [case.identifier for case in read_case_scores(path)] == ["x", "y"]
    path.write_text('{"metric_per_case": [{"metrics": 3}]}')
    with pytest.raises(FileFormatError, match="no score file"):
        read_case_scores(path)

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.errors import DatasetError, FileFormatError
from selfseg.domain.events import Event, Notice, Progress
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.evaluate import scores as scores_module
from selfseg.evaluate.metrics import METRIC_NAMES, OVERLAP_NAMES, PEER_NAMES
from selfseg.evaluate.results import CaseScores, read_case_scores, summarise_cases
from selfseg.evaluate.scores import evaluate_files, evaluate_folders
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
    assert list(found)[:3] == ["foreground_mean", "mean", "metric_per_case"]
    x, y = found["metric_per_case"]
    assert x["reference_file"] == str(folders[0] / "x.nii.gz")
    assert x["prediction_file"] == str(folders[1] / "x.nrrd")
    overlap = {name: x["metrics"]["1"][name] for name in OVERLAP_NAMES}
    assert overlap == {
        "Dice": pytest.approx(4 / 6),
        "IoU": pytest.approx(2 / 4),
        "Precision": pytest.approx(2 / 3),
        "Recall": pytest.approx(2 / 3),
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
    for case in (content := scores.as_mapping())["metric_per_case"]:
        # As nnU-Net's summary.json: only what is counted, NaN where nothing is defined.
        case.pop("confusion")
        case.pop("surface_tolerance_mm")
        case["metrics"] = {
            key: {n: float("nan") if m[n] is None else m[n] for n in PEER_NAMES}
            for key, m in case["metrics"].items()
        }
    path.write_text(json.dumps(content))
    assert read_case_scores(path)[1].metrics["2"]["Dice"] is None
    plain = summarise_cases(read_case_scores(path))
    assert plain.mean_foreground() == scores.mean_foreground()
    assert plain.metric_names == PEER_NAMES
    assert plain.mean_foreground("HD95") is None
    path.write_text('{"metric_per_case": [{"metrics": 3}]}')
    with pytest.raises(FileFormatError, match="no score file"):
        read_case_scores(path)


def test_what_a_data_set_says(folders: tuple[Path, Path]) -> None:
    scores = evaluate_folders(*folders, groups={"x": "p", "y": "p"})
    found = scores.as_mapping()
    assert scores.metric_names == METRIC_NAMES
    assert found["confusion"] == {
        "0": {"0": 8, "1": 3},
        "1": {"1": 3, "2": 1},
        "2": {"2": 1},
    }
    assert found["metric_per_case"][1]["confusion"] == {"0": {"0": 5, "1": 2}, "1": {"1": 1}}
    assert found["cases"]["2"] == {"both": 1, "missed": 0, "invented": 0, "neither": 1}
    assert found["surface_tolerance_mm"] == 2.0
    assert found["metric_per_case"][0]["group"] == "p"
    # One patient says nothing about the spread between patients.
    assert found["confidence_intervals"]["foreground_mean"] == {}
    intervals = evaluate_folders(*folders).as_mapping()["confidence_intervals"]
    assert intervals["mean"]["1"]["Dice"] == pytest.approx([0.5, 4 / 6])
    assert "Dice" not in intervals["mean"]["2"]  # one case has it
    assert "TP" not in intervals["mean"]["1"]
    low, high = intervals["foreground_mean"]["Dice"]
    assert low < found["foreground_mean"]["Dice"] <= high
    assert "NaN" not in json.dumps(found)


def test_intervals_hold_the_mean_and_shrink_with_more_cases() -> None:
    draw = np.random.default_rng(0)

    def width(count: int) -> float:
        values = draw.normal(0.8, 0.1, count)
        cases = [
            CaseScores("r", f"{i}.nii.gz", {"1": dict.fromkeys(OVERLAP_NAMES, 1) | {"Dice": value}})
            for i, value in enumerate(values.tolist())
        ]
        scores = summarise_cases(cases)
        overall, by_structure = scores.intervals()
        assert by_structure["1"]["Dice"] == overall["Dice"]
        assert overall["Dice"].low < (scores.mean_foreground() or 0) < overall["Dice"].high
        return overall["Dice"].high - overall["Dice"].low

    # 2 x 1.96 standard errors.
    assert width(400) == pytest.approx(3.92 * 0.1 / 20, rel=0.15)
    assert width(25) > 2 * width(400)


def test_overlap_only(folders: tuple[Path, Path]) -> None:
    scores = evaluate_folders(*folders, overlap_only=True)
    assert scores.metric_names == OVERLAP_NAMES
    assert list(scores.cases[1].metrics["2"]) == list(OVERLAP_NAMES)
    assert scores.as_mapping()["surface_tolerance_mm"] is None
    assert scores.mean_foreground() == evaluate_folders(*folders).mean_foreground()


def test_processes_give_the_same(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = evaluate_folders(*folders, workers=1)
    monkeypatch.setattr(scores_module, "PROBE_SECONDS", 0.0)
    monkeypatch.setattr(scores_module, "WORTH_SECONDS", 0.0)
    events: list[Event] = []
    pairs = [(folders[0] / f"{n}.nii.gz", folders[1] / f"{n}.nrrd") for n in ("x", "y", "x", "y")]
    found = evaluate_files(pairs, reporter=events.append)
    assert [case.metrics for case in found.cases] == [case.metrics for case in alone.cases] * 2
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.done, event.total) for event in progress] == [(i, 4) for i in (1, 2, 3, 4)]


def test_the_tolerance_is_kept(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = evaluate_folders(*folders, tolerance_mm=0.5)
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores.as_mapping()))
    assert [case.tolerance_mm for case in read_case_scores(path)] == [0.5, 0.5]
    assert scores.as_mapping()["surface_tolerance_mm"] == 0.5
    mixed = [*scores.cases, *evaluate_folders(*folders).cases]
    assert summarise_cases(mixed).as_mapping()["surface_tolerance_mm"] is None

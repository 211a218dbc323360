"""The whole way, for real, on tiny data of every kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk

from selfseg import pipeline
from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled, ModelError, UsageError
from selfseg.domain.events import EpochFinished, Event, StageFinished
from selfseg.io.project import Project

QUICK = ["--epochs", "2", "--iterations", "3", "--device", "cpu", "--workers", "1"]

KINDS: dict[str, dict[str, Any]] = {
    "3d": {},
    "3d two channels": {"channels": ("CT", "T1w")},
    "3d regions": {"regions": True},
    "3d ignore": {"ignore": True},
    "3d anisotropic": {"shape": (8, 40, 40), "spacing": (6.0, 1.0, 1.0)},
    "2d grey": {"dimensions": 2},
    "2d colour": {"dimensions": 2, "colour": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_from_data_to_segmentations(kind: str, tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data", **KINDS[kind])
    project, out = tmp_path / "project", tmp_path / "out"
    configuration = "2d" if kind.startswith("2d") else "3d_fullres"
    assert main(["run", str(data), "-p", str(project), "-c", configuration, "-f", "0", *QUICK]) == 0
    assert (project / "report.html").stat().st_size > 10_000
    fold = project / "runs" / "plain" / configuration / "fold_0"
    assert json.loads((fold / "validation.json").read_text())["metric_per_case"]

    images = data / "imagesTs"
    assert main(["predict", "-m", str(project), "-i", str(images), "-o", str(out)]) == 0
    beside = {"predictions.json", "volumes.csv"}
    written = sorted(p for p in out.iterdir() if p.name not in beside and p.name[0] != ".")
    assert [p.name for p in written] == sorted(p.name for p in (data / "labelsTs").iterdir())
    for path in written:
        _same_grid(path, data / "labelsTs" / path.name)

    scores = tmp_path / "scores.json"
    words = ["evaluate", str(data / "labelsTs"), str(out), "-o", str(scores)]
    assert main([*words, "--dataset-json", str(data / "dataset.json")]) == 0
    content = json.loads(scores.read_text())
    assert set(content) >= {"foreground_mean", "mean", "metric_per_case"}
    assert set(content["mean"]) == ({"(1, 2)", "2"} if "regions" in kind else {"1", "2"})


def test_every_configuration_and_fold_by_default(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data", cases=3)
    project = pipeline.run(
        data, tmp_path / "project", device="cpu", epochs=1, iterations=1, workers=1
    )
    for configuration in ("2d", "3d_fullres"):
        assert project.trained_folds("plain", configuration) == ("0", "1", "2")


def test_a_second_run_does_nothing_again(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    options: dict[str, Any] = {
        "configurations": ["3d_fullres"], "folds": "0", "device": "cpu", "epochs": 1,
        "iterations": 1, "workers": 1,
    }  # fmt: skip
    pipeline.run(data, tmp_path / "project", **options)
    seen: list[Event] = []
    pipeline.run(data, tmp_path / "project", reporter=seen.append, **options)
    finished = [e for e in seen if isinstance(e, StageFinished)]
    assert {e.stage for e in finished if e.skipped} >= {
        "fingerprint", "preprocess 3d_fullres", "train 3d_fullres fold 0",
    }  # fmt: skip
    assert not [e for e in seen if isinstance(e, EpochFinished)]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    epochs: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochFinished):
            epochs.append(event.epoch)

    options: dict[str, Any] = {
        "configurations": ["3d_fullres"], "folds": "0", "device": "cpu", "epochs": 4,
        "iterations": 1, "workers": 1, "reporter": note,
    }  # fmt: skip
    with pytest.raises(Cancelled):
        pipeline.run(data, tmp_path / "p", should_stop=lambda: len(epochs) >= 2, **options)
    pipeline.run(data, tmp_path / "p", **options)
    assert sorted(set(epochs)) == [0, 1, 2, 3]


def test_a_budget_is_kept(tmp_path: Path) -> None:
    import time

    data = make_small_dataset(tmp_path / "data")
    start = time.monotonic()
    pipeline.run(
        data, tmp_path / "p", configurations=["3d_fullres"], folds="0", device="cpu",
        time_budget=45, workers=1,
    )  # fmt: skip
    # 5 % is the promise on an idle machine; the tests share theirs with each other.
    assert time.monotonic() - start < 45 * 1.3


def test_a_budget_that_is_too_short_is_refused(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    with pytest.raises(UsageError, match="time budget is too short"):
        pipeline.run(
            data, tmp_path / "p", configurations=["3d_fullres"], folds="0", device="cpu",
            time_budget=8, workers=1,
        )  # fmt: skip
    assert not (tmp_path / "p").exists()


def test_a_plan_in_use_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], narrow_plan: Callable[..., str]
) -> None:
    data, project = make_small_dataset(tmp_path / "data", cases=3), tmp_path / "p"
    narrow_plan(data, project)
    words = ["run", str(data), "-p", str(project), "-c", "3d_fullres", "-f", "0"]
    words += ["--plan", "plain", "--epochs", "1", "--iterations", "1", "--device", "cpu"]
    words += ["--workers", "1"]
    for _ in range(2):  # a second run does nothing and tells the same
        assert main(words) == 0
        out = capsys.readouterr().out
        assert out.startswith("mean Dice 0.")
        assert "on 1 held-out case of 3d_fullres" in out
        assert (project / "report.html").as_uri() in out
        assert f"predict -m {project} -i IMAGES -o FOLDER" in out
    path = project / "plans" / "plain.json"
    used = path.read_bytes()
    for more in (["--explain", "--device", "cpu"], ["--time-budget", "2m"]):
        assert main(["plan", str(data), "-p", str(project), "--workers", "1", *more]) == 0
        assert "plan plain stays as it is" in capsys.readouterr().err
        assert path.read_bytes() == used
    # Whoever has changed it all the same is told before anything is called done.
    home = Project.open(project)
    plan = home.read_plan("plain")
    entry = plan.configurations["3d_fullres"]
    other = replace(entry, batch_size=entry.batch_size + 1)
    configurations = {**plan.configurations, "3d_fullres": other}
    home.write_plan(replace(plan, configurations=configurations))
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "was trained by another plan" in told
    assert f"found: batch_size {entry.batch_size + 1}" in told


def test_predicting_without_a_trained_model_says_so(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    pipeline.plan(data, tmp_path / "p", workers=1)
    with pytest.raises(ModelError, match="no trained model"):
        pipeline.predict(tmp_path / "p", [data / "imagesTs"], tmp_path / "out")


def test_stages_one_by_one(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    project = tmp_path / "p"
    for words in (
        ["fingerprint", str(data), "-p", str(project), "--workers", "1"],
        ["plan", str(data), "-p", str(project), "--device", "cpu", "--time-budget", "2m"],
        ["preprocess", "-p", str(project), "-c", "3d_fullres", "--workers", "1"],
        ["train", "-p", str(project), "-c", "3d_fullres", "-f", "1", *QUICK],
        ["predict", "-m", str(project), "-i", str(data / "imagesTs"), "-o", str(tmp_path / "o")],
    ):
        assert main(words) == 0, words
    assert len(list((tmp_path / "o").glob("*.nii.gz"))) == 1


def test_a_project_can_be_moved(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    words = ["run", str(data), "-p", str(tmp_path / "p"), "-c", "3d_fullres", "-f", "0", *QUICK]
    assert main(words) == 0
    shutil.move(tmp_path / "p", tmp_path / "elsewhere")
    written = pipeline.predict(tmp_path / "elsewhere", [data / "imagesTs"], tmp_path / "out")
    assert len(written) == 1


def _same_grid(first: Path, second: Path) -> None:
    one, two = sitk.ReadImage(str(first)), sitk.ReadImage(str(second))
    assert one.GetSize() == two.GetSize()
    assert one.GetSpacing() == pytest.approx(two.GetSpacing(), abs=1e-6)
    assert one.GetOrigin() == pytest.approx(two.GetOrigin(), abs=1e-5)
    assert one.GetDirection() == pytest.approx(two.GetDirection(), abs=1e-6)

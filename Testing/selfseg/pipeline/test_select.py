"""From folds to the selected model, for real, on networks that train in a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfseg import pipeline
from selfseg.cli.selecting import lines_of
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import ModelError
from selfseg.domain.events import Event, Notice, StageFinished
from selfseg.io.images import read_label_map
from selfseg.io.project import FINAL_WEIGHTS, Project
from selfseg.io.selection_file import read_selection
from selfseg.select.dice_table import dice_row
from selfseg.stages import candidate_scores, logits
from selfseg.stages.bundle import CardOptions, bundle_from_project
from selfseg.stages.model import open_model
from selfseg.stages.predictions import Predictions
from selfseg.stages.select import SelectOptions
from selfseg.stages.selected import selected_model

QUICK: dict[str, Any] = {"device": "cpu", "epochs": 1, "iterations": 2, "workers": 1}


@pytest.fixture
def project(tmp_path: Path, one_thread: None, narrow_plan: Callable[..., str]) -> Path:
    """Four cases of two patients: two folds."""
    data = make_small_dataset(tmp_path / "data", cases=4, shape=(12, 20, 18))
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").iterdir())
    rows = [f"{name},patient_{place // 2}" for place, name in enumerate(names)]
    (data / "groups.csv").write_text("case,group\n" + "\n".join(rows) + "\n")
    narrow_plan(data, tmp_path / "p")
    return tmp_path / "p"


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report takes longer than the choice; `test_quality_control` reads it."""
    for stage in ("select", "crossvalidate"):
        name = f"selfseg.stages.{stage}.write_project_report"
        monkeypatch.setattr(name, lambda *anything, **named: None)


def finished(told: list[Event]) -> list[str]:
    return [e.stage for e in told if isinstance(e, StageFinished) and not e.skipped]


def test_crossvalidate_then_select(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    home = pipeline.crossvalidate(project, reporter=told.append, **QUICK)
    trained = {f"train {c} fold {k}" for c in ("2d", "3d_fullres") for k in "01"}
    assert trained <= set(finished(told))
    assert "launch" in "\n".join(e.text for e in told if isinstance(e, Notice))
    splits = home.read_splits()
    assert splits is not None
    assert len(splits) == 2  # one patient each
    assert all(split.validation[0][-1:] != split.validation[1][-1:] for split in splits)

    told.clear()
    pipeline.crossvalidate(project, reporter=told.append, **QUICK)
    assert not [stage for stage in finished(told) if stage.startswith(("train", "validate"))]

    chosen = pipeline.select(project, device="cpu", workers=1)
    assert [c.name for c in chosen.candidates] == [
        "plain 2d",
        "plain 3d_fullres",
        "plain 2d + plain 3d_fullres",
    ]
    assert chosen == read_selection(home)
    assert chosen.cases == 4
    assert chosen.chosen.dice == max(c.dice or 0 for c in chosen.candidates)
    for single in chosen.candidates[:2]:
        member = single.members[0]
        dice = _mean_from_score_files(home, member.plan, member.configuration)
        assert single.dice == pytest.approx(dice)
    scheme = home.description.labels
    rows = []
    for path in sorted((project / "selection" / "validation").glob("*.nii.gz")):
        reference = read_label_map(home.dataset_folder / "labelsTr" / path.name)[0]
        rows.append(dice_row(reference, read_label_map(path)[0], scheme))
    assert chosen.dice == pytest.approx(np.nanmean(np.nanmean(rows, axis=0)))
    assert any(line.startswith("> ") for line in lines_of(chosen))

    model = selected_model(home)
    assert model is not None
    assert (model.members, model.postprocessing) == (chosen.members, chosen.postprocessing)
    assert set(model.plans) == {"plain"}
    assert model.scores_file.is_file()

    # Without room for logits they are predicted again, and the choice is the same.
    for folder in project.glob("runs/*/*/*/logits"):
        shutil.rmtree(folder)
    shutil.rmtree(project / "selection")
    monkeypatch.setattr(logits, "MOST_BYTES", 0)
    monkeypatch.setattr(candidate_scores, "BATCH_BYTES", 1)
    again = pipeline.select(project, device="cpu", workers=1)
    assert again == chosen
    assert not list(project.glob("runs/*/*/*/logits/*"))

    told.clear()
    (home.run_folder("plain", chosen.members[0].configuration, "0") / FINAL_WEIGHTS).unlink()
    assert selected_model(home, reporter=told.append) is None
    assert "not complete" in "\n".join(e.text for e in told if isinstance(e, Notice))


def _mean_from_score_files(home: Project, plan: str, configuration: str) -> float:
    cases = []
    for fold in "01":
        path = home.run_folder(plan, configuration, fold) / "validation.json"
        cases += json.loads(path.read_text())["metric_per_case"]
    means = [
        np.mean([d for c in cases if (d := c["metrics"][key]["Dice"]) is not None])
        for key in ("1", "2")
    ]
    return float(np.mean(means))


def test_one_configuration_and_one_fold_are_selected_too(project: Path) -> None:
    with pytest.raises(ModelError, match="nothing to select"):
        pipeline.select(project, device="cpu", workers=1)
    pipeline.train(project, configuration="2d", fold="1", **QUICK)
    told: list[Event] = []
    options = SelectOptions(refinements=False)
    chosen = pipeline.select(project, options, device="cpu", workers=1, reporter=told.append)
    assert [c.name for c in chosen.candidates] == ["plain 2d"]
    assert chosen.members[0].folds == ("1",)
    assert chosen.cases == 2
    assert "only fold 1 of 2" in "\n".join(e.text for e in told if isinstance(e, Notice))


def test_atlases_join_where_they_are_asked_for_and_better(project: Path, tmp_path: Path) -> None:
    pipeline.train(project, configuration="3d_fullres", fold="1", **QUICK)
    without = pipeline.select(project, device="cpu", workers=1)
    assert without.atlas is None
    assert without.atlas_dice is None
    chosen = pipeline.select(project, SelectOptions(atlas=True), device="cpu", workers=1)
    # The networks have hardly learned anything, and the balls of all cases are alike.
    assert chosen.atlas is not None
    assert chosen.dice is not None
    assert chosen.dice > (without.dice or 0) + 0.2
    assert chosen == read_selection(Project.open(project))
    scores = json.loads((project / "selection" / "validation.json").read_text())
    assert scores["foreground_mean"]["Dice"] == pytest.approx(chosen.dice)

    # The project predicts with them: a held-out case of fold 1 gets close to what was scored.
    case = min((project / "selection" / "validation").glob("*.nii.gz"))
    data = Project.open(project).dataset_folder
    image = data / "imagesTr" / case.name.replace(".nii.gz", "_0000.nii.gz")
    told: list[Event] = []
    pipeline.predict(project, [image], tmp_path / "out", device="cpu", reporter=told.append)
    scheme = Project.open(project).description.labels
    reference = read_label_map(data / "labelsTr" / case.name)[0]
    dice = dice_row(reference, read_label_map(tmp_path / "out" / case.name)[0], scheme)
    assert np.nanmean(dice) > (without.dice or 0) + 0.2
    assert not [e for e in told if isinstance(e, Notice) and "atlases" in e.text]
    cases = Predictions(tmp_path / "out").cases
    assert cases[case.name.removesuffix(".nii.gz")].provenance["atlases"] == "2 training cases"

    # A model that is handed on holds no scans: it says what it lacks, and claims no scores of it.
    bundle, _ = bundle_from_project(Project.open(project), CardOptions(), reporter=told.append)
    assert "left out: 2 training cases" in "\n".join(e.text for e in told if isinstance(e, Notice))
    assert bundle.card.provenance["left out"] == "2 training cases as atlases"
    assert bundle.scores is not None
    assert bundle.scores["foreground_mean"]["Dice"] == pytest.approx(without.candidates[0].dice)

    # Without its training cases the project says so, and goes on with the networks.
    (data / "labelsTr" / case.name).unlink()
    with open_model(project, reporter=told.append) as model:
        assert model.atlases is None
    assert "its scores do not hold" in "\n".join(e.text for e in told if isinstance(e, Notice))

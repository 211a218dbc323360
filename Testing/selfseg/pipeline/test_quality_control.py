"""Five folds and two configurations, to the end: selected, judged, handed on, cases flagged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from quick_weights import fit_all_folds
from selfseg import pipeline
from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.events import Event, Notice, StageFinished
from selfseg.domain.quality import QualityModel
from selfseg.evaluate.results import read_case_scores
from selfseg.io.bundle_files import read_bundle
from selfseg.io.images import read_label_map
from selfseg.io.json_files import read_json
from selfseg.io.project import Project
from selfseg.io.selection_file import read_selection
from selfseg.quality.ranking import track_record
from selfseg.stages.calibrate import calibration_of
from selfseg.stages.predictions import Predictions

CASES, FOLDS = 12, 5
STAGE = "selfseg.stages.crossvalidate"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, narrow_plan: Callable[..., str]) -> Path:
    """A project with two configurations that find something, selected and reported."""
    folder = tmp_path_factory.mktemp("quality_control")
    data = make_small_dataset(folder / "data", cases=CASES, shape=(12, 20, 18))
    narrow_plan(data, folder / "p")
    pipeline.preprocess(folder / "p", workers=1)
    home = Project.open(folder / "p")
    for name in ("2d", "3d_fullres"):
        fit_all_folds(home, name)
    with pytest.MonkeyPatch.context() as patch:  # the report is written once more by `select`
        patch.setattr(f"{STAGE}.write_project_report", lambda *anything, **named: None)
        pipeline.crossvalidate(home.folder, device="cpu", workers=1)
    pipeline.select(home.folder, device="cpu", workers=1)
    return home.folder


def a_strange_image(data: Path, folder: Path) -> Path:
    """Noise, in which no structure is."""
    image = sitk.ReadImage(str(min((data / "imagesTs").iterdir())))
    noise = np.random.default_rng(0).normal(0, 1, sitk.GetArrayFromImage(image).shape)
    made = sitk.GetImageFromArray(noise.astype(np.float32))
    made.CopyInformation(image)
    path = folder / "strange_0000.nii.gz"
    sitk.WriteImage(made, str(path))
    return path


def quality_in(path: Path) -> QualityModel:
    return read_json(path, QualityModel, schema="selfseg.quality/1")


def test_every_configuration_and_the_selected_model_have_learned(trained: Path) -> None:
    home = Project.open(trained)
    selection = read_selection(home)
    assert selection is not None
    assert len(selection.members) == 2, "the pair is better than either: else this tests less"
    for name in ("2d", "3d_fullres"):
        alone = quality_in(trained / "runs" / "plain" / name / "quality.json")
        assert set(alone.structures) == {"ball", "bud"}
    found = quality_in(trained / "selection" / "quality.json")
    scores = read_case_scores(trained / "selection" / "validation.json")
    assert {entry.case for entry in found.held_out} == {case.identifier for case in scores}
    assert {entry.fold for entry in found.held_out} == {str(k) for k in range(FOLDS)}
    for case in scores:  # it was learned from the scores of what will be written
        for label in home.description.labels.foreground:
            (entry,) = (
                entry
                for entry in found.held_out
                if (entry.case, entry.structure) == (case.identifier, label.name)
            )
            assert entry.dice == case.metrics[label.key]["Dice"]
    calibration = calibration_of(home, selection.members)
    assert calibration.temperature != 1
    assert f"of {CASES} held-out cases" in calibration.fitted_on
    assert calibration_of(home, selection.members[::-1]) == calibration
    page = home.report_file.read_text(encoding="utf-8")
    assert "Predicted quality of new segmentations" in page
    assert "the selected model (plain 2d + plain 3d_fullres" in page
    numbers = json.loads(home.report_file.with_suffix(".json").read_text())
    assert numbers["predicted_quality"]["dice"]["cases"] == CASES


def test_the_documentation_names_every_file(trained: Path) -> None:
    text = (Path(__file__).parents[3] / "docs/reference/project-folder.md").read_text("utf-8")
    unnamed = set()
    for path in trained.rglob("*"):
        parts = path.relative_to(trained).parts
        folder = f"{path.parent.name}/"
        if path.is_file() and parts[0] not in ("plans", "preprocessed"):
            named = f"`{path.name}`" in text or f"/{path.name}`" in text or folder in text
            unnamed |= set() if named else {"/".join(parts)}
    assert not unnamed


def test_nothing_is_learned_twice(trained: Path) -> None:
    told: list[Event] = []
    before = {path: path.stat().st_mtime_ns for path in trained.glob("runs/**/quality*.json")}
    pipeline.crossvalidate(trained, device="cpu", workers=1, reporter=told.append)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    looked = [e.stage for e in told if isinstance(e, StageFinished) and "learn when" in e.stage]
    assert looked == []


def test_predictions_are_judged_and_flagged_from_project_and_bundle(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    data, inputs = trained.parent / "data", tmp_path / "in"
    inputs.mkdir()
    good = min((data / "imagesTs").iterdir())
    (inputs / good.name).write_bytes(good.read_bytes())
    a_strange_image(data, inputs)
    bundle = tmp_path / "model"
    assert main(["model", "export", str(trained), "-o", str(bundle)]) == 0
    stored = read_bundle(bundle).bundle
    assert stored.quality is not None
    assert stored.scores is not None
    home = Project.open(trained)
    names = [case.identifier for case in read_case_scores(trained / "selection/validation.json")]
    assert not [name for name in names if name in (bundle / "quality.json").read_text()]
    selection = read_selection(home)
    assert selection is not None
    assert stored.scores["foreground_mean"]["Dice"] == pytest.approx(selection.dice)
    assert stored.calibration.temperature == calibration_of(home, selection.members).temperature

    told: list[Event] = []
    out = tmp_path / "out"
    written = pipeline.predict(trained, [inputs], out, device="cpu", reporter=told.append)
    capsys.readouterr()
    command = ["predict", "-m", str(bundle), "-i", str(inputs), "-o", str(tmp_path / "out2")]
    assert main([*command, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    found = Predictions(out).cases
    assert found["strange"].quality == Predictions(tmp_path / "out2").cases["strange"].quality
    for path in written:
        same = read_label_map(tmp_path / "out2" / path.name)[0]
        np.testing.assert_array_equal(read_label_map(path)[0], same)

    identifier = good.name.removesuffix("_0000.nii.gz")
    fine, strange = found[identifier].quality, found["strange"].quality
    assert fine is not None
    assert strange is not None
    assert set(fine.structures) == {"ball", "bud"}
    assert all(entry.dice is not None for entry in fine.structures.values())
    assert all(entry.hd95_mm is not None for entry in fine.structures.values())
    assert strange.flagged
    assert not fine.flagged
    warnings = [e.text for e in told if isinstance(e, Notice) and e.level == "warning"]
    assert [text for text in warnings if text.startswith("look at strange: ")]
    assert f"look at strange: {strange.reasons[0]}" in printed
    record = track_record(stored.quality)
    assert fine.reliable == record.is_reliable
    assert fine.note == record.note
    if record.note:
        assert f"predicted quality: {record.note}" in printed


@pytest.mark.parametrize("options", [{"confidence": False}, {"configuration": "2d"}])
def test_other_questions_have_other_answers(
    trained: Path, tmp_path: Path, options: dict[str, Any], one_thread: None
) -> None:
    image = min((trained.parent / "data" / "imagesTs").iterdir())
    pipeline.predict(trained, [image], tmp_path / "out", device="cpu", mirror=False, **options)
    (found,) = Predictions(tmp_path / "out").cases.values()
    if "confidence" in options:
        assert found.quality is None
        return
    assert found.quality is not None  # of that configuration, as it is alone
    alone = quality_in(trained / "runs" / "plain" / "2d" / "quality.json")
    assert found.quality.note == track_record(alone).note

"""Quality learned from the judged folds of a project, and what goes into its report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from selfseg.domain.bundle import Member
from selfseg.domain.quality import StructureFeatures
from selfseg.evaluate.scores import read_case_scores
from selfseg.infer.engine import Slab
from selfseg.io.json_files import read_json
from selfseg.quality import predictor
from selfseg.quality.predictor import FEWEST_CASES
from selfseg.quality.ranking import rank
from selfseg.stages import quality as stage
from selfseg.stages.learn import judge_fold
from selfseg.stages.quality import (
    FEATURES_FILE,
    FEATURES_SCHEMA,
    FoldFeatures,
    learn_quality,
    measure_fold,
    observations_of,
)
from selfseg.stages.quality_files import quality_of, read_quality
from selfseg.stages.quality_meter import QualityMeter
from selfseg.stages.summary import write_project_report

NAME = "3d_lowres"


@pytest.fixture
def judged(cascade_project):
    """The cascade's first stage, one fold judged."""
    cascade_project.train(NAME, "0")
    run = cascade_project.run(NAME, "0")
    judge_fold(run, mirror=False, checkpoint="final")
    return cascade_project, run


def test_a_project_learns_and_reports(judged, monkeypatch: pytest.MonkeyPatch):
    project, run = judged
    assert read_quality(project.home, project.plan.name, NAME) is None
    model = learn_quality([run], checkpoint="final")
    assert model is not None
    assert learn_quality([run], checkpoint="final", predict=False) == model
    assert len(run.split.validation) < FEWEST_CASES
    assert rank(model).verdict == "too few cases"
    assert read_quality(project.home, project.plan.name, NAME) == model
    assert quality_of(project.home, [Member(project.plan.name, NAME, ("0",))]) == model
    two = [Member(project.plan.name, name, ("0",)) for name in (NAME, "3d_fullres")]
    assert quality_of(project.home, two) is None

    seen = read_json(run.folder / FEATURES_FILE, FoldFeatures, schema=FEATURES_SCHEMA)
    assert set(seen.cases) == set(run.split.validation)
    scores = read_case_scores(run.folder / "validation.json")
    held_out = dict.fromkeys(seen.cases, "0")
    found = observations_of(seen.cases, scores, held_out, run.plan.description.labels)
    assert len(found) == len(scores) * len(run.plan.description.labels.foreground)

    def never(*anything, **named):
        raise AssertionError("measured again")

    monkeypatch.setattr(stage._Measure, "case", never)
    same = measure_fold(run, checkpoint="final", temperature=seen.temperature)
    assert same == seen
    with pytest.raises(AssertionError, match="measured again"):
        measure_fold(run, checkpoint="final", temperature=seen.temperature + 1)

    write_project_report(project.home, project.dataset, project.plan, reporter=project.told.append)
    page = project.home.report_file.read_text(encoding="utf-8")
    assert "Predicted quality of new segmentations" in page
    assert "Do probabilities mean what they say?" in page
    numbers = json.loads(project.home.report_file.with_suffix(".json").read_text())
    assert numbers["predicted_quality"]["dice"]["verdict"] == "too few cases"
    assert numbers["calibration"]["voxels"] > 0
    assert [entry["name"] for entry in numbers["configurations"]] == [NAME]


def test_logits_that_are_gone_are_predicted_again(judged):
    _, run = judged
    kept = measure_fold(run, checkpoint="final", temperature=1.0)
    (run.folder / FEATURES_FILE).unlink()
    for path in (run.folder / "logits").glob("*"):
        path.unlink()
    again = measure_fold(run, checkpoint="final", temperature=1.0, mirrored=True)
    for name, features in kept.cases.items():
        for structure, seen in features.items():
            other = again.cases[name][structure]
            assert other.volume_ml == seen.volume_ml
            if seen.expected_dice is not None:
                # Kept logits are rounded, and this network has learned nothing.
                assert other.expected_dice == pytest.approx(seen.expected_dice, abs=0.02)
                assert other.entropy == pytest.approx(seen.entropy, abs=0.02)
            if other.mirror_dice is not None:
                assert other.mirror_dice == 1.0  # it was judged without mirroring


def test_a_fold_that_is_not_judged_teaches_nothing(cascade_project):
    assert learn_quality([cascade_project.run(NAME, "0")], checkpoint="final") is None
    cascade_project.train(NAME, "all")
    assert learn_quality([cascade_project.run(NAME, "all")], checkpoint="final") is None


def test_the_meter_sees_slabs_as_the_whole(cascade_project):
    labels = cascade_project.plan.description.labels
    maps = np.random.default_rng(0).normal(size=(6, 5, 4, labels.head_count)).astype(np.float32)
    whole, parts = (QualityMeter(labels, (6, 5, 4), temperature=1.3) for _ in range(2))
    whole.take(Slab(0, maps))
    parts.take(Slab(0, maps[:2]))
    parts.take(Slab(2, maps[2:]))
    label_map = np.zeros((6, 5, 4), np.uint8)
    label_map[1:3, 1:3, 1:3] = labels.foreground[0].values[0]
    agreement = {labels.foreground[0].name: 0.5}
    one = whole.features(label_map, (2.0, 1.0, 1.0), mirror_dice=agreement)
    other = parts.features(label_map, (2.0, 1.0, 1.0), mirror_dice=agreement)
    assert {name: replace(f, expected_dice=None) for name, f in one.items()} == {
        name: replace(f, expected_dice=None) for name, f in other.items()
    }
    first = one[labels.foreground[0].name]
    assert isinstance(first, StructureFeatures)
    assert first.volume_ml == pytest.approx(0.016)
    assert first.mirror_dice == 0.5
    assert predictor.signs(first, 0.0, 1.0)["mirroring"] == pytest.approx(np.log(0.52))

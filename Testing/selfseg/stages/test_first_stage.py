"""What the first stage of a cascade predicts, for training and for new images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from selfseg import pipeline
from selfseg.domain.dataset import Split
from selfseg.domain.errors import Cancelled, ModelError, ProjectError, TrainingError
from selfseg.domain.events import CaseFinished
from selfseg.infer.cascade import previous_on_grid
from selfseg.infer.restore import labels_for_next_stage
from selfseg.io.datasets import find_cases
from selfseg.io.images import read_case, read_label_map
from selfseg.preprocess.case import preprocess_case
from selfseg.stages.first_stage import ensure_predictions, next_stage_grids, predicting_folds
from selfseg.stages.learn import judge_fold
from selfseg.stages.models import load_backend, load_model
from selfseg.stages.segment import predict_case, segment_case, segment_image
from selfseg.train.batches import Batch, BatchMaker
from selfseg.train.sampling import CasesInMemory

if TYPE_CHECKING:
    from conftest import CascadeProject

LOWRES, CASCADE = "3d_lowres", "3d_cascade_fullres"
FOLDS = ("0", "1", "2")


def predicted(project: CascadeProject) -> list[str]:
    return [event.identifier for event in project.told if isinstance(event, CaseFinished)]


def stored_map(project: CascadeProject, name: str, fold: str = "0") -> np.ndarray:
    (case,) = project.run(CASCADE, fold).stored([name])
    found = case.read_previous((0, 0, 0), case.shape)
    assert found is not None
    return found


def map_of(project: CascadeProject, name: str, fold: str) -> np.ndarray:
    """What that fold of the first stage predicts for a case, on the second stage's grid."""
    run = project.run(LOWRES, fold)
    (low,) = run.stored([name])
    (full,) = project.run("3d_fullres").stored([name])
    backend = load_backend(project.home, project.plan, LOWRES, (fold,), "final", "cpu")
    logits = predict_case(low.load(), backend, project.plan, LOWRES)
    return labels_for_next_stage(logits, low.record, full.shape, project.plan.description.labels)


def test_the_cascade_does_not_preprocess_twice(cascade_project: CascadeProject) -> None:
    folder = cascade_project.home.folder / "preprocessed" / "plain"
    assert sorted(path.name for path in folder.iterdir()) == ["3d_fullres", "3d_lowres"]


def test_without_its_first_stage_a_cascade_says_what_is_missing(
    cascade_project: CascadeProject,
) -> None:
    cascade_project.train(LOWRES, "0")
    with pytest.raises(TrainingError, match="before its first stage") as raised:
        ensure_predictions(cascade_project.run(CASCADE), checkpoint="final")
    assert "train 3d_lowres fold 1, 2 first" in raised.value.cure
    with pytest.raises(TrainingError, match="before its first stage"):
        pipeline.train(
            cascade_project.home.folder, configuration=CASCADE, fold="0", device="cpu", workers=1
        )
    with pytest.raises(ProjectError, match="has not predicted"):
        cascade_project.run(CASCADE).stored(["case_000"])[0].load()


def test_every_case_is_predicted_by_the_fold_that_held_it_out(
    cascade_project: CascadeProject,
) -> None:
    cascade_project.train(LOWRES, *FOLDS)
    ensure_predictions(cascade_project.run(CASCADE), checkpoint="final")
    folds = predicting_folds(cascade_project.dataset, "0")
    assert sorted(folds.values()) == list(FOLDS)
    for name, fold in folds.items():
        assert name in cascade_project.run(LOWRES, fold).split.validation
        found = stored_map(cascade_project, name)
        np.testing.assert_array_equal(found, map_of(cascade_project, name, fold))
        another = next(other for other in FOLDS if other != fold)
        assert (found != map_of(cascade_project, name, another)).any()
        assert set(np.unique(found)) <= {0, 1, 2}


def test_only_what_is_missing_or_stale_is_predicted(cascade_project: CascadeProject) -> None:
    cascade_project.train(LOWRES, *FOLDS)
    run = cascade_project.run(CASCADE, should_stop=lambda: len(predicted(cascade_project)) == 1)
    with pytest.raises(Cancelled):
        ensure_predictions(run, checkpoint="final")
    run = cascade_project.run(CASCADE)
    ensure_predictions(run, checkpoint="final")
    assert sorted(predicted(cascade_project)) == ["case_000", "case_001", "case_002"]
    ensure_predictions(run, checkpoint="final")
    assert cascade_project.skipped == ["predict 3d_lowres for 3d_cascade_fullres"]

    cascade_project.told.clear()
    cascade_project.train(LOWRES, "1", seed=7)
    ensure_predictions(run, checkpoint="final")
    assert predicted(cascade_project) == list(cascade_project.run(LOWRES, "1").split.validation)
    ensure_predictions(cascade_project.run("3d_fullres"), checkpoint="final")  # nothing to do


def test_judging_the_first_stage_keeps_what_it_predicts(cascade_project: CascadeProject) -> None:
    cascade_project.train(LOWRES, *FOLDS)
    for fold in FOLDS:
        judge_fold(cascade_project.run(LOWRES, fold), mirror=True, checkpoint="final")
    ensure_predictions(cascade_project.run(CASCADE), checkpoint="final")
    assert cascade_project.skipped == ["predict 3d_lowres for 3d_cascade_fullres"]
    for name, fold in predicting_folds(cascade_project.dataset, "0").items():
        found = stored_map(cascade_project, name)
        np.testing.assert_array_equal(found, map_of(cascade_project, name, fold))


def test_the_cascade_is_judged_on_the_out_of_fold_predictions(
    cascade_project: CascadeProject,
) -> None:
    cascade_project.train(LOWRES, *FOLDS)
    cascade_project.train(CASCADE, "0")
    run = cascade_project.run(CASCADE)
    ensure_predictions(run, checkpoint="final")
    judge_fold(run, mirror=False, checkpoint="final")
    (name,) = run.split.validation
    written, _ = read_label_map(run.folder / "validation" / f"{name}.nii.gz")
    (full,) = cascade_project.run("3d_fullres").stored([name])
    case = replace(full.load(), previous=map_of(cascade_project, name, "0"))
    backend = load_backend(
        cascade_project.home, cascade_project.plan, CASCADE, ("0",), "final", "cpu"
    )
    wanted = segment_case(case, backend, cascade_project.plan, CASCADE, mirror=False)
    np.testing.assert_array_equal(written, wanted)


def test_fold_all_takes_its_own_predictions_and_says_so(cascade_project: CascadeProject) -> None:
    cascade_project.train(LOWRES, "all", *FOLDS)
    ensure_predictions(cascade_project.run(CASCADE, "all"), checkpoint="final")
    assert "has learned from the cases it predicts" in cascade_project.notices
    ensure_predictions(cascade_project.run(CASCADE), checkpoint="final")
    found = stored_map(cascade_project, "case_000", "all")
    np.testing.assert_array_equal(found, map_of(cascade_project, "case_000", "all"))
    assert (found != stored_map(cascade_project, "case_000", "0")).any()


def test_cases_that_no_fold_holds_out_are_told(cascade_project: CascadeProject) -> None:
    split = Split(train=("case_000", "case_001"), validation=("case_002",))
    cascade_project.dataset = replace(cascade_project.dataset, splits=(split,))
    cascade_project.train(LOWRES, "0")
    ensure_predictions(cascade_project.run(CASCADE), checkpoint="final")
    assert "no fold holds out 2 cases (case_000, case_001)" in cascade_project.notices
    assert len(next_stage_grids(cascade_project.run(LOWRES), "case_002")) == 1


def test_a_new_image_goes_through_both_stages(
    cascade_project: CascadeProject, tmp_path: Path
) -> None:
    home, plan, data = cascade_project.home, cascade_project.plan, cascade_project.dataset
    cascade_project.train(CASCADE, "0")
    images = [data.folder / "imagesTs"]
    with pytest.raises(ModelError, match="without its first stage"):
        pipeline.predict(home.folder, images, tmp_path / "out", configuration=CASCADE)
    cascade_project.train(LOWRES, "all", *FOLDS)
    (written,) = pipeline.predict(
        home.folder, images, tmp_path / "out", configuration=CASCADE, device="cpu", mirror=False,
        reporter=cascade_project.told.append,
    )  # fmt: skip
    assert "first stage: 3d_lowres, fold 0, 1, 2" in cascade_project.notices

    raw = read_case(find_cases(images, 1, ".nii.gz")[0], None, with_labels=False)
    first = load_model(home, plan, LOWRES, FOLDS, "final", "cpu")
    previous = segment_image(raw, first, mirror=False)
    case = preprocess_case(raw, plan, CASCADE)
    case = replace(case, previous=previous_on_grid(previous, case.record))
    backend = load_backend(home, plan, CASCADE, ("0",), "final", "cpu")
    wanted = segment_case(case, backend, plan, CASCADE, mirror=False)
    np.testing.assert_array_equal(read_label_map(written)[0], wanted)
    without = segment_case(
        replace(case, previous=np.zeros_like(previous_on_grid(previous, case.record))),
        backend, plan, CASCADE, mirror=False,
    )  # fmt: skip
    assert (without != wanted).any()  # the first stage makes a difference


def test_fold_all_predicts_with_the_first_stage_of_fold_all(
    cascade_project: CascadeProject,
) -> None:
    cascade_project.train(LOWRES, "all", *FOLDS)
    cascade_project.train(CASCADE, "all", "0")
    for folds, first in ((("all",), "all"), (("0",), "0, 1, 2"), (("0", "all"), "0, 1, 2")):
        model = load_model(
            cascade_project.home, cascade_project.plan, CASCADE, folds, "final", "cpu",
            reporter=cascade_project.told.append,
        )  # fmt: skip
        assert model.stage_count == 2
        assert cascade_project.notices.endswith(f"fold {first}")


def test_training_batches_carry_the_first_stage(cascade_project: CascadeProject) -> None:
    cascade_project.train(LOWRES, *FOLDS)
    run = cascade_project.run(CASCADE)
    ensure_predictions(run, checkpoint="final")
    configuration = cascade_project.plan.configuration(CASCADE)
    sources = run.stored(run.split.train)
    values = cascade_project.plan.previous_values(CASCADE)
    maker = BatchMaker(
        CasesInMemory(sources, 1e9), configuration, 0.33, None, 0, 0, previous_values=values
    )
    batch = maker(0)
    assert isinstance(batch, Batch)
    channels = cascade_project.plan.input_channels(CASCADE)
    assert batch.images.shape == (configuration.batch_size, channels, *configuration.patch_size)
    masks = batch.images[:, 1:]
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert (masks.sum(dim=1) <= 1).all()
    found = (masks * torch.tensor(values).reshape(1, -1, 1, 1, 1)).sum(dim=1)
    maps = np.concatenate([stored_map(cascade_project, s.identifier).ravel() for s in sources])
    assert set(found.unique().tolist()) <= {0, *maps.tolist()}
    assert found.any()

"""Everything that can be predicted with, opened by path or name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model_examples import CASCADE, a_bundle, made_weights
from selfseg.domain.bundle import Calibration, Member, ModelBundle, PostprocessingStep
from selfseg.domain.errors import ModelError, UsageError
from selfseg.domain.quality import QualityModel
from selfseg.domain.selection import ScoredCandidate, Selection, TriedStep
from selfseg.io.bundle_files import write_bundle
from selfseg.io.selection_file import write_selection
from selfseg.registry.library import Library
from selfseg.stages.bundle import CardOptions, ModelChoice, bundle_from_project
from selfseg.stages.model import narrowed, open_model
from selfseg.stages.models import first_stage_voters, member_below

if TYPE_CHECKING:
    from conftest import CascadeProject

FULL, LOWRES = "3d_fullres", "3d_lowres"
MEMBERS = (Member("plain", CASCADE, ("0", "1"), (1, 2)), Member("plain", FULL, ("0", "1", "2")))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = a_bundle("liver", "1.2", MEMBERS)
    folder = tmp_path_factory.mktemp("models")
    return write_bundle(folder / "liver.selfseg", bundle, made_weights(bundle, ("0", "1", "all")))


def test_a_file_a_folder_and_a_name_are_the_same_model(packed: Path, tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    folder = library.install(packed).folder
    digests = set()
    for where in (packed, folder, str(folder), "liver", "liver@1.2"):
        with open_model(where, library=library.folder) as model:
            assert model.bundle.card.key == "liver@1.2"
            assert model.bundle.members == MEMBERS
            assert model.backend == "torch"
            digests.add(model.digest)
    assert len(digests) == 1


def test_loading_brings_the_first_stage_and_the_mirrored_axes(packed: Path) -> None:
    told: list[object] = []
    with open_model(packed) as model:
        cascade, full = (
            model.load(member, "cpu", reporter=told.append) for member in model.bundle.members
        )
    assert cascade.first is not None
    assert (cascade.folds, cascade.first.folds) == (("0", "1"), ("0", "1"))  # without "all"
    assert cascade.mirror_axes == cascade.first.mirror_axes == (1, 2)
    assert (full.first, full.mirror_axes, full.folds) == (None, None, ("0", "1", "2"))
    assert "first stage: 3d_lowres, fold 0, 1" in str(told)


def test_folds_of_first_stages() -> None:
    assert first_stage_voters(("0", "1"), ("0", "1", "2", "all")) == ("0", "1", "2")
    assert first_stage_voters(("all",), ("0", "all")) == ("all",)
    assert first_stage_voters(("all",), ("0", "1")) == ()
    # A model that was handed on may have no more than that.
    member = Member("plain", CASCADE, ("all",), (1, 2))
    below = Member("plain", "3d_lowres", ("0", "1"), (1, 2))
    assert member_below(member, "3d_lowres", ("0", "1")) == below


def test_a_choice_narrows_the_members() -> None:
    bundle = a_bundle(members=MEMBERS)

    def folds(plan: str, configuration: str) -> tuple[str, ...]:
        return ("0", "1") if configuration != FULL else ("0", "1", "2")

    def members(**choice: object) -> list[tuple[str, tuple[str, ...]]]:
        made = narrowed(bundle, ModelChoice(**choice), folds)  # type: ignore[arg-type]
        return [(member.configuration, member.folds) for member in made.members]

    assert members() == [(CASCADE, ("0", "1")), (FULL, ("0", "1", "2"))]
    assert members(configurations=(FULL,), folds=("2",)) == [(FULL, ("2",))]
    assert members(configurations=(LOWRES,)) == [(LOWRES, ("0", "1"))]  # the stage below
    assert members(folds=("0",)) == [(CASCADE, ("0",)), (FULL, ("0",))]
    for wrong, cure in (
        ({"configurations": ("3d_fulres",)}, "did you mean 3d_fullres"),
        ({"plan": "plane"}, "did you mean plain"),
        ({"folds": ("2",)}, "choose one"),  # the cascade has no fold 2
        ({"checkpoint": "best"}, "leave it out"),
    ):
        with pytest.raises(UsageError, match=cure):
            members(**wrong)


def test_what_was_learned_of_a_model_goes_with_all_of_it() -> None:
    calibration, quality = Calibration(1.5, "x"), QualityModel({})
    bundle = a_bundle(members=MEMBERS, calibration=calibration, quality=quality)

    def made(**choice: object) -> ModelBundle:
        chosen = ModelChoice(**choice)  # type: ignore[arg-type]
        return narrowed(bundle, chosen, lambda plan, configuration: ("0", "1", "2"))

    assert made(folds=("0",)).calibration == calibration
    assert made(folds=("0",)).quality is quality
    for name in (FULL, LOWRES):
        assert made(configurations=(name,)).calibration == Calibration()
        assert made(configurations=(name,)).quality is None


def test_a_project_is_a_model_too(cascade_project: CascadeProject) -> None:
    project, told = cascade_project, cascade_project.told
    project.train(LOWRES, "0", "1", "all")
    project.train(CASCADE, "0", "1", "all")
    folder = project.home.folder
    with open_model(folder, ModelChoice(configurations=(CASCADE,)), reporter=told.append) as model:
        (member,) = model.bundle.members
        assert member.folds == ("0", "1")
        loaded = model.load(member, "cpu")
        assert loaded.first is not None
        assert loaded.stage_count == 2
        before = model.digest
    choice = ModelChoice(configurations=(LOWRES, CASCADE), folds=("0",))
    with open_model(folder, choice) as model:
        assert [m.configuration for m in model.bundle.members] == [LOWRES, CASCADE]
        assert model.digest != before
    project.train(LOWRES, "1", seed=7)
    with open_model(folder, ModelChoice(configurations=(CASCADE,))) as model:
        assert model.digest != before  # another first stage is another model


def test_what_was_selected_votes(cascade_project: CascadeProject) -> None:
    project = cascade_project
    project.train(LOWRES, "0", "1", "2")
    project.train(CASCADE, "0", "1")
    members = (Member("plain", LOWRES, ("0", "1")), Member("plain", CASCADE, ("0", "1")))
    scored = ScoredCandidate(members, 0.9, {})
    step = PostprocessingStep("largest_component_all")
    tested = TriedStep(step, True, 0.8, 0.9)
    write_selection(project.home, Selection(members, "best", (scored,), 9, (step,), (tested,)))
    folder = project.home.folder
    with open_model(folder) as model:
        assert model.bundle.members == members
        assert model.bundle.postprocessing == (step,)
        assert model.checkpoint == "best"  # type: ignore[attr-defined]
        assert model.load(members[1], "cpu").stage_count == 2
    bundle, weights = bundle_from_project(project.home, CardOptions())
    assert (bundle.members, bundle.postprocessing) == (members, (step,))
    assert len(list(weights)) == 4
    for choice in (ModelChoice(checkpoint="final"), ModelChoice(configurations=(LOWRES,))):
        with open_model(folder, choice) as model:
            assert model.bundle.postprocessing == ()
    refused = pytest.raises(ModelError, match="fold 2 of 3d_cascade_fullres is not trained")
    with refused, open_model(folder, ModelChoice(folds=("2",))):
        pass


def test_what_is_no_model_is_refused_with_a_hint(packed: Path, tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    (tmp_path / "empty").mkdir()

    def refusal(where: Path | str) -> str:
        with pytest.raises(ModelError) as caught, open_model(where, library=library.folder):
            pass
        return str(caught.value)

    assert "which is empty" in refusal("liver")
    library.install(packed)
    assert "did you mean liver" in refusal("livre")
    assert "a folder without one" in refusal(tmp_path / "empty")
    with pytest.raises(UsageError, match="model export"), open_model(packed, backend="onnx"):
        pass

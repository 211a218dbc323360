"""Trained nnU-Net models become bundles: layouts, choices, and what the bundle then says."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_examples import older_form
from nnunet_models import (
    DATASET,
    LABELS,
    REGIONS,
    tiny_plan,
    weights_of,
    with_orientation,
    write_model,
)
from selfseg.domain.bundle import Member, ModelBundle
from selfseg.domain.errors import ModelError
from selfseg.domain.events import Event, Notice
from selfseg.domain.plan import Plan
from selfseg.io.bundle_files import read_bundle
from selfseg.registry.library import Library
from selfseg.registry.nnunet_choice import NnunetOptions
from selfseg.registry.nnunet_import import import_nnunet, nnunet_model
from selfseg.registry.nnunet_layout import is_nnunet


class Notices:
    """Collects what the user is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.texts.append(event.text)


def described(source: Path, notices: Notices | None = None, **options: Any) -> ModelBundle:
    """The bundle that would be written; PyTorch is not started."""
    with nnunet_model(source, options=NnunetOptions(**options), reporter=notices or Notices()) as (
        bundle,
        _,
    ):
        return bundle


@pytest.mark.parametrize(
    ("plan", "configuration"),
    [
        (tiny_plan(), "3d_fullres"),
        (tiny_plan(architecture="residual"), "3d_fullres"),
        (tiny_plan(REGIONS), "2d"),
    ],
    ids=["plain", "residual", "2d regions"],
)
def test_weights_and_plan_arrive(plan: Plan, configuration: str, tmp_path: Path) -> None:
    write_model(tmp_path / "results", plan, configuration, folds=(0, 2))
    target = import_nnunet(tmp_path / "results", tmp_path / "out" / "model")
    stored = read_bundle(target)
    bundle = stored.bundle
    assert bundle.members == (Member(plan.name, configuration, ("0", "2")),)
    imported = bundle.plans[plan.name]
    assert imported.configuration(configuration) == plan.configuration(configuration)
    assert bundle.description.labels == plan.description.labels
    for fold in ("0", "2"):
        weights = stored.read_weights(plan.name, configuration, fold)
        for name, array in weights_of(plan, configuration, int(fold)).items():
            np.testing.assert_array_equal(weights[name], array)
    stored.verify()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]
    card = bundle.card
    assert (card.name, card.version, card.licence) == ("Made", "1", "CC0-1.0")
    assert card.provenance["trainer"] == "nnUNetTrainer"
    assert card.provenance["epochs"] == "1000"
    assert len(card.provenance["SHA-256 of fold_2/checkpoint_final.pth"]) == 64


def test_a_cascade_comes_with_its_first_stage(tmp_path: Path) -> None:
    plan = tiny_plan(REGIONS)
    write_model(tmp_path, plan, "3d_lowres", folds=(0, 1, "all"))
    folder = write_model(tmp_path, plan, "3d_cascade_fullres", folds=(0,))
    notices = Notices()
    by_pair = described(tmp_path / DATASET, notices)
    assert by_pair.members == (Member("plain", "3d_cascade_fullres", ("0",)),)
    assert any("builds on" in text for text in notices.texts)
    # The trainer's folder alone: the first stage lies beside it.
    library = Library(tmp_path / "library")
    with nnunet_model(folder) as (bundle, weights):
        entry = library.add(bundle, weights)
    assert entry.stored is not None
    assert entry.stored.folds("plain", "3d_lowres") == ("0", "1")
    of_first = weights_of(plan, "3d_lowres", 1)["heads.0.weight"]
    stored = entry.stored.read_weights("plain", "3d_lowres", "1")
    np.testing.assert_array_equal(stored["heads.0.weight"], of_first)


def test_fold_all_of_a_cascade_builds_on_fold_all(tmp_path: Path) -> None:
    plan = tiny_plan()
    write_model(tmp_path, plan, "3d_lowres", folds=(0, "all"))
    write_model(tmp_path, plan, "3d_cascade_fullres", folds=("all",))
    with nnunet_model(tmp_path) as (bundle, weights):
        keys = {(key.configuration, key.fold) for key, _ in weights}
    assert bundle.members[0].folds == ("all",)
    assert keys == {("3d_cascade_fullres", "all"), ("3d_lowres", "all")}


def test_a_cascade_without_its_first_stage_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_plan(), "3d_cascade_fullres")
    with pytest.raises(ModelError, match="without its first stage"):
        described(tmp_path)


def test_several_configurations_need_a_choice(tmp_path: Path) -> None:
    for configuration in ("2d", "3d_fullres"):
        write_model(tmp_path, tiny_plan(), configuration)
    best = {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans", "configuration": "2d"}
    information = {"best_model_or_ensemble": {"selected_model_or_models": [best]}}
    (tmp_path / DATASET / "inference_information.json").write_text(json.dumps(information))
    with pytest.raises(ModelError, match="3d_fullres") as caught:
        described(tmp_path)
    assert "nnU-Net found best: nnUNetTrainer__nnUNetPlans__2d" in caught.value.cure
    chosen = described(tmp_path, configurations=("3d_fullres",))
    assert [member.configuration for member in chosen.members] == ["3d_fullres"]
    both = described(tmp_path, configurations=("2d", "nnUNetTrainer__nnUNetPlans__3d_fullres"))
    assert [member.configuration for member in both.members] == ["2d", "3d_fullres"]
    assert list(both.plans) == ["plain"]
    with pytest.raises(ModelError, match="not clear"):
        described(tmp_path, configurations=("3d_lowres",))


def test_the_same_configuration_of_two_trainers_votes_under_two_plans(tmp_path: Path) -> None:
    plan = tiny_plan()
    for trainer in ("nnUNetTrainer", "nnUNetTrainerDA5"):
        write_model(tmp_path, plan, trainer=trainer)
    write_model(tmp_path, plan, "2d")
    with pytest.raises(ModelError, match="several trained models are '3d_fullres'") as caught:
        described(tmp_path, configurations=("3d_fullres",))
    assert "2d" not in str(caught.value)
    assert "the folder of one of them" in caught.value.cure
    names = tuple(f"{t}__nnUNetPlans__3d_fullres" for t in ("nnUNetTrainer", "nnUNetTrainerDA5"))
    assert [member.plan for member in described(tmp_path, configurations=names).members] == [
        "plain",
        "plain_2",
    ]


@pytest.mark.parametrize(
    ("axes", "kept"), [((0, 1, 2), None), ((0, 1), (0, 1)), (None, ()), (..., ())]
)
def test_only_mirrored_axes_are_mirrored(axes: Any, kept: Any, tmp_path: Path) -> None:
    """A checkpoint that does not say is not mirrored, as nnunetv2 does it."""
    if axes is ...:
        write_model(tmp_path, tiny_plan(), inference_allowed_mirroring_axes=...)
    else:
        write_model(tmp_path, tiny_plan(), mirror_axes=axes)
    assert described(tmp_path).members[0].mirror_axes == kept


def test_folds_that_were_mirrored_differently_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_plan(), folds=(0,))
    write_model(tmp_path, tiny_plan(), folds=(1,), mirror_axes=None)
    with pytest.raises(ModelError, match="mirrored in different ways"):
        described(tmp_path)
    assert described(tmp_path, folds=("1",)).members[0].mirror_axes == ()


def test_folds_and_checkpoints(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tiny_plan(), folds=("all",))
    assert described(tmp_path).members[0].folds == ("all",)
    write_model(tmp_path, tiny_plan(), folds=(0, 1), kind="best")
    notices = Notices()
    best = described(tmp_path, notices)
    assert best.members[0].folds == ("0", "1")
    assert best.card.provenance["checkpoint"] == "best"
    assert any("no fold has a final checkpoint" in text for text in notices.texts)
    write_model(tmp_path, tiny_plan(), folds=(10, 2))
    notices = Notices()
    assert described(tmp_path, notices).members[0].folds == ("2", "10")
    assert any("fold 0, 1 has no final checkpoint" in text for text in notices.texts)
    assert any("fold all is left out" in text for text in notices.texts)
    assert described(tmp_path, folds=("all",)).members[0].folds == ("all",)
    assert described(folder / "fold_2").members[0].folds == ("2",)
    with pytest.raises(ModelError, match="does not have these folds"):
        described(tmp_path, folds=("7",))
    with pytest.raises(ModelError, match="has no final checkpoint"):
        described(tmp_path, folds=("0", "2"))


def packed(
    folder: Path, target: Path, root: str = "", *, method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{root}{path.relative_to(folder).as_posix()}")
    return target


@pytest.mark.parametrize("root", ["", "downloads/nnUNet_results/"])
def test_zip_files_as_they_are_exported_and_published(root: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", tiny_plan(), folds=(0, 1))
    validation = folder / "fold_0" / "validation"
    validation.mkdir()
    (validation / "summary.json").write_text("{}")
    (folder / "fold_0" / "progress.png").write_bytes(b"png")
    (folder / "fold_0" / "debug.json").write_text("{}")
    source = packed(tmp_path / "results", tmp_path / "model.zip", root)
    target = import_nnunet(source, tmp_path / "out" / "model.selfseg")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.selfseg"]
    entry = Library(tmp_path / "library").install(target)
    assert entry.stored is not None
    assert entry.stored.bundle.members[0].folds == ("0", "1")


def test_a_fault_inside_of_a_zip_file_is_told_by_its_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", tiny_plan(), trainer="nnUNetTrainerOfOurs")
    source = packed(tmp_path / "results", tmp_path / "model.zip")
    with pytest.raises(ModelError, match="is not known") as caught:
        described(source)
    inside = folder.relative_to(tmp_path / "results") / "fold_0" / "checkpoint_final.pth"
    assert caught.value.path == source / inside


def test_a_zip_file_of_a_trainers_folder_alone(tmp_path: Path) -> None:
    """Its name is lost: the checkpoint says which configuration it is."""
    folder = write_model(tmp_path / "results", tiny_plan(), "2d")
    source = packed(folder, tmp_path / "model.zip", method=zipfile.ZIP_STORED)
    assert described(source).members == (Member("plain", "2d", ("0",)),)


def test_a_renamed_trainers_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tiny_plan(), "2d")
    renamed = folder.rename(tmp_path / "my model")
    assert described(renamed).members[0].configuration == "2d"
    wrong = renamed.rename(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    with pytest.raises(ModelError, match="another configuration than its folder"):
        described(wrong)


def test_models_of_several_data_sets_need_a_choice(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_plan())
    shutil.copytree(tmp_path / DATASET, tmp_path / "Dataset043_Other")
    with pytest.raises(ModelError, match="several data sets"):
        described(tmp_path)
    assert described(tmp_path / DATASET).card.name == "Made"


def test_what_may_be_a_model_of_nnunet(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "results", tiny_plan())
    for place in (tmp_path / "results", folder.parent, folder, folder / "fold_0"):
        assert is_nnunet(place)
    for name, expected in (("a.zip", True), ("a.selfseg", False)):
        (tmp_path / name).write_bytes(b"")
        assert is_nnunet(tmp_path / name) == expected
    (tmp_path / "empty").mkdir()
    assert not is_nnunet(tmp_path / "empty")
    assert not is_nnunet(tmp_path / "nothing")


@pytest.mark.parametrize("there", ["nothing", "empty", "no checkpoint", "nnU-Net v1"])
def test_no_model(there: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if there != "nothing":
        source.mkdir()
    if there == "no checkpoint":
        shutil.rmtree(write_model(source, tiny_plan()) / "fold_0")
    if there == "nnU-Net v1":
        (source / "fold_0").mkdir()
        (source / "fold_0" / "model_final_checkpoint.model").write_bytes(b"old")
        (source / "plans.pkl").write_bytes(b"old")
    with pytest.raises(ModelError) as caught:
        described(source)
    assert caught.value.cure


def test_plans_of_the_older_form(tmp_path: Path) -> None:
    plan = tiny_plan()
    folder = write_model(tmp_path, plan)
    content = json.loads((folder / "plans.json").read_text())
    del content["configurations"]["3d_cascade_fullres"]  # inherits its network
    (folder / "plans.json").write_text(json.dumps(older_form(content)))
    imported = described(tmp_path).plans["plain"].configuration("3d_fullres")
    assert imported == plan.configuration("3d_fullres")


def test_configurations_that_nobody_has_trained_are_left_out(tmp_path: Path) -> None:
    folder = write_model(tmp_path, tiny_plan())
    content = json.loads((folder / "plans.json").read_text())
    custom = {"inherits_from": "3d_fullres", "preprocessor_name": "SomebodysPreprocessor"}
    content["configurations"]["3d_custom"] = custom
    content["configurations"]["3d_small"] = {"inherits_from": "3d_fullres", "batch_size": 7}
    (folder / "plans.json").write_text(json.dumps(content))
    assert set(described(tmp_path).plans["plain"].configurations) == {"3d_fullres"}
    inheriting = folder.rename(folder.with_name("nnUNetTrainer__nnUNetPlans__3d_small"))
    path = inheriting / "fold_0" / "checkpoint_final.pth"
    shutil.rmtree(path.parent)
    write_model(tmp_path / "other", tiny_plan(), init_args={"configuration": "3d_small"})
    made = tmp_path / "other" / DATASET / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    shutil.copytree(made, path.parent)
    imported = described(inheriting)
    assert set(imported.plans["plain"].configurations) == {"3d_fullres", "3d_small"}
    assert imported.plans["plain"].configuration("3d_small").batch_size == 7


def test_labels_follow_the_heads_and_not_the_file(tmp_path: Path) -> None:
    """dataset.json written with sorted keys: "lesion" (2) before "liver" (1)."""
    folder = write_model(tmp_path, tiny_plan(LABELS))
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"] = dict(sorted(content["labels"].items()))
    (folder / "dataset.json").write_text(json.dumps(content))
    labels = described(tmp_path).description.labels
    assert [(label.name, label.values) for label in labels.foreground] == [
        ("liver", (1,)),
        ("lesion", (2,)),
    ]


def test_regions_keep_their_order_and_the_ignored_value(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_plan(REGIONS))
    labels = described(tmp_path).description.labels
    assert labels == REGIONS
    assert labels.head_count == 2


def test_the_reader_that_turns_images(tmp_path: Path) -> None:
    folder = write_model(tmp_path, with_orientation(tiny_plan()))
    notices = Notices()
    assert described(tmp_path, notices).plans["plain"].orientation == "ras"
    assert any("turned to RAS" in text for text in notices.texts)
    content = json.loads((folder / "plans.json").read_text())
    (folder / "plans.json").write_text(json.dumps(content | {"image_reader_writer": "os.system"}))
    with pytest.raises(ModelError, match="read in a way"):
        described(tmp_path)


def test_dataset_json_of_another_form(tmp_path: Path) -> None:
    """As older published models have it: modality, labels by value, no numTraining."""
    folder = write_model(tmp_path, tiny_plan())
    old = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "lesion"},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(old))
    bundle = described(tmp_path)
    assert bundle.description.labels == LABELS
    assert bundle.card.name == "Made"


def test_what_the_user_says_of_the_model(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_plan())
    card = described(
        tmp_path, name="liver", version="2.1", licence="CC-BY-4.0", authors=("A. B.",)
    ).card
    assert (card.key, card.licence, card.authors) == ("liver@2.1", "CC-BY-4.0", ("A. B.",))


def test_checkpoints_written_with_numpy_1(tmp_path: Path) -> None:
    """There the same function had another name; both are read."""
    folder = write_model(tmp_path / "results", tiny_plan())
    path = folder / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in records if name.endswith("data.pkl"))
    before = records[name]
    records[name] = before.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert records[name] != before
    with zipfile.ZipFile(path, "w") as archive:
        for record, data in records.items():
            archive.writestr(record, data)
    target = import_nnunet(tmp_path / "results", tmp_path / "out" / "model")
    weights = read_bundle(target).read_weights("plain", "3d_fullres", "0")
    expected = weights_of(tiny_plan(), "3d_fullres")["heads.0.weight"]
    np.testing.assert_array_equal(weights["heads.0.weight"], expected)

"""From a project to a model in the library, as a user does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from selfseg.cli import main
from selfseg.domain.errors import ModelError, UsageError
from selfseg.io.weights import read_weights
from selfseg.registry.library import Library
from selfseg.stages.bundle import CardOptions, ModelChoice, bundle_from_project, name_from
from selfseg.stages.model_import import ImportOptions, import_model

if TYPE_CHECKING:
    from conftest import CascadeProject

CASCADE = "3d_cascade_fullres"


@pytest.mark.parametrize(
    ("text", "name"),
    [("Liver", "Liver"), ("MS Lesion (FLAIR)", "MS-Lesion-FLAIR"), ("../..", "model"),
     ("ä", "model"), ("x" * 200, "x" * 80), ("Dataset004_Hippocampus", "Dataset004_Hippocampus")],
)  # fmt: skip
def test_names_from_data_sets(text: str, name: str) -> None:
    assert name_from(text) == name


def judge(project: CascadeProject, configuration: str, fold: str) -> None:
    """A score file with names and paths that must not leave the project."""
    folder = project.home.run_folder(project.plan.name, configuration, fold)
    metrics = {"Dice": 0.5, "IoU": 0.4, "FP": 1, "FN": 2, "TP": 3, "n_pred": 4, "n_ref": 5}
    cases = [
        {
            "reference_file": f"/secret/place/{name}.nii.gz",
            "prediction_file": f"/secret/run/{name}.nii.gz",
            "metrics": {label.key: metrics for label in project.plan.description.labels.foreground},
            "group": "Jane Doe",
        }
        for name in (f"jane_doe_{fold}", f"jane_doe_{fold}b")
    ]
    (folder / "validation.json").write_text(json.dumps({"metric_per_case": cases}))


def test_a_project_becomes_a_model(cascade_project: CascadeProject, tmp_path: Path) -> None:
    project = cascade_project
    project.train("3d_lowres", "0", "1", "all")
    project.train(CASCADE, "0", "1")
    for fold in ("0", "1"):
        judge(project, CASCADE, fold)
    library = Library(tmp_path / "models")
    card = CardOptions("liver", "2", "Finds livers.", "CC-BY-4.0", "Us, 2026", ("A", "B"))
    options = ImportOptions(card, ModelChoice(configurations=(CASCADE,)), licence_text="Free.")
    entry = import_model(library, project.home.folder, options, reporter=project.told.append)
    assert entry.key == "liver@2"
    stored = library.verify("liver").stored
    assert stored is not None
    bundle = stored.bundle
    assert [(m.configuration, m.folds) for m in bundle.members] == [(CASCADE, ("0", "1"))]
    assert stored.folds("plain", "3d_lowres") == ("0", "1")  # as `load_model` chooses
    assert bundle.card.licence == "CC-BY-4.0"
    assert bundle.scores is not None
    assert bundle.scores["foreground_mean"]["Dice"] == pytest.approx(0.5)
    assert len(bundle.scores["metric_per_case"]) == 4
    for network in stored.networks:
        path = project.home.run_folder("plain", network.configuration, network.fold)
        trained, _ = read_weights(path / "weights_final.safetensors")
        given = stored.read_weights(network.plan, network.configuration, network.fold)
        assert all(np.array_equal(given[name], array) for name, array in trained.items())


def test_nothing_leaves_that_names_a_patient_or_a_place(
    cascade_project: CascadeProject, tmp_path: Path
) -> None:
    project = cascade_project
    project.train("3d_lowres", "0")
    judge(project, "3d_lowres", "0")
    library = Library(tmp_path / "models")
    entry = import_model(library, project.home.folder, ImportOptions())
    fingerprint = project.home.read_fingerprint()
    assert fingerprint is not None
    secrets = ["jane", "Jane", "secret", str(tmp_path), *fingerprint.case_identifiers]
    for path in entry.folder.rglob("*.json"):
        text = path.read_text("utf-8")
        assert not [secret for secret in secrets if secret in text], path.name


def test_what_is_not_trained_is_not_exported(cascade_project: CascadeProject) -> None:
    project = cascade_project
    with pytest.raises(ModelError, match="no trained model"):
        bundle_from_project(project.home, CardOptions())
    project.train(CASCADE, "0")
    _, weights = bundle_from_project(
        project.home, CardOptions(), ModelChoice(configurations=(CASCADE,))
    )
    with pytest.raises(ModelError, match="without its first stage"):
        dict(weights)
    with pytest.raises(ModelError, match="fold 3"):
        bundle_from_project(
            project.home, CardOptions(), ModelChoice(configurations=(CASCADE,), folds=("3",))
        )


def test_several_configurations_have_no_scores_yet(cascade_project: CascadeProject) -> None:
    project = cascade_project
    for name in ("3d_lowres", "3d_fullres"):
        project.train(name, "0", "all")
        judge(project, name, "0")
    choice = ModelChoice(configurations=("3d_fullres", "3d_lowres"), folds=("0",))
    bundle, _ = bundle_from_project(
        project.home, CardOptions(), choice, reporter=project.told.append
    )
    assert len(bundle.members) == 2
    assert bundle.scores is None
    assert "no scores" in project.notices


def test_the_command_line(
    cascade_project: CascadeProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = cascade_project
    project.train("3d_lowres", "0")
    judge(project, "3d_lowres", "0")
    home, library = str(project.home.folder), ["--library", str(tmp_path / "models")]
    out = str(tmp_path / "liver.selfseg")
    (tmp_path / "LICENCE").write_text("Free.")

    def selfseg(*words: str) -> str:
        assert main(["model", *words]) == 0
        return capsys.readouterr().out

    card = ["--name", "liver", "--version", "1.2", "--licence", "CC0-1.0", "--author", "A"]
    card += ["--licence-file", str(tmp_path / "LICENCE")]
    assert selfseg("export", home, "-o", out, *card).strip() == out
    assert "good" in selfseg("verify", out)
    assert selfseg("list", *library).startswith("no models")
    assert selfseg("import", out, *library).strip() == "liver@1.2"
    assert "CC0-1.0" in selfseg("list", *library)
    shown = selfseg("show", "liver", *library)
    assert "3d_lowres, fold 0" in shown
    assert "Dice 0.500" in shown
    listed = json.loads(selfseg("list", "--json", *library))
    assert [entry["key"] for entry in listed] == ["liver@1.2"]
    assert json.loads(selfseg("show", "liver@1.2", "--json", *library)) == listed[0]
    (tmp_path / "unpacked").mkdir()
    shutil.unpack_archive(out, tmp_path / "unpacked", "zip")
    for place in (out, str(tmp_path / "unpacked")):
        elsewhere = json.loads(selfseg("show", place, "--json"))
        assert elsewhere == listed[0] | {"folder": place}
    shown = selfseg("show", home)
    assert "3d_lowres, fold 0" in shown
    assert "size" not in shown
    again = str(tmp_path / "again.selfseg")
    selfseg("export", "liver", "-o", again, *library)
    assert Path(again).read_bytes() == Path(out).read_bytes()
    assert selfseg("import", out, "--replace", *library).strip() == "liver@1.2"
    assert "good" in selfseg("verify", *library)

    next((tmp_path / "models" / "liver@1.2").rglob("*.safetensors")).write_bytes(b"")
    assert main(["model", "verify", *library]) == 1
    assert "DAMAGED" in capsys.readouterr().out
    assert "DAMAGED" in selfseg("list", *library)
    assert main(["model", "show", "liver", *library]) == 1
    assert json.loads(selfseg("list", "--json", *library))[0]["fault"]
    assert selfseg("remove", "liver", *library).strip() == "removed liver@1.2"
    assert main(["model", "remove", "liver", *library]) == 1
    assert "what to do" in capsys.readouterr().err


def test_a_bundle_keeps_its_own_name(cascade_project: CascadeProject, tmp_path: Path) -> None:
    project = cascade_project
    project.train("3d_lowres", "0")
    library = Library(tmp_path / "models")
    key = import_model(library, project.home.folder, ImportOptions()).key
    library.export(key, tmp_path / "m.selfseg")
    with pytest.raises(UsageError, match="says itself"):
        import_model(library, tmp_path / "m.selfseg", ImportOptions(CardOptions("other")))
    with pytest.raises(ModelError, match="no model that can be imported"):
        import_model(library, tmp_path, ImportOptions())

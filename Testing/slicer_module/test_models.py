"""Models read with the standard library alone: projects, bundles, packed bundles, the list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from SelfConfiguringSegmentationLib import model_list, models
from SelfConfiguringSegmentationLib.paths import MODULE_FOLDER, logic_folder
from SelfConfiguringSegmentationLib.segment.channels import Candidate, match_channels

from selfseg.domain.errors import ModelError
from slicer_module.children import write_model


def write_bundle(folder: Path, version: str = "1.0", name: str = "liver") -> Path:
    """A bundle as far as its description."""
    code = {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}
    category = {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"}
    bundle = {
        "schema": "selfseg.bundle/1",
        "card": {"name": name, "version": version, "summary": "Livers", "licence": "CC0-1.0"},
        "description": {
            "name": "Livers",
            "channel_names": ["CT"],
            "labels": {
                "foreground": [{"name": "liver", "values": [1], "colour": None, "code": None}],
                "regions_class_order": None,
                "ignore": None,
            },
        },
        "members": [{"plan": "p", "configuration": "c", "folds": ["0", "1"]}],
        "appearances": [{"name": "liver", "colour": [1, 2, 3], "category": category, "type": code}],
    }
    scores = {"mean": {"1": {"Dice": 0.9}}, "foreground_mean": {"Dice": 0.9}}
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text(json.dumps(bundle), encoding="utf-8")
    (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    return folder


def pack(folder: Path) -> Path:
    path = folder.with_suffix(".selfseg")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("bundle.json", "scores.json"):
            archive.write(folder / name, name)
    return path


def test_a_bundle_says_all_that_is_shown(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    for path, form in ((folder, "bundle"), (pack(folder), "file")):
        model = models.read_model(path)
        assert (model.title, model.licence, model.dice, model.form) == (
            "liver 1.0",
            "CC0-1.0",
            0.9,
            form,
        )
        assert model.dice_by_structure == {"liver": 0.9}
        assert model.folds == ("0", "1")
        assert str(model.appearances[0].type) == "SCT^10200004^Liver"


def test_a_project_says_its_folds_and_what_selection_found(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "project")
    assert models.read_model(folder).folds == ()
    for fold in ("10", "2"):
        run = folder / "runs" / "plain" / "3d_fullres" / f"fold_{fold}"
        run.mkdir(parents=True)
        (run / "weights_final.safetensors").touch()
    assert models.read_model(folder).folds == ("2", "10")
    selection = {
        "members": [{"folds": ["2"]}],
        "dice": 0.75,
        "dice_by_structure": {"bright": 0.75, "dark": None},
    }
    (folder / "selection.json").write_text(json.dumps(selection), encoding="utf-8")
    model = models.read_model(folder)
    assert (model.folds, model.dice, model.dice_by_structure) == (("2",), 0.75, {"bright": 0.75})


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        models.read_model(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        models.read_model(tmp_path / "missing")
    broken = write_model(tmp_path / "broken")
    (broken / "plans" / "plain.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        models.read_model(broken)
    packed = tmp_path / "broken.selfseg"
    packed.write_bytes(b"no zip")
    with pytest.raises(ModelError, match="cannot be read"):
        models.read_model(packed)


def test_the_list_holds_the_library_and_what_was_added(tmp_path: Path) -> None:
    library = model_list.ModelList(tmp_path / "library")
    assert library.entries() == ()
    for version in ("1.9", "1.10"):
        write_bundle(library.library / f"liver@{version}", version)
    (library.library / ".part-xyz").mkdir()
    (library.library / "spleen@1").mkdir()
    project = write_model(tmp_path / "project")
    library.add(project)
    library.add(project)
    keys = [entry.key for entry in library.entries()]
    assert keys == ["liver@1.10", "liver@1.9", "spleen@1", str(project)]
    assert library.entries()[2].title == "spleen@1 (damaged)"
    assert library.find("liver").key == "liver@1.10"
    assert library.find("liver@1.9").key == "liver@1.9"
    assert library.find(project).model == models.read_model(project)
    assert library.find("Bright").path == project
    with pytest.raises(ModelError, match="there is no model 'kidney'"):
        library.find("kidney")
    with pytest.raises(ModelError, match="'spleen' is damaged"):
        library.find("spleen")
    library.forget(project)
    assert len(library.entries()) == 3
    assert project.is_dir()


def test_the_library_is_where_selfseg_keeps_it() -> None:
    from selfseg.io.library_folder import default_library

    assert model_list.ModelList().library == default_library()


def test_listing_needs_nothing_that_must_be_installed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "liver@1.0")
    code = (
        "import sys; from pathlib import Path; from SelfConfiguringSegmentationLib.model_list "
        "import ModelList; print(ModelList(Path(sys.argv[1])).entries()[0].title); "
        "print(sorted({n.partition('.')[0] for n in sys.modules}"
        " & {'msgspec', 'torch', 'slicer', 'vtk', 'scipy', 'psutil'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"PYTHONPATH": os.pathsep.join((str(MODULE_FOLDER), str(logic_folder())))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["liver 1.0", "[]"]


@pytest.mark.parametrize(
    ("channels", "volumes", "expected"),
    [
        (["CT"], ["MRHead", "CTChest"], (0,)),
        (["CT"], [("a", "MR"), ("b", "CT")], (1,)),
        (["T1", "T1ce", "T2", "FLAIR"], ["x_flair", "x_t1ce", "x_t2", "x_t1"], (3, 1, 2, 0)),
        (["T1w", "T1 Gd", "T2w", "T2-FLAIR"], ["b-t2f", "b-t1c", "b t2w", "t1n_1"], (3, 1, 2, 0)),
        (["CT", "PET"], [("1", "CT"), ("2", "PT")], (0, 1)),
        (["T1", "T2"], ["head", "head 2"], (None, None)),
        (["T1", "T2"], [], (None, None)),
    ],
)
def test_channels_are_matched(channels: list[str], volumes: list[Any], expected: Any) -> None:
    candidates = [Candidate(*v) if isinstance(v, tuple) else Candidate(v) for v in volumes]
    assert match_channels(channels, candidates) == expected

"""Folders of images through `pipeline.predict` and the command line, with made models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_examples import a_bundle, a_plan, made_weights
from selfseg import pipeline
from selfseg.cli import main
from selfseg.domain.bundle import Member
from selfseg.domain.dataset import CaseFiles
from selfseg.domain.errors import Cancelled, UsageError
from selfseg.domain.events import CaseFinished, Event, Notice
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import read_label_map, write_label_map
from selfseg.io.probability_files import ENDING
from selfseg.stages.predict_files import output_ending
from synthetic_preprocessing import GOLDEN, made_case, made_plan

QUICK: dict[str, Any] = {"device": "cpu", "mirror": False, "step": 1.0}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = a_bundle("liver", "1.2")
    return write_bundle(tmp_path_factory.mktemp("m") / "x.selfseg", bundle, made_weights(bundle))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    raw = made_case(GOLDEN["thick_target"])
    for index in range(3):
        values = np.roll(raw.channels[0], index, axis=2).astype(np.uint8)
        write_label_map(folder / f"case_{index}_0000.nii.gz", values, raw.geometry)
    return folder


def finished(told: list[Event]) -> list[str]:
    return [event.identifier for event in told if isinstance(event, CaseFinished)]


def test_what_was_made_and_how_is_noted_down(model: Path, images: Path, tmp_path: Path) -> None:
    written = pipeline.predict(model, [images], tmp_path, structures=("liver",), **QUICK)
    assert [path.name for path in written] == [f"case_{k}.nii.gz" for k in range(3)]
    noted = json.loads((tmp_path / "predictions.json").read_text())
    assert noted["schema"] == "selfseg.predictions/1"
    assert list(noted["cases"]) == ["case_0", "case_1", "case_2"]
    case = noted["cases"]["case_1"]
    provenance = case["provenance"]
    assert (provenance["model"], provenance["version"]) == ("liver", "1.2")
    assert len(provenance["sha256"]) == len(case["sha256"]) == 64
    assert provenance["members"] == "plain 3d_fullres fold 0 1"
    assert (provenance["mirror"], provenance["step"], provenance["structures"]) == (
        "no", "1", "liver",
    )  # fmt: skip
    assert case["images"][0]["name"] == "case_1_0000.nii.gz"
    assert set(case["confidence"]["structures"]) == {"liver", "kidney_left", "thing"}
    assert 0 <= case["confidence"]["entropy"] <= 1
    assert set(np.unique(read_label_map(written[0])[0])) <= {0, 1}


def test_going_on_does_what_is_missing_or_was_made_otherwise(
    model: Path, images: Path, tmp_path: Path
) -> None:
    def predict(**options: Any) -> list[str]:
        told: list[Event] = []
        written = pipeline.predict(
            model, [images], tmp_path, reporter=told.append, go_on=True, **{**QUICK, **options}
        )
        assert [path.is_file() for path in written] == [True] * 3
        skipped = [event.text for event in told if isinstance(event, Notice)]
        assert len(finished(told)) == 3 or "cases are done already" in skipped[-1]
        return finished(told)

    every = ["case_0", "case_1", "case_2"]
    assert predict() == every
    assert predict() == []
    (tmp_path / "case_1.nii.gz").write_bytes(b"half")
    (tmp_path / "case_2.nii.gz").unlink()
    assert predict() == ["case_1", "case_2"]
    assert predict(step=0.9) == every
    assert predict(step=0.9, folds=("0",)) == every
    image = images / "case_0_0000.nii.gz"
    image.touch()  # may be another one now
    assert predict(step=0.9, folds=("0",)) == ["case_0"]
    (tmp_path / "predictions.json").write_text("{")
    assert predict(step=0.9, folds=("0",)) == every
    options = {"step": 0.9, "folds": ("0",), "probabilities": True}
    assert predict(**options) == every
    (tmp_path / f"case_1{ENDING}").unlink()
    assert predict(**options) == ["case_1"]


def test_a_stopped_prediction_goes_on(model: Path, images: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    with pytest.raises(Cancelled):
        pipeline.predict(
            model, [images], tmp_path, reporter=told.append,
            should_stop=lambda: len(finished(told)) > 0, **QUICK,
        )  # fmt: skip
    noted = json.loads((tmp_path / "predictions.json").read_text())["cases"]
    assert list(noted) == finished(told) == ["case_0"]
    again: list[Event] = []
    pipeline.predict(model, [images], tmp_path, reporter=again.append, go_on=True, **QUICK)
    assert finished(again) == ["case_1", "case_2"]


def test_members_are_read_in_turn_with_a_budget(model: Path, images: Path, tmp_path: Path) -> None:
    one = images / "case_0_0000.nii.gz"
    with pytest.raises(UsageError, match="too small") as caught:
        pipeline.predict(model, [one], tmp_path / "a", memory_bytes=10**6, **QUICK)
    assert "--memory" in caught.value.cure
    pipeline.predict(model, [one], tmp_path / "b", memory_bytes=8 * 10**9, **QUICK)
    pipeline.predict(model, [one], tmp_path / "c", **QUICK)
    (b, _), (c, _) = (read_label_map(tmp_path / k / "case_0.nii.gz") for k in "bc")
    np.testing.assert_array_equal(b, c)


def test_the_command_line(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = images / "list.txt"
    listed.write_text("case_0_0000.nii.gz\n\ncase_2_0000.nii.gz\n")
    out, library = tmp_path / "out", tmp_path / "library"
    assert main(["model", "import", str(model), "--library", str(library)]) == 0
    words = ["predict", "-m", "liver", "--library", str(library), "--list", str(listed), "-o",
             str(out), "--no-tta", "--step", "1", "--device", "cpu", "--structures",
             "liver, thing", "--memory", "8GB", "--no-confidence"]  # fmt: skip
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert str(out / "case_0.nii.gz") in printed
    assert "case_1" not in printed
    noted = json.loads((out / "predictions.json").read_text())["cases"]
    assert noted["case_0"]["confidence"] is None
    assert main([*words, "--continue"]) == 0
    assert main([*words, "--structures", "livr"]) == 2
    assert "did you mean liver?" in capsys.readouterr().err
    assert main(["predict", "-m", "livre", "--library", str(library), "-i", str(images), "-o",
                 str(out)]) == 1  # fmt: skip
    assert "did you mean liver?" in capsys.readouterr().err
    assert main(["predict", "-m", "liver", "-o", str(out)]) == 2
    for wrong in (["--step", "0"], ["--step", "2"], ["--memory", "much"], ["--memory", "0GB"]):
        with pytest.raises(SystemExit):
            main([*words, *wrong])


def test_graphs_predict_what_their_networks_do(model: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    library = ["--library", str(tmp_path / "library")]
    assert main(["model", "import", str(model), *library]) == 0
    graphs = tmp_path / "graphs"
    assert main(["model", "export", "liver", "--onnx", "-o", str(graphs), *library]) == 0
    one = [images / "case_1_0000.nii.gz"]
    (found,) = pipeline.predict(graphs, one, tmp_path / "a", backend="onnx", **QUICK)
    (wanted,) = pipeline.predict(model, one, tmp_path / "b", backend="torch", **QUICK)
    # Made weights, so that ties and half precision tell more than they would otherwise.
    same = read_label_map(found)[0] == read_label_map(wanted)[0]
    assert same.mean() > 0.95
    noted = json.loads((tmp_path / "a" / "predictions.json").read_text())["cases"]["case_1"]
    assert noted["provenance"]["backend"] == "onnx"
    assert noted["confidence"]["fold_dice"] is not None  # graphs are taken apart, too
    with pytest.raises(UsageError, match="not made for torch"):
        pipeline.predict(graphs, one, tmp_path / "c", backend="torch", **QUICK)


@pytest.mark.parametrize(
    ("given", "model", "output"),
    [("a.nii.gz", ".nii.gz", ".nii.gz"), ("a.nrrd", ".nii.gz", ".nii.gz"),
     ("a.png", ".png", ".png"), ("a.jpg", ".png", ".png"), ("a.JPG", ".nii.gz", ".png"),
     ("a.png", ".nii.gz", ".png"), ("a.tif", ".nii.gz", ".tif"), ("a.mha", ".png", ".mha")],
)  # fmt: skip
def test_pictures_stay_pictures(given: str, model: str, output: str) -> None:
    assert output_ending(CaseFiles("a", (Path(given),)), model) == output


def test_photographs_go_back_to_their_format(tmp_path: Path) -> None:
    """Three channels in one file, a 2D network, and a mirrored ensemble of two of its folds."""
    import imageio.v3 as iio

    recipe = GOLDEN["flat_image"]
    network = replace(
        a_plan().configuration("3d_fullres").network, kernel_sizes=((3, 3),) * 2,
        strides=((1, 1), (2, 2)),
    )  # fmt: skip
    plan = made_plan(recipe)
    two = replace(plan.configuration("2d"), network=network)
    plan = replace(plan, configurations={"2d": two},
                   description=replace(plan.description, file_ending=".png"))  # fmt: skip
    bundle = replace(
        a_bundle("photo", members=(Member("plain", "2d", ("0", "1")),), plan=plan),
        scores=None, fingerprint=None,
    )  # fmt: skip
    model = write_bundle(tmp_path / "photo", bundle, made_weights(bundle))
    picture = np.moveaxis(made_case(recipe).channels[:, 0], 0, -1).astype(np.uint8)
    iio.imwrite(tmp_path / "scan.png", picture)
    options = {**QUICK, "mirror": True}
    (written,) = pipeline.predict(model, [tmp_path / "scan.png"], tmp_path / "out", **options)
    assert written.name == "scan.png"
    found = iio.imread(written)
    assert (found.shape, found.dtype) == (picture.shape[:2], np.uint8)
    assert set(np.unique(found)) <= {0, 1, 2, 5}

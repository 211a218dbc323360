"""The verb `export` on files: predictions, reviewed cases, what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfseg.cli import exporting, main
from selfseg.domain.geometry import Geometry
from selfseg.domain.segments import Segment, SegmentsInPlace, algorithm_of
from selfseg.io.images import read_label_map, write_label_map
from selfseg.io.seg_nrrd_files import read_seg_nrrd, write_seg_nrrd
from selfseg.stages.export_forms import FORMATS, file_names

GRID = Geometry((4, 6, 8), (2.0, 1.5, 1.0), (1.0, 2.0, 3.0))


def label_map() -> np.ndarray:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:3, 1:4, 2:6] = 1
    labels[2, 2:5, 3:5] = 2
    return labels


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """A folder as `selfseg predict` leaves it: whole = 1 or 2, core = 2."""
    folder = tmp_path / "predictions"
    write_label_map(folder / "ännchen.nii.gz", label_map(), GRID)
    labels = {
        "foreground": [
            {"name": "whole", "values": [1, 2], "colour": None, "code": None},
            {"name": "core", "values": [2], "colour": [9, 8, 7], "code": "SCT^10200004^Liver"},
        ],
        "regions_class_order": [1, 2],
        "ignore": None,
    }
    case = {
        "file": "ännchen.nii.gz",
        "provenance": {"model": "a model"},
        "quality": {
            "dice": 0.6, "hd95_mm": 4.0,
            "structures": {"core": {"dice": 0.6, "reasons": ["predicted Dice 0.60"]}},
        },
    }  # fmt: skip
    text = {"schema": "selfseg.predictions/1", "labels": labels, "cases": {"ännchen": case}}
    (folder / "predictions.json").write_text(json.dumps(text), encoding="utf-8")
    return folder


def test_the_command_knows_every_format() -> None:
    assert exporting.FORMATS == FORMATS


def test_predictions_with_overlapping_regions(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(predictions), "-o", str(out), "-f", "seg-nrrd"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "ännchen.seg.nrrd")
    place, layers = read_seg_nrrd(out / "ännchen.seg.nrrd")
    assert [segment.name for segment in place.segments] == ["whole", "core"]
    for segment, expected in zip(place.segments, (label_map() > 0, label_map() == 2), strict=True):
        np.testing.assert_array_equal(layers[segment.layer] == segment.value, expected)
        assert (segment.algorithm, segment.algorithm_name) == ("AUTOMATIC", "a model")
    assert place.segments[1].colour == (9, 8, 7)
    assert place.segments[1].codes.type is not None
    assert place.segments[1].codes.type.value == "10200004"
    assert place.grid.mismatch(GRID) == ""

    assert main(["export", str(predictions), "-o", str(out), "-f", "report"]) == 0
    titles, row = (out / "volumes.csv").read_text(encoding="utf-8-sig").splitlines()
    assert titles.endswith("whole (ml),core (ml)")
    assert row.split(",")[:5] == ["ännchen", "done", "0.600", "4.0", "yes"]
    assert float(row.split(",")[-1]) == pytest.approx((label_map() == 2).sum() * 3 / 1000)


def test_the_models_report_goes_along(predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "report.html").write_text("<p>good</p>")
    out, model = tmp_path / "out", str(tmp_path / "model")
    status = main(["export", str(predictions), "-o", str(out), "-f", "report", "--model", model])
    assert status == 0
    assert (out / "model_report.html").read_text() == "<p>good</p>"


def test_a_cropped_segmentation_gets_the_whole_grid_of_its_scan(tmp_path: Path) -> None:
    cropped = Geometry((2, 3, 4), GRID.spacing, (3.0, 3.5, 5.0))
    place = SegmentsInPlace(cropped, 1, (Segment("a", 0, 3),), GRID)
    source = tmp_path / "c.seg.nrrd"
    write_seg_nrrd(source, place, [label_map()[1:3, 1:4, 2:6] * 3])
    assert read_seg_nrrd(source)[0].reference == GRID
    assert main(["export", str(source), "-o", str(tmp_path), "-f", "nifti"]) == 0
    labels, grid = read_label_map(tmp_path / "c.nii.gz")
    assert grid.mismatch(GRID) == ""
    inside = label_map()[1:3, 1:4, 2:6] * 3 == 3
    assert (labels[1:3, 1:4, 2:6] == 3 * inside).all()
    assert (labels == 3).sum() == inside.sum()
    assert "3 a 127 127 127 255" in (tmp_path / "c.ctbl").read_text()


def test_what_cannot_be_exported_is_said(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["-o", str(tmp_path / "out"), "-f", "stl"]
    assert main(["export", str(predictions / "no.nii.gz"), *base]) == 1
    assert "does not exist" in capsys.readouterr().err
    (predictions / "predictions.json").unlink()
    assert main(["export", str(predictions), *base]) == 1
    assert "nobody says what the values" in capsys.readouterr().err
    assert main(["export", str(predictions), *base, "--reviewed"]) == 2
    assert "nothing to export" in capsys.readouterr().err
    write_label_map(tmp_path / "x.nrrd", label_map(), GRID)
    (tmp_path / "x.nrrd").rename(tmp_path / "x.seg.nrrd")
    assert main(["export", str(tmp_path / "x.seg.nrrd"), *base]) == 1
    assert "no segmentation stored as label maps" in capsys.readouterr().err


def test_names_of_files() -> None:
    names = ["a/b", "A:b", "", "..", "x" * 300, "con."]
    made = file_names(names)
    assert made[:4] == ["a_b", "A_b_2", "segment", "segment_2"]
    assert len(made[4]) == 100
    assert made[5] == "_con"


def test_who_drew_it() -> None:
    kind, status = "DICOM.SegmentAlgorithmType", "Segmentation.Status"
    assert algorithm_of({}) == "MANUAL"
    assert algorithm_of({kind: "AUTOMATIC"}) == "AUTOMATIC"
    assert algorithm_of({kind: "AUTOMATIC", status: "notstarted"}) == "AUTOMATIC"
    assert algorithm_of({kind: "AUTOMATIC", status: "inprogress"}) == "SEMIAUTOMATIC"
    assert algorithm_of({kind: "SEMIAUTOMATIC"}) == "SEMIAUTOMATIC"

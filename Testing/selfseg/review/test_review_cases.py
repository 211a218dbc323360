"""The list of cases: the worst first, from what `selfseg predict` writes or from plain folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfseg.domain.errors import FileFormatError, ImageError, ProjectError
from selfseg.domain.labels import Label, LabelScheme
from selfseg.infer.confidence import Confidence, StructureConfidence
from selfseg.quality.judgement import CaseQuality, StructureQuality
from selfseg.review.cases import ReviewCase, image_files, is_plain_name, read_review_folder
from selfseg.stages.predictions import FileState, Prediction, Predictions

SCHEME = LabelScheme((Label("liver", (1,), (1, 2, 3), "SCT^10200004^Liver"), Label("tumour", (5,))))


def prediction(name: str, **known: Any) -> Prediction:
    return Prediction(
        f"{name}.nii.gz",
        "00",
        (FileState(f"{name}_0000.nii.gz", 1, 2),),
        {"model": "liver-ct"},
        "2026-01-01T00:00:00+00:00",
        1.0,
        **known,
    )


def quality(dice: float | None, *reasons: str) -> CaseQuality:
    structures = {
        "liver": StructureQuality(0.95, 2.0),
        "tumour": StructureQuality(dice, 9.0, None, bool(reasons), reasons),
    }
    return CaseQuality(
        dice, 9.0, bool(reasons), tuple(f"tumour: {text}" for text in reasons), True, "", structures
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Written by the code that predicts."""
    notes = Predictions(tmp_path)
    notes.labels = SCHEME
    notes.cases = {
        "good": prediction("good", quality=quality(0.93)),
        "fair": prediction("fair", quality=quality(0.80)),
        "bad": prediction("bad", quality=quality(0.61, "predicted Dice 0.61, below 0.70")),
        "missed": prediction("missed", quality=quality(None, "not found, but all have it")),
        "sure": prediction("sure", confidence=Confidence(0.1, 0.1)),
        "unsure": prediction(
            "unsure", confidence=Confidence(0.6, 0.2, None, {"liver": StructureConfidence(0.6)})
        ),
        "unknown": prediction("unknown"),
    }
    for entry in notes.cases.values():
        (tmp_path / entry.file).touch()
    notes.write()
    return tmp_path


def test_the_worst_come_first(folder: Path) -> None:
    found = read_review_folder(folder)
    assert [case.identifier for case in found.cases] == [
        "missed",
        "bad",
        "unknown",
        "fair",
        "good",
        "unsure",
        "sure",
    ]
    assert found.labels == SCHEME
    assert found.model == "liver-ct"
    missed, bad, unknown, *_ = found.cases
    assert bad.reasons == ("tumour: predicted Dice 0.61, below 0.70",)
    assert bad.is_flagged
    assert bad.worst_structure == "tumour"
    assert missed.worst_structure == "tumour"
    assert unknown.worst_structure == ""
    assert bad.images == ("bad_0000.nii.gz",)
    assert bad.label_map == folder / "bad.nii.gz"


def test_a_plain_folder_of_label_maps(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.seg.nrrd", "notes.txt", ".part-x.nii.gz", "a.b.mha"):
        (tmp_path / name).touch()
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    raw = {"labels": labels, "regions_class_order": [1, 2]}
    (tmp_path / "dataset.json").write_text(json.dumps(raw))
    found = read_review_folder(tmp_path)
    assert [case.identifier for case in found.cases] == ["a", "a.b", "b"]
    assert found.labels == LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"schema": "selfseg.plan/1"}', "another kind"),
        (
            '{"schema": "selfseg.predictions/1", "cases": {"a": {"file": "a.nii.gz"}}, '
            '"labels": {"foreground": [{}]}}',
            "names cannot be read",
        ),
    ],
)
def test_damaged_notes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "predictions.json").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_review_folder(tmp_path)


def test_notes_that_lead_out_of_the_folder_are_left_out(folder: Path) -> None:
    path = folder / "predictions.json"
    raw = json.loads(path.read_text())
    raw["cases"]["../evil"] = raw["cases"]["good"]
    raw["cases"]["bad"]["file"] = "../../etc/passwd"
    path.write_text(json.dumps(raw))
    names = [case.identifier for case in read_review_folder(folder).cases]
    assert "bad" not in names
    assert "../evil" not in names
    assert not is_plain_name("a\\b")
    assert not is_plain_name("..")
    assert is_plain_name("patient 1.2")


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="nothing to review"):
        read_review_folder(tmp_path)
    with pytest.raises(ProjectError, match="cannot be reviewed"):
        read_review_folder(tmp_path / "none")


def test_images_are_found_where_they_were_or_where_somebody_says(tmp_path: Path) -> None:
    folder, images, moved = (tmp_path / name for name in ("out", "in", "moved"))
    for place in (folder, images, moved):
        place.mkdir()
    case = ReviewCase("a", folder / "a.nii.gz", (str(images / "a_0000.nii.gz"),))
    with pytest.raises(ImageError, match="image of a was not found"):
        image_files(case, folder)
    (images / "a_0000.nii.gz").touch()
    assert image_files(case, folder) == (images / "a_0000.nii.gz",)
    with pytest.raises(ImageError, match="not found"):
        image_files(case, folder, tmp_path / "elsewhere")
    (moved / "a_0000.nii.gz").touch()
    assert image_files(case, folder, moved) == (moved / "a_0000.nii.gz",)


def test_images_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    case = ReviewCase("a", tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match="not found"):  # the label map is no image of itself
        image_files(case, tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.nrrd", "a_0000.nii.gz", "a_0001.mha", "a_0003.mha"):
        (images / name).touch()
    assert image_files(case, tmp_path) == (images / "a_0000.nii.gz", images / "a_0001.mha")
    (images / "a_0000.nii.gz").unlink()
    assert image_files(case, tmp_path) == (images / "a.nrrd",)

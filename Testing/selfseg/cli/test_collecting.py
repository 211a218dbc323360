"""`selfseg collect` as Slicer's panel calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from collect_examples import Piece, liver, standard_case, write_image, write_seg_nrrd
from selfseg.cli import main
from selfseg.io.datasets import open_dataset


def rows(text: str, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_rows_come_as_events_and_then_the_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standard_case(tmp_path / "in", "a")
    standard_case(tmp_path / "in", "b", liver_value=2)
    write_image(tmp_path / "in" / "c.nrrd")
    write_seg_nrrd(tmp_path / "in" / "c.seg.nrrd", {"Liver": Piece(liver())})
    source = str(tmp_path / "in")

    status = main(["collect", source, "--dry-run", "--progress", "json"])

    assert status == 1
    out = capsys.readouterr().out
    found = rows(out, "case_surveyed")
    assert [(row["case"], row["state"]) for row in found] == [
        ("a", "ready"), ("b", "ready"), ("c", "problem"),
    ]  # fmt: skip
    assert found[2]["problems"][0]["kind"] == "missing-structure"
    assert found[0]["segments"][0] == {
        "name": "Liver", "structure": "Liver", "code": "SCT^10200004^Liver",
        "colour": [128, 153, 178], "empty": None,
    }  # fmt: skip
    (whole,) = rows(out, "collection_surveyed")
    assert whole["structures"][1]["missing"] == ["c"]
    assert (whole["ready"], whole["problems"]) == (2, 1)

    given = ["collect", source, "-o", str(tmp_path / "out"), "--progress", "json"]
    assert main(given) == 1
    assert "--missing" in capsys.readouterr().err
    choices = ["--missing", "empty", "--rename", "spleen=Milz", "--channel", "CT", "--name", "x"]
    assert main([*given, *choices]) == 0
    (written,) = rows(capsys.readouterr().out, "dataset_written")
    assert written["cases"] == 3
    data = open_dataset(tmp_path / "out")
    assert data.description.name == "x"
    assert data.description.channel_names == ("CT",)
    assert [label.name for label in data.description.labels.foreground] == ["Liver", "Milz"]


def test_text_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    standard_case(tmp_path / "in", "a")
    assert main(["collect", str(tmp_path / "in"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "a: ready; 16 x 20 x 12 voxels, 1 channel; Liver, spleen" in out
    assert "1 of 1 cases are ready" in out


def test_a_problem_of_many_cases_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = liver().astype(np.uint8)
    for number in range(7):
        write_image(tmp_path / "images" / f"scan{number}.nii.gz")
        write_image(tmp_path / "labels" / f"scan{number}.nii.gz", labels)
    given = ["collect", str(tmp_path), "--dry-run"]
    assert main(given) == 1
    out = capsys.readouterr().out
    assert out.count("what to do:") == 1
    assert "problem of 7 cases: nothing says what the label values 1 mean [unnamed-labels]" in out
    assert "--label 1=liver" in out
    assert "in scan0, scan1, scan2, scan3, scan4 and 2 more" in out
    assert main([*given, "--label", "1=liver"]) == 0
    assert "problem" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "extra", [[], ["--dry-run", "--label", "x=y"], ["--dry-run", "--rename", "a"]]
)
def test_wrong_usage(tmp_path: Path, extra: list[str]) -> None:
    assert main(["collect", str(tmp_path), *extra]) == 2

"""Many inputs at once: one that is broken keeps no other from its segmentation."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from model_examples import a_bundle, made_weights
from selfseg import pipeline
from selfseg.domain.errors import DatasetError, ImageError
from selfseg.domain.events import CaseFailed, CaseFinished, CasesFound, Event
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import read_label_map, write_label_map
from selfseg.stages.failures import CasesFailed
from selfseg.stages.volumes import VolumeRow, structure_sizes, volume_table
from synthetic_preprocessing import GOLDEN, made_case

QUICK: dict[str, Any] = {"device": "cpu", "mirror": False, "step": 1.0}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = a_bundle("liver", "1.2")
    return write_bundle(tmp_path_factory.mktemp("m") / "x.selfseg", bundle, made_weights(bundle))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three scans in three formats, the second of them damaged."""
    folder, raw = tmp_path / "scans", made_case(GOLDEN["thick_target"])
    for name in ("a.nii.gz", "c.mha"):
        write_label_map(folder / name, raw.channels[0].astype(np.uint8), raw.geometry)
    (folder / "b.nrrd").write_bytes(b"NRRD0004\nthis is not an image")
    return folder


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    lines = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
    return {row["case"]: row for row in lines}


def test_the_others_go_on_and_the_broken_one_is_named(
    model: Path, scans: Path, tmp_path: Path
) -> None:
    told: list[Event] = []
    output = tmp_path / "out"
    with pytest.raises(CasesFailed, match="1 of 3 cases failed") as caught:
        pipeline.predict(model, [scans], output, reporter=told.append, **QUICK)
    assert "b.nrrd: the image cannot be read" in str(caught.value)
    assert "--continue" in caught.value.cure
    (found,) = [event for event in told if isinstance(event, CasesFound)]
    assert (found.identifiers, found.done) == (("a", "b", "c"), ())
    (failed,) = [event for event in told if isinstance(event, CaseFailed)]
    assert (failed.identifier, failed.what) == ("b", "the image cannot be read")
    assert [e.identifier for e in told if isinstance(e, CaseFinished)] == ["a", "c"]

    table = rows_of(output / "volumes.csv")
    assert [table[name]["state"] for name in "abc"] == ["done", "failed", "done"]
    assert "cannot be read" in table["b"]["reasons"]
    labels, grid = read_label_map(output / "a.nii.gz")
    noted = json.loads((output / "predictions.json").read_text())
    assert noted["cases"]["a"]["images"][0]["path"] == str(scans / "a.nii.gz")
    scheme = a_bundle("liver", "1.2").description.labels
    sizes = structure_sizes(labels, scheme, grid)
    assert noted["cases"]["a"]["sizes"] == pytest.approx(sizes)
    assert [entry["name"] for entry in noted["labels"]["foreground"]] == list(sizes)
    for name, size in sizes.items():
        assert float(table["a"][f"{name} (ml)"]) == pytest.approx(size, abs=1e-4)

    raw = made_case(GOLDEN["thick_target"])
    write_label_map(scans / "b.nrrd", raw.channels[0].astype(np.uint8), raw.geometry)
    again: list[Event] = []
    pipeline.predict(model, [scans], output, reporter=again.append, go_on=True, **QUICK)
    assert [e.identifier for e in again if isinstance(e, CaseFinished)] == ["b"]
    assert [row["state"] for row in rows_of(output / "volumes.csv").values()] == ["done"] * 3


def test_a_single_case_fails_with_its_own_error(model: Path, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        pipeline.predict(model, [scans / "b.nrrd"], tmp_path / "out", **QUICK)


def test_two_inputs_of_one_name(model: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "b.nrrd").unlink()
    (scans / "A.nii.gz").write_bytes((scans / "a.nii.gz").read_bytes())
    with pytest.raises(CasesFailed, match="two inputs are called"):
        pipeline.predict(model, [scans], tmp_path / "out", **QUICK)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_dicom_series_among_the_scans(model: Path, tmp_path: Path) -> None:
    from dicom_examples import write_series

    raw = made_case(GOLDEN["thick_target"])
    spacing = tuple(round(part, 4) for part in raw.geometry.spacing)
    voxels = raw.channels[0].astype(np.int16)
    scans, output = tmp_path / "scans", tmp_path / "out"
    write_series(scans / "Jane" / "CT", voxels, spacing=spacing)
    write_series(scans / "gap", voxels, spacing=spacing, leave_out=(1,))
    write_label_map(scans / "file.nii.gz", raw.channels[0].astype(np.uint8), raw.geometry)
    with pytest.raises(CasesFailed, match=r"gap: .*not at even distances"):
        pipeline.predict(model, [scans], output, **QUICK)
    assert sorted(path.name for path in output.glob("*.nii.gz")) == ["CT.nii.gz", "file.nii.gz"]
    converted = sitk.ReadImage(str(output / "images" / "CT_0000.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(converted), voxels)
    np.testing.assert_allclose(converted.GetSpacing(), spacing[::-1])
    made, grid = read_label_map(output / "CT.nii.gz")
    assert made.shape == voxels.shape
    np.testing.assert_allclose(grid.origin, (-10, 20, -30), atol=1e-4)
    told: list[Event] = []
    with pytest.raises(CasesFailed):
        pipeline.predict(model, [scans], output, reporter=told.append, go_on=True, **QUICK)
    (found,) = [event for event in told if isinstance(event, CasesFound)]
    assert found.done == ("CT", "file")


def test_an_empty_folder_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        pipeline.predict(model, [tmp_path / "empty"], tmp_path / "out", **QUICK)


def test_sizes_are_volumes_or_areas() -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[0, :2] = 1
    labels[1, 0] = 2
    scheme = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))
    grid = Geometry((2, 3, 4), (5.0, 2.0, 1.0))
    assert structure_sizes(labels, scheme, grid) == {"whole": 0.12, "core": 0.04}
    flat = Geometry((1, 3, 4), (999.0, 2.0, 1.0))
    assert structure_sizes(labels[:1], scheme, flat) == {"whole": 0.16, "core": 0.0}


def test_the_table_is_safe_to_open_in_a_spreadsheet() -> None:
    rows = [
        VolumeRow("=cmd()", {"liver": 1200.5}, dice=0.91, hd95_mm=3.21, reasons=()),
        VolumeRow("b", {"liver": 1, "spleen": 2}, dice=0.4, reasons=("liver: small", "two\nlines")),
        VolumeRow("c", failure="damaged, says ITK"),
        VolumeRow("flat", {"cell": 0.5}, unit="cm2", unknown="judged on 2 cases"),
        VolumeRow("half", dice=0.9, reasons=(), unknown="nothing is known of spleen"),
    ]
    first, *lines = csv.reader(volume_table(rows).splitlines())
    assert first[6:] == ["liver (ml)", "spleen (ml)", "cell (cm2)"]
    assert lines[0][:6] == ["'=cmd()", "done", "0.910", "3.2", "no", ""]
    assert lines[1][4:6] == ["yes", "liver: small; two lines"]
    assert lines[2][1] == "failed"
    assert lines[2][4:6] == ["", "damaged, says ITK"]
    assert lines[3][4:6] == ["unknown", "judged on 2 cases"]
    assert lines[3][6:] == ["", "", "0.5000"]
    assert lines[4][4:6] == ["no", "nothing is known of spleen"]

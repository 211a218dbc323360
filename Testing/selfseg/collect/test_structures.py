"""Segments of many cases become the structures of one data set: names, codes, overlaps, gaps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from collect_examples import (
    LIVER_CODE,
    SHAPE,
    SPLEEN,
    TUMOUR,
    Piece,
    box,
    kinds,
    liver,
    masks_of,
    standard_case,
    write_image,
    write_seg_nrrd,
)
from selfseg.collect.collecting import collect
from selfseg.collect.collection import CollectOptions
from selfseg.collect.survey import survey
from selfseg.domain.errors import DatasetError
from selfseg.io.dataset_check import check_dataset
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_label_map


def test_label_values_say_nothing_between_files(tmp_path: Path) -> None:
    standard_case(tmp_path / "in", "a", liver_value=1)
    standard_case(tmp_path / "in", "b", liver_value=2)
    collect([tmp_path / "in"], tmp_path / "out")
    for name in ("a", "b"):
        np.testing.assert_array_equal(masks_of(tmp_path / "out", name)["Liver"], liver())


def test_names_and_codes_unify_segments(tmp_path: Path) -> None:
    for name, segments in {
        "a": {"Liver": Piece(liver(), code=LIVER_CODE), "left kidney": Piece(SPLEEN, value=2)},
        "b": {"Leber": Piece(liver(), code=LIVER_CODE), "Left_Kidney": Piece(SPLEEN, value=2)},
        "c": {"LIVER": Piece(liver()), "leftkidney": Piece(SPLEEN, value=2)},
    }.items():
        write_image(tmp_path / f"{name}.nrrd")
        write_seg_nrrd(tmp_path / f"{name}.seg.nrrd", segments)
    collection = survey([tmp_path])
    assert [(s.name, s.cases) for s in collection.structures] == [("Liver", 3), ("left kidney", 3)]
    assert str(collection.structures[0].terms.type) == "SCT^10200004^Liver"
    assert "segment 'Leber' is taken as 'Liver'" in collection.cases[1].notes


@pytest.mark.parametrize(
    ("codes", "renames", "expected"),
    [
        # Slicer before 4.11 wrote SRT codes.
        (("SRT^T-62000^Liver", "SCT^10200004^Liver"), {}, {"Liver": 2}),
        (("SCT^10200004^Liver", "SCT^78961009^Spleen"), {"liver": "Liver"}, {"Liver": 2}),
        (("", "SCT^10200004^Liver"), {}, {"Liver": 2}),
    ],
)
def test_codes_that_differ(
    tmp_path: Path, codes: tuple[str, str], renames: dict[str, str], expected: dict[str, int]
) -> None:
    for name, code in zip("ab", codes, strict=True):
        write_image(tmp_path / f"{name}.nrrd")
        write_seg_nrrd(tmp_path / f"{name}.seg.nrrd", {"Liver": Piece(liver(), code=code)})
    collection = survey([tmp_path], CollectOptions(renames=renames))
    assert {s.name: s.cases for s in collection.structures} == expected
    assert {case.state for case in collection.cases} == {"ready"}


def test_segments_of_one_code_are_told_apart_by_name(tmp_path: Path) -> None:
    code = "SCT^52988006^Lesion"
    for name in "ab":
        write_image(tmp_path / f"{name}.nrrd")
        pieces = {"lesion 1": Piece(liver(), code=code), "lesion 2": Piece(SPLEEN, 0, 2, code)}
        write_seg_nrrd(tmp_path / f"{name}.seg.nrrd", pieces)
    collection = survey([tmp_path])
    assert [s.name for s in collection.structures] == ["lesion 1", "lesion 2"]


def test_overlapping_segments_become_regions(tmp_path: Path) -> None:
    for name, tumour in (("a", TUMOUR), ("b", np.roll(TUMOUR, 1, axis=2))):
        write_image(tmp_path / "in" / f"{name}.nrrd")
        write_seg_nrrd(
            tmp_path / "in" / f"{name}.seg.nrrd",
            {"tumour": Piece(tumour, layer=1), "liver": Piece(liver(), layer=0)},
        )
    collect([tmp_path / "in"], tmp_path / "out")
    assert check_dataset(tmp_path / "out", lambda event: None) == ()
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "liver": [2, 3], "tumour": [1, 3]}
    assert content["regions_class_order"] == [2, 3]
    found = masks_of(tmp_path / "out", "b")
    np.testing.assert_array_equal(found["liver"], liver())
    np.testing.assert_array_equal(found["tumour"], np.roll(TUMOUR, 1, axis=2))
    scheme = open_dataset(tmp_path / "out").description.labels
    assert scheme.foreground[0].colour == (128, 153, 178)


def test_a_touch_of_overlap_goes_to_the_smaller_structure(tmp_path: Path) -> None:
    spleen = SPLEEN.copy()
    big = box((0, 9), (0, 15), (0, 11))
    shared = big & spleen
    assert shared.sum() > 0
    big[8, 14, 10] = True
    thin = box((8, 11), (14, 20), (10, 16))
    assert (big & thin).sum() == 1
    assert thin.sum() > 100
    write_image(tmp_path / "in" / "a.nrrd")
    write_seg_nrrd(
        tmp_path / "in" / "a.seg.nrrd", {"big": Piece(big), "thin": Piece(thin, layer=1)}
    )
    collect([tmp_path / "in"], tmp_path / "out")
    found = masks_of(tmp_path / "out", "a")
    np.testing.assert_array_equal(found["thin"], thin)
    np.testing.assert_array_equal(found["big"], big & ~thin)
    record = json.loads((tmp_path / "out" / "collected" / "a.json").read_text())
    assert "1 voxels that 'big' and 'thin' share" in " ".join(record["notes"])


def test_an_empty_segment_is_annotated_and_a_missing_one_is_a_question(tmp_path: Path) -> None:
    nothing = np.zeros(SHAPE, bool)
    for name, segments in {
        "a": {"liver": Piece(liver()), "tumour": Piece(TUMOUR, layer=1)},
        "b": {"liver": Piece(liver()), "tumour": Piece(nothing, layer=1)},
        "c": {"liver": Piece(liver())},
    }.items():
        write_image(tmp_path / "in" / f"{name}.nrrd")
        write_seg_nrrd(tmp_path / "in" / f"{name}.seg.nrrd", segments)
    asked = survey([tmp_path / "in"])
    assert kinds(asked) == {"a": [], "b": [], "c": ["missing-structure"]}
    assert "add an empty segment 'tumour'" in asked.cases[2].problems[0].cure
    assert asked.structures[1].missing == ("c",)
    with pytest.raises(DatasetError, match="structure 'tumour' is not segmented"):
        collect([tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out").exists()

    def taken(missing: str) -> Path:
        out = tmp_path / missing
        collect([tmp_path / "in"], out, options=CollectOptions(missing=missing))
        return out

    assert len(open_dataset(taken("exclude")).cases) == 2
    assert not masks_of(taken("empty"), "c")["tumour"].any()
    unknown = open_dataset(taken("ignore"))
    assert unknown.description.labels.ignore == 4
    labels, _ = read_label_map(unknown.case("c").label)
    np.testing.assert_array_equal(labels == 4, ~liver())
    assert set(np.unique(read_label_map(unknown.case("b").label)[0])) == {0, 1}


SLIPS = CollectOptions(
    structures=("Spleen", "livr"), excluded=("case_1", "ghost"), renames={"pancreas": "kidney"}
)


def test_names_that_nothing_has_are_told_and_stop_the_writing(tmp_path: Path) -> None:
    standard_case(tmp_path / "in", "case-1")
    standard_case(tmp_path / "in", "case-2")
    looked = survey([tmp_path / "in"], SLIPS)
    assert [note for note in looked.notes if "has no effect" in note] == [
        "--exclude ghost has no effect: no case is called so; there are case_1, case_2",
        "--structure livr has no effect: no segment is called so; did you mean Liver?",
        "--rename pancreas has no effect: no segment is called so; there are Liver, spleen",
    ]
    with pytest.raises(DatasetError, match="no case is called 'ghost'"):
        collect([tmp_path / "in"], tmp_path / "out", options=SLIPS)
    options = replace(SLIPS, excluded=("case_2",))
    with pytest.raises(DatasetError, match="no segment is called 'livr'") as told:
        collect([tmp_path / "in"], tmp_path / "out", options=options)
    assert told.value.cure == "did you mean Liver?"
    assert not (tmp_path / "out").exists()


def test_a_renamed_segment_is_known_by_its_new_name(tmp_path: Path) -> None:
    standard_case(tmp_path / "in", "a")
    options = CollectOptions(structures=("Leber",), renames={"liver": "Leber"})
    collection = collect([tmp_path / "in"], tmp_path / "out", options=options)
    assert [structure.name for structure in collection.structures] == ["Leber"]
    assert not [note for note in collection.notes if "has no effect" in note]

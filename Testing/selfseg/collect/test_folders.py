"""Folders of scans and segmentations become data sets whose labels lie on the anatomy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from collect_examples import (
    LIVER_CODE,
    OBLIQUE,
    ORIGIN,
    SHAPE,
    SPACING,
    SPLEEN,
    TUMOUR,
    Piece,
    as_image,
    grey,
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
from selfseg.collect.writing import write_dataset
from selfseg.domain.errors import Cancelled, DatasetError
from selfseg.io.dataset_check import check_dataset
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_case


def pairs(folder: Path) -> None:
    standard_case(folder, "case-1")
    standard_case(folder, "case-2", liver_value=2)


def folder_per_case(folder: Path) -> None:
    for name in ("case-1", "case-2"):
        standard_case(folder / name, "x")
        (folder / name / "x.nrrd").rename(folder / name / "CT.nrrd")
        (folder / name / "x.seg.nrrd").rename(folder / name / "Segmentation.seg.nrrd")


def two_folders(folder: Path) -> None:
    for number in (1, 2):
        standard_case(folder, f"case-{number}")
        for kind, ending in (("images", ".nrrd"), ("labels", ".seg.nrrd")):
            (folder / kind).mkdir(exist_ok=True)
            name = f"case-{number}{ending}"
            (folder / name).rename(folder / kind / name)


def numbered(folder: Path) -> None:
    pairs(folder)
    for name in ("case-1", "case-2"):
        (folder / f"{name}.nrrd").rename(folder / f"{name}_0000.nrrd")


def prefixed(folder: Path) -> None:
    for number in (1, 2):
        standard_case(folder, f"case-{number}")
        (folder / f"case-{number}.nrrd").rename(folder / f"img_case-{number}.nrrd")
        old = folder / f"case-{number}.seg.nrrd"
        old.rename(folder / f"seg_case-{number}.seg.nrrd")


def oblique(folder: Path) -> None:
    for name in ("case-1", "case-2"):
        standard_case(folder, name, direction=OBLIQUE)


def cropped(folder: Path) -> None:
    pairs(folder)
    for name in ("case-1", "case-2"):
        write_seg_nrrd(
            folder / f"{name}.seg.nrrd",
            {"Liver": Piece(liver(), code=LIVER_CODE), "spleen": Piece(SPLEEN, value=2)},
            start=(1, 2, 3),
            stop=(11, 18, 14),
        )


@pytest.mark.parametrize(
    "layout", [pairs, folder_per_case, two_folders, numbered, prefixed, oblique, cropped]
)
def test_every_layout_gives_the_same_data_set(
    tmp_path: Path, layout: Callable[[Path], None]
) -> None:
    layout(tmp_path / "in")

    collection = collect([tmp_path / "in"], tmp_path / "out")

    assert list(kinds(collection).values()) == [[], []]
    assert {name.replace("-", "_") for name in kinds(collection)} == {"case_1", "case_2"}
    assert check_dataset(tmp_path / "out", lambda event: None) == ()
    for case in collection.cases:
        found = masks_of(tmp_path / "out", case.identifier)
        np.testing.assert_array_equal(found["Liver"], liver())
        np.testing.assert_array_equal(found["spleen"], SPLEEN)
        data = open_dataset(tmp_path / "out")
        read = read_case(data.case(case.identifier), None)
        np.testing.assert_array_equal(read.channels[0], grey().astype(np.float32))


def test_another_grid_is_resampled_and_said(tmp_path: Path) -> None:
    """The label map is twice as fine and turned: it must land where the anatomy is."""
    image = as_image(grey(), direction=OBLIQUE)
    sitk_folder = tmp_path / "in"
    sitk_folder.mkdir()
    sitk.WriteImage(image, str(sitk_folder / "a.nrrd"))
    fine = as_image(
        np.zeros([2 * n for n in SHAPE], np.uint8),
        spacing=[s / 2 for s in SPACING],
        origin=image.TransformContinuousIndexToPhysicalPoint((-0.25, -0.25, -0.25)),
        direction=OBLIQUE,
    )
    truth = as_image(liver().astype(np.uint8), direction=OBLIQUE)
    label = sitk.Resample(truth, fine, sitk.Transform(), sitk.sitkNearestNeighbor)
    turned = sitk.PermuteAxes(sitk.Flip(label, (True, False, True)), (2, 0, 1))
    sitk.WriteImage(turned, str(sitk_folder / "a-label.nrrd"))
    (sitk_folder / "a-label.ctbl").write_text("# names\n1 liver 10 20 30 255\n")
    collection = collect([sitk_folder], tmp_path / "out")
    assert "resampled onto the image" in " ".join(collection.cases[0].notes)
    np.testing.assert_array_equal(masks_of(tmp_path / "out", "a")["liver"], liver())


def test_a_turned_grid_is_copied_voxel_by_voxel(tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.nii.gz")
    labels = liver().astype(np.uint8)
    labels[SPLEEN] = 7
    turned = sitk.PermuteAxes(sitk.Flip(as_image(labels), (True, False, True)), (1, 2, 0))
    sitk.WriteImage(turned, str(tmp_path / "in" / "a_seg.nii.gz"))
    options = CollectOptions(label_names={1: "liver", 7: "spleen"})
    collection = collect([tmp_path / "in"], tmp_path / "out", options=options)
    assert "copied into their place" in " ".join(collection.cases[0].notes)
    found = masks_of(tmp_path / "out", "a")
    np.testing.assert_array_equal(found["liver"], liver() & ~SPLEEN)
    np.testing.assert_array_equal(found["spleen"], SPLEEN)


def test_several_channels(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        for index, kind in enumerate(("t2", "flair")):
            write_image(tmp_path / "in" / f"{name}_{kind}.nii.gz", grey(100 * index))
        write_seg_nrrd(tmp_path / "in" / f"{name}_seg.seg.nrrd", {"liver": Piece(liver())})
    collection = collect([tmp_path / "in"], tmp_path / "out")
    assert collection.channels == ("flair", "t2")
    case = read_case(open_dataset(tmp_path / "out").case("p1"), None)
    assert case.channels[0].min() == 100
    assert case.channels[1].min() == 0
    chosen = survey([tmp_path / "in"], CollectOptions(channels=("T2",)))
    assert [image.voxels.path.name for image in chosen.cases[0].images] == ["p1_t2.nii.gz"]


def test_a_channel_on_another_grid_is_interpolated(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32), SHAPE)
    write_image(tmp_path / "in" / "a_0000.nrrd", np.array(ramp))
    shifted = (ORIGIN[0] + 0.35, *ORIGIN[1:])
    write_image(tmp_path / "in" / "a_0001.nrrd", np.array(ramp), origin=shifted)
    write_seg_nrrd(tmp_path / "in" / "a.seg.nrrd", {"liver": Piece(liver())})
    collection = collect([tmp_path / "in"], tmp_path / "out")
    assert "interpolated onto the grid" in " ".join(collection.cases[0].notes)
    case = read_case(open_dataset(tmp_path / "out").case("a"), None)
    np.testing.assert_allclose(case.channels[1][..., 1:], ramp[..., 1:] - 0.5, atol=1e-4)


def test_known_data_sets_are_taken_as_they_are(tmp_path: Path) -> None:
    pairs(tmp_path / "in")
    collect([tmp_path / "in"], tmp_path / "first")
    again = collect([tmp_path / "first"], tmp_path / "second")
    assert [s.name for s in again.structures] == ["Liver", "spleen"]
    assert str(again.structures[0].terms.type) == "SCT^10200004^Liver"
    for name in ("case_1", "case_2"):
        found = masks_of(tmp_path / "second", name)
        np.testing.assert_array_equal(found["Liver"], liver())


def apart(folder: Path) -> None:
    write_image(folder / "a.nrrd")
    place = {"origin": (5000.0, 0.0, 0.0), "reference": False}
    write_seg_nrrd(folder / "a.seg.nrrd", {"liver": Piece(liver())}, **place)


def two_readers(folder: Path) -> None:
    write_image(folder / "a.nrrd")
    for reader in ("x", "y"):
        write_seg_nrrd(folder / f"a_{reader}.seg.nrrd", {"liver": Piece(liver())})


def no_name_and_one_grid(folder: Path) -> None:
    for name in ("a", "b"):
        write_image(folder / f"{name}.nrrd")
    for name in ("u", "v"):
        write_seg_nrrd(folder / f"{name}.seg.nrrd", {"liver": Piece(liver())})


def name_against_geometry(folder: Path) -> None:
    for name, x in (("a", 0.0), ("b", 3.0)):
        write_image(folder / f"{name}.nrrd", origin=(x, 0, 0))
        other = {"a": 3.0, "b": 0.0}[name]
        path = folder / f"{name}.seg.nrrd"
        write_seg_nrrd(path, {"liver": Piece(liver())}, origin=(other, 0, 0))


def unnamed(folder: Path) -> None:
    write_image(folder / "a.nrrd")
    write_image(folder / "a_label.nrrd", liver().astype(np.uint8))


def many_images(folder: Path) -> None:
    for name in ("CT", "CT_filtered", "dose"):
        write_image(folder / "case" / f"{name}.nrrd", origin=(len(name), 0, 0))
    path = folder / "case" / "s.seg.nrrd"
    write_seg_nrrd(path, {"liver": Piece(liver())}, reference=False)


def broken(folder: Path) -> None:
    standard_case(folder, "a")
    (folder / "a.nrrd").write_bytes(b"NRRD0004\nnothing\n\n")


def conflicting(folder: Path) -> None:
    other = LIVER_CODE.replace("10200004^Liver", "78961009^Spleen")
    for name, code in (("a", LIVER_CODE), ("b", LIVER_CODE), ("c", other)):
        write_image(folder / f"{name}.nrrd")
        write_seg_nrrd(folder / f"{name}.seg.nrrd", {"Liver": Piece(liver(), code=code)})


def doubled(folder: Path) -> None:
    write_image(folder / "a.nrrd")
    pieces = {"liver": Piece(liver()), "Liver ": Piece(SPLEEN, value=2)}
    write_seg_nrrd(folder / "a.seg.nrrd", pieces)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (apart, {"a": ["apart"]}),
        (two_readers, {"a_x": ["ambiguous-pair"], "a_y": ["ambiguous-pair"]}),
        (no_name_and_one_grid, {"u": ["ambiguous-pair"], "v": ["ambiguous-pair"]}),
        (name_against_geometry, {"a": ["ambiguous-pair"], "b": ["ambiguous-pair"]}),
        (unnamed, {"a": ["unnamed-labels"]}),
        (many_images, {"case": ["ambiguous-pair"]}),
        (broken, {"a": ["unreadable"]}),
        (conflicting, {"c": ["conflicting-codes"]}),
        (doubled, {"a": ["doubled-segment"]}),
    ],
)
def test_nothing_is_guessed(
    tmp_path: Path, layout: Callable[[Path], None], expected: dict[str, list[str]]
) -> None:
    layout(tmp_path)
    collection = survey([tmp_path])
    found = {name: list(dict.fromkeys(k)) for name, k in kinds(collection).items() if k}
    for name, problems in expected.items():
        assert problems[0] in found[name], collection.cases
    for case in collection.cases:
        assert all(problem.cure for problem in case.problems)


def test_geometry_pairs_what_no_name_pairs(tmp_path: Path) -> None:
    for name, x in (("a", 0.0), ("b", 3.0)):
        write_image(tmp_path / f"{name}.nrrd", origin=(x, 0, 0))
        path = tmp_path / f"{'vu'[name == 'a']}.seg.nrrd"
        crop = {"start": (1, 2, 3), "stop": (8, 13, 9)}
        write_seg_nrrd(path, {"liver": Piece(liver())}, origin=(x, 0, 0), **crop)
    collection = survey([tmp_path])
    paired = {c.identifier: c.images[0].voxels.path.name for c in collection.cases if c.images}
    assert paired == {"u": "a.nrrd", "v": "b.nrrd"}


def test_the_reference_geometry_chooses_among_images(tmp_path: Path) -> None:
    write_image(tmp_path / "case" / "other.nrrd", origin=(1, 2, 3))
    write_image(tmp_path / "case" / "CT.nrrd")
    path = tmp_path / "case" / "s.seg.nrrd"
    write_seg_nrrd(path, {"liver": Piece(liver())}, start=(1, 2, 3), stop=(8, 13, 9))
    collection = survey([tmp_path])
    assert collection.cases[0].images[0].voxels.path.name == "CT.nrrd"
    assert "on whose grid" in collection.cases[0].notes[0]


def test_a_written_case_is_left_alone_and_a_changed_one_is_not(tmp_path: Path) -> None:
    pairs(tmp_path / "in")
    collection = survey([tmp_path / "in"])
    events: list[str] = []

    def names(event: object) -> None:
        if type(event).__name__ == "CaseFinished":
            events.append(event.identifier)  # type: ignore[attr-defined]

    write_dataset(collection, tmp_path / "out", reporter=names)
    write_dataset(collection, tmp_path / "out", reporter=names)
    assert events == ["case_1", "case_2"]
    write_seg_nrrd(
        tmp_path / "in" / "case-2.seg.nrrd",
        {"Liver": Piece(TUMOUR, code=LIVER_CODE), "spleen": Piece(SPLEEN, layer=1)},
    )
    collect([tmp_path / "in"], tmp_path / "out", reporter=names)
    assert events == ["case_1", "case_2", "case_2"]
    np.testing.assert_array_equal(masks_of(tmp_path / "out", "case_2")["Liver"], TUMOUR)
    one = replace(collection, cases=collection.cases[:1])
    write_dataset(one, tmp_path / "out")
    assert [case.identifier for case in open_dataset(tmp_path / "out").cases] == ["case_1"]
    assert not (tmp_path / "out" / "labelsTr" / "case_2.nrrd").exists()


def test_a_stopped_collect_goes_on(tmp_path: Path) -> None:
    pairs(tmp_path / "in")
    collection = survey([tmp_path / "in"])
    done: list[str] = []

    def watch(event: object) -> None:
        if type(event).__name__ == "CaseFinished":
            done.append(event.identifier)  # type: ignore[attr-defined]

    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        write_dataset(collection, out, reporter=watch, should_stop=lambda: len(done) == 1)
    assert done == ["case_1"]
    assert not (out / "dataset.json").exists()
    with pytest.raises(Cancelled):
        write_dataset(collection, tmp_path / "early", should_stop=lambda: True)
    write_dataset(collection, tmp_path / "early")
    write_dataset(collection, out, reporter=watch)
    assert done == ["case_1", "case_2"]
    assert len(open_dataset(out).cases) == 2


def test_somebody_elses_folder_is_not_written_into(tmp_path: Path) -> None:
    pairs(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("mine")
    with pytest.raises(DatasetError, match="something of this name"):
        collect([tmp_path / "in"], tmp_path / "out")

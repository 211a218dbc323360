"""Segments between files and the scene, against Slicer's own reader; drafts and their crashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib.review import saving
from SelfConfiguringSegmentationLib.review.background import Background
from SelfConfiguringSegmentationLib.review.case_files import (
    LoadedCase,
    load_case,
    read_images,
    read_segmentation,
)
from SelfConfiguringSegmentationLib.review.case_nodes import CaseNodes, prepare
from SelfConfiguringSegmentationLib.review.seg_nrrd import (
    read_segments,
    write_segments,
)
from SelfConfiguringSegmentationLib.review.segments import (
    Description,
    Segment,
    Segments,
    changed_structures,
    packed,
    segments_of_labels,
)

from selfseg.domain.errors import ImageError, ModelError, SelfsegError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.io.nrrd_files import write_nrrd
from selfseg.review.cases import image_files, read_review_folder
from selfseg.review.log import ReviewLog
from slicer_module.review_folders import (
    REGIONS,
    SCHEME,
    SHAPE,
    label_map,
    write_image,
    write_predictions,
)

ADA = saving.Reviewer("Ada", "test 1")


def load(folder: Path, reviewer: str = "Ada") -> LoadedCase:
    review = read_review_folder(folder)
    case = review.cases[0]
    return load_case(
        case,
        image_files(case, folder),
        Description(review.labels),
        draft=saving.draft_file(folder, case.identifier, reviewer),
        reviewed=None,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_predictions(tmp_path, {"case": 0.8})


@pytest.mark.parametrize("scheme", [SCHEME, REGIONS], ids=["labels", "regions"])
def test_slicers_own_reader_finds_what_was_written(
    scene: Any, tmp_path: Path, scheme: LabelScheme
) -> None:
    folder = write_predictions(tmp_path, {"case": 0.8}, scheme=scheme)
    loaded = load(folder)
    path = tmp_path / "written.seg.nrrd"
    write_segments(path, loaded.shown)
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(scheme.foreground)
    for index, label in enumerate(scheme.foreground):
        identifier = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(identifier)
        assert segment.GetName() == label.name
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, nodes.volumes[0])
        np.testing.assert_array_equal(mask > 0, np.isin(label_map(0, scheme.values), label.values))
    if scheme is SCHEME:
        first = segmentation.GetNthSegment(0)
        assert tuple(round(part * 255) for part in first.GetColor()) == (200, 100, 50)


@pytest.mark.parametrize("scheme", [SCHEME, REGIONS], ids=["labels", "regions"])
def test_through_scene_and_file_nothing_changes(
    scene: Any, tmp_path: Path, scheme: LabelScheme
) -> None:
    loaded = load(write_predictions(tmp_path, {"case": 0.8}, scheme=scheme))
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    back = nodes.segments()
    assert changed_structures(loaded.prediction, back) == {}
    assert [segment.name for segment in back.segments] == [x.name for x in scheme.foreground]
    path = tmp_path / "again.seg.nrrd"
    write_segments(path, back)
    again = read_segments(path)
    assert changed_structures(loaded.prediction, again) == {}
    assert not again.grid.mismatch(loaded.images[0].grid)
    assert again.segments[0].terminology == back.segments[0].terminology


def test_cropped_and_shifted_layers_land_where_they_are(scene: Any, folder: Path) -> None:
    loaded = load(folder)
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    segmentation = nodes.segmentation.GetSegmentation()
    wanted = nodes.segments()
    segmentation.CollapseBinaryLabelmaps(True)
    image = segmentation.GetNthSegment(0).GetRepresentation("Binary labelmap")
    # As effects do: the layer only spans what is segmented.
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, image, image
    )
    extent = [2, 9, 1, 11, 0, 7]
    cropped = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.CopyImage(image, cropped, extent)
    image.DeepCopy(cropped)
    assert image.GetExtent() == tuple(extent)
    found = nodes.segments()
    for before, after in zip(wanted.segments, found.segments, strict=True):
        expected = wanted.mask(before).copy()
        keep = np.zeros_like(expected)
        keep[0:8, 1:12, 2:10] = True
        np.testing.assert_array_equal(found.mask(after), expected & keep)


def test_another_grid_in_the_editor_is_resampled(scene: Any, folder: Path) -> None:
    loaded = load(folder)
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    wanted = nodes.segments()
    segmentation = nodes.segmentation.GetSegmentation()
    image = segmentation.GetNthSegment(0).GetRepresentation("Binary labelmap")
    fine = slicer.vtkOrientedImageData()
    fine.DeepCopy(image)
    spacing = [part / 2 for part in image.GetSpacing()]
    fine.SetSpacing(*spacing)
    fine.SetDimensions(*(2 * number for number in image.GetDimensions()))
    fine.AllocateScalars(3, 1)
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, fine, fine, False
    )
    image.DeepCopy(fine)
    found = nodes.segments()
    assert found.grid == loaded.images[0].grid
    for before, after in zip(wanted.segments, found.segments, strict=True):
        first, second = wanted.mask(before), found.mask(after)
        assert 2 * (first & second).sum() / (first.sum() + second.sum()) > 0.8


def test_new_renamed_and_removed_segments(scene: Any, folder: Path) -> None:
    loaded = load(folder)
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    segmentation = nodes.segmentation.GetSegmentation()
    before = nodes.state()
    segmentation.GetNthSegment(0).SetName("Leber")
    assert nodes.state() != before
    segmentation.RemoveSegment("Segment_2")
    segmentation.AddEmptySegment("extra", "vessel")
    saved = saving.approve(folder, loaded, nodes.segments(), "", ADA, None)
    assert saved.decision.verdict == "edited"
    assert saved.decision.changes == {"Leber": 1.0, "tumour": 0.0, "vessel": 0.0}
    stored = read_segments(folder / "reviewed" / "case.seg.nrrd")
    assert [(x.name, x.made) for x in stored.segments] == [
        ("Leber", "SEMIAUTOMATIC"),
        ("vessel", "MANUAL"),
    ]


def test_everything_is_taken_out_of_the_scene_again(
    scene: Any, folder: Path, node_ids: Any
) -> None:
    before = node_ids()
    loaded = load(folder)
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    assert len(node_ids()) > len(before) + 2
    nodes.remove()
    nodes.remove()
    assert {name for name in node_ids() - before if "ColorTable" not in name} == set()


def test_pictures_with_colours(scene: Any, tmp_path: Path) -> None:
    import SimpleITK as sitk

    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(np.uint8)
    labels = np.zeros((9, 7), np.uint8)
    labels[2:5, 1:4] = 1
    folder = tmp_path / "out"
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "cell.png"))
    (folder / "images").mkdir()
    sitk.WriteImage(
        sitk.GetImageFromArray(pixels, isVector=True), str(folder / "images" / "cell.png")
    )
    review = read_review_folder(folder)
    loaded = load_case(
        review.cases[0],
        image_files(review.cases[0], folder),
        Description(LabelScheme((Label("nucleus", (1,)),))),
        draft=tmp_path / "none",
        reviewed=None,
    )
    nodes = CaseNodes(scene, loaded, prepare(loaded))
    assert nodes.volumes[0].IsA("vtkMRMLVectorVolumeNode")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(nodes.volumes[0])[0], pixels)
    found = nodes.segments()
    np.testing.assert_array_equal(found.mask(found.segments[0])[0], labels == 1)
    write_segments(tmp_path / "x.seg.nrrd", found)
    assert not read_segments(tmp_path / "x.seg.nrrd").grid.mismatch(loaded.images[0].grid)


def test_channels_in_one_file(tmp_path: Path) -> None:
    import SimpleITK as sitk

    voxels = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    image = sitk.GetImageFromArray(np.moveaxis(voxels, 0, -1), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "both.nrrd"))
    first, second = read_images(tmp_path / "both.nrrd")
    assert (first.name, second.name) == ("both.nrrd 1", "both.nrrd 2")
    np.testing.assert_array_equal(second.voxels, voxels[1])


def test_without_names_values_are_names(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii.gz", label_map(0))
    found = read_segmentation(path, None)
    assert not found.named
    assert [segment.name for segment in found.segments] == ["label 1", "label 5"]


def test_what_cannot_be_reviewed_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.nii.gz", label_map(0))
    with pytest.raises(ModelError, match="does not name"):
        read_segmentation(path, Description(LabelScheme((Label("liver", (1,)),))))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageError):
        read_images(path)
    broken = tmp_path / "b.seg.nrrd"
    broken.write_bytes(b"NRRD0004\nsizes: 3 3\n")
    with pytest.raises(ImageError, match="cannot be read"):
        read_segments(broken)
    plain = tmp_path / "c.seg.nrrd"
    write_nrrd(plain, label_map(0), Geometry(SHAPE, (1.0, 1.0, 1.0)))
    with pytest.raises(ImageError, match="no segments"):
        read_segments(plain)


def test_values_are_kept_where_they_can_be_and_unique_in_any_case() -> None:
    grid = Geometry((2, 2, 2), (1.0, 1.0, 1.0))
    layer = np.zeros((2, 2, 2), np.uint8)
    layer[0] = 1
    names = [Segment("a", "a", 0, 1), Segment("b", "b", 1, 1), Segment("c", "c", 2, 0)]
    found = packed(Segments(grid, (layer, 1 - layer, np.full((2, 2, 2), 9)), tuple(names)))
    assert [segment.value for segment in found.segments] == [1, 2, 3]
    assert len(found.layers) == 1
    both = packed(Segments(grid, (layer, layer), tuple(names[:2])))
    assert len(both.layers) == 2


def test_big_label_values_survive(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[0, 0, :3] = 300
    grid = Geometry(SHAPE, (1.0, 2.0, 3.0))
    given = segments_of_labels(labels, grid, Description(LabelScheme((Label("odd", (300,)),))))
    write_segments(tmp_path / "x.seg.nrrd", given)
    found = read_segments(tmp_path / "x.seg.nrrd")
    assert found.segments[0].value == 300
    np.testing.assert_array_equal(found.layers[0], labels)


def test_a_crash_before_the_log_leaves_draft_and_prediction(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(folder)
    edited = replace(
        loaded.shown, layers=(np.where(loaded.shown.layers[0] == 5, 0, loaded.shown.layers[0]),)
    )
    draft = saving.save_draft(folder, "case", edited, "Ada")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewLog, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        saving.approve(folder, loaded, edited, "", ADA, None)
    assert draft.is_file()
    assert ReviewLog.of(folder).decisions() == ()
    again = load(folder)
    assert again.origin == "draft"
    assert changed_structures(again.prediction, again.shown) == {"tumour": 0.0}
    assert load(folder, "Bo").origin == "prediction"
    monkeypatch.undo()
    saving.approve(folder, again, again.shown, "", ADA, None)
    assert not draft.exists()


def test_a_damaged_draft_is_said(folder: Path) -> None:
    draft = saving.draft_file(folder, "case", "Ada")
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"NRRD0004\n")
    with pytest.raises(ImageError, match="cannot be read"):
        load(folder)


def test_names_of_reviewers_make_file_names(tmp_path: Path) -> None:
    assert saving.draft_file(tmp_path, "a", "Dr. Ä/../x").name == "a.Dr_Ä_x.seg.nrrd"
    assert saving.draft_file(tmp_path, "a", " ").name == "a.reviewer.seg.nrrd"


def test_errors_in_the_background_become_words() -> None:
    said: list[SelfsegError] = []
    work = Background()

    def full() -> None:
        raise OSError(28, "No space left on device", "x.nrrd")

    work.start("writing", full, lambda result: None, said.append)
    with pytest.raises(RuntimeError, match="still busy"):
        work.start("more", full, lambda result: None, said.append)
    _until_it_ends(work)
    assert "No space left on device: x.nrrd" in str(said[0])
    assert not work.busy
    work.start("wrong", lambda: 1 / 0, lambda result: None, said.append)
    with pytest.raises(ZeroDivisionError):
        _until_it_ends(work)
    assert "ZeroDivisionError" in str(said[1])
    assert not work.busy


def _until_it_ends(work: Background) -> None:
    while not work.poll():
        pass

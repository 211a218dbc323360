"""From nodes of the scene to a data set: pairs, grids, transforms, overlaps, flips."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentationLib.train.collecting import CollectRun, Source, SurveyRun
from SelfConfiguringSegmentationLib.train.pairing import find_pairs
from SelfConfiguringSegmentationLib.train.scene_collection import check_case, export_steps
from SelfConfiguringSegmentationLib.train.survey import Choices

from slicer_module.train_scenes import (
    BALL,
    BUD,
    add_cropped,
    add_overlapping,
    add_scan,
    add_segmentation,
    in_process_starter,
)

SCENE = (Source("scene"),)
STANDARD = Choices()


def finish(run: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not run.poll():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return run.finish()


def survey(scene: Any, choices: Choices = STANDARD) -> Any:
    return finish(SurveyRun(SCENE, choices, scene=scene, start=in_process_starter))


def dataset_of(scene: Any, folder: Path, choices: Choices = STANDARD) -> Path:
    run = CollectRun(
        SCENE,
        survey(scene, choices),
        choices,
        folder / "dataset",
        scratch=folder / "scratch",
        start=in_process_starter,
    )
    written = finish(run)
    assert not (folder / "scratch").exists()
    return written


def label_map(dataset: Path, case: str) -> sitk.Image:
    (path,) = (dataset / "labelsTr").glob(f"{case}.*")
    return sitk.ReadImage(str(path))


def label_value(dataset: Path, name: str) -> Any:
    return json.loads((dataset / "dataset.json").read_text())["labels"][name]


def test_the_named_source_geometry_comes_first(scene: Any) -> None:
    first, masks = add_scan("one", 1)
    add_scan("twin", 2)
    add_segmentation(first, masks)
    (pair,) = find_pairs(scene)
    assert pair.images == (first,)
    assert (pair.case, pair.problem, pair.notes) == ("one", None, ())


def test_without_a_name_the_grid_decides_and_says_so(scene: Any) -> None:
    near, masks = add_scan("near", 1)
    far = np.diag([1.0, 1.0, 1.0, 1.0])
    far[:3, 3] = 500
    add_scan("far", 2, far)
    add_segmentation(near, masks, refer=False)
    (pair,) = find_pairs(scene)
    assert pair.images == (near,)
    assert "at its place" in pair.notes[0]


def test_several_that_fit_are_a_problem_until_a_folder_tells_them_apart(scene: Any) -> None:
    first, masks = add_scan("one", 1)
    second, _ = add_scan("two", 2)
    node = add_segmentation(first, masks, refer=False)
    (pair,) = find_pairs(scene)
    assert pair.images == ()
    assert pair.problem is not None
    assert pair.problem.kind == "ambiguous-pair"
    assert "source geometry" in pair.problem.cure
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient 2")
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), second)
    for member in (second, node):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(member), folder)
    (pair,) = find_pairs(scene)
    assert pair.images == (second,)
    assert "same folder" in pair.notes[0]


def test_two_segmentations_of_one_scan_are_a_problem_until_one_is_left_out(scene: Any) -> None:
    volume, masks = add_scan("scan", 1)
    add_segmentation(volume, masks)
    add_segmentation(volume, masks)
    rows = survey(scene).survey.rows
    assert [row.problems[0].kind for row in rows] == ["ambiguous-pair"] * 2
    found = survey(scene, Choices(excluded=frozenset({"scan_2"})))
    assert {row.case: row.state for row in found.survey.rows} == {
        "scan": "ready",
        "scan_2": "excluded",
    }


def test_a_folder_of_the_subject_hierarchy_limits_the_cases(scene: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "training")
    for name in ("in", "out"):
        volume, masks = add_scan(name, 1)
        node = add_segmentation(volume, masks)
        if name == "in":
            for member in (volume, node):
                hierarchy.SetItemParent(hierarchy.GetItemByDataNode(member), folder)
    assert [pair.case for pair in find_pairs(scene, folder_item=folder)] == ["in"]
    assert len(find_pairs(scene)) == 2


def test_channels_are_found_by_name_on_the_same_grid(scene: Any) -> None:
    volume, masks = add_scan("patient T1", 1)
    other, _ = add_scan("patient FLAIR", 2)
    add_segmentation(volume, masks)
    (pair,) = find_pairs(scene, channels=("FLAIR", "T1"))
    assert pair.images == (other, volume)
    (pair,) = find_pairs(scene, channels=("T1", "T2"))
    assert pair.problem is not None
    assert pair.problem.kind == "channels"


def test_surfaces_alone_cannot_be_taken(scene: Any) -> None:
    volume, masks = add_scan("one", 1)
    node = add_segmentation(volume, masks)
    node.CreateClosedSurfaceRepresentation()
    names = slicer.vtkSegmentationConverter
    node.GetSegmentation().SetSourceRepresentationName(
        names.GetSegmentationClosedSurfaceRepresentationName()
    )
    node.GetSegmentation().RemoveRepresentation(
        names.GetSegmentationBinaryLabelmapRepresentationName()
    )
    (pair,) = find_pairs(scene)
    case = check_case(pair)
    assert case.problem is not None
    assert case.problem.kind == "not-a-labelmap"


def test_every_form_lands_on_the_anatomy(scene: Any, tmp_path: Path) -> None:
    """Values permuted, segments overlapping, cropped, moved: names decide, voxels stay in place."""
    truth = {}
    plain, masks = add_scan("plain", 1)
    add_segmentation(plain, masks)
    truth["plain"] = masks
    swapped, masks = add_scan("swapped", 2)
    add_segmentation(swapped, {BUD: masks[BUD], BALL: masks[BALL]})
    truth["swapped"] = masks
    cropped, masks = add_scan("cropped", 3)
    add_cropped(cropped, masks)
    truth["cropped"] = masks
    moved, masks = add_scan("moved", 4)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 10, -20, 30
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    moved.SetAndObserveTransformNodeID(transform.GetID())
    add_segmentation(moved, masks)
    truth["moved"] = masks
    layered, masks = add_scan("layered", 5)
    add_overlapping(layered, masks)
    truth["layered"] = masks

    found = survey(scene)
    assert [row.state for row in found.survey.rows] == ["ready"] * 5
    assert {s.name: s.cases for s in found.survey.structures} == {BALL: 5, BUD: 5}
    dataset = dataset_of(scene, tmp_path)
    for case, expected in truth.items():
        labels = sitk.GetArrayFromImage(label_map(dataset, case))
        for name, mask in expected.items():
            np.testing.assert_array_equal(labels == label_value(dataset, name), mask, case)
    # Where it lies: the volume's own corner, in LPS.
    image = label_map(dataset, "plain")
    corner = np.array(image.GetOrigin()) * (-1, -1, 1)
    np.testing.assert_allclose(corner, [12.5, -31.25, 7.0], atol=1e-4)


def test_segments_that_share_voxels_become_regions(scene: Any, tmp_path: Path) -> None:
    whole: dict[str, Any] = {}
    for number in (1, 2):
        volume, masks = add_scan(f"scan{number}", number)
        whole[f"scan{number}"] = {"organ": masks[BALL] | masks[BUD], "lesion": masks[BUD]}
        add_overlapping(volume, whole[f"scan{number}"])
    dataset = dataset_of(scene, tmp_path)
    labels = sitk.GetArrayFromImage(label_map(dataset, "scan1"))
    for name, mask in whole["scan1"].items():
        values = label_value(dataset, name)
        values = values if isinstance(values, list) else [values]
        np.testing.assert_array_equal(np.isin(labels, values), mask, name)


def test_another_geometry_is_resampled_and_said(scene: Any, tmp_path: Path) -> None:
    volume, masks = add_scan("scan", 1)
    node = add_segmentation(volume, masks)
    fine, _ = add_scan("fine", 1, size=24)
    half = np.eye(4)
    half[:3, :3] *= 2
    matrix = slicer.util.arrayFromVTKMatrix(_matrix(volume)) @ half
    coarse = slicer.util.addVolumeFromArray(
        slicer.util.arrayFromVolume(fine)[::2, ::2, ::2].copy(), matrix, "coarse"
    )
    scene.RemoveNode(fine)
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), coarse.GetID())
    (row,) = survey(scene).survey.rows
    assert row.images == ("coarse",)
    assert any("resampled" in note or "grid" in note for note in row.notes), row.notes
    dataset = dataset_of(scene, tmp_path)
    labels = sitk.GetArrayFromImage(label_map(dataset, "coarse"))
    expected = masks[BALL][::2, ::2, ::2]
    found = labels == label_value(dataset, BALL)
    overlap = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    assert overlap > 0.85
    assert any(
        2 * (np.flip(found, axis) & expected).sum() < 0.5 * (found.sum() + expected.sum())
        for axis in range(3)
    )


def test_a_non_linear_transform_is_refused_with_its_cure(scene: Any) -> None:
    import vtk

    volume, masks = add_scan("bent", 1)
    node = add_segmentation(volume, masks)
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    bent = vtk.vtkThinPlateSplineTransform()
    points, targets = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in ((0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10), (9, 9, 9)):
        points.InsertNextPoint(corner)
        targets.InsertNextPoint([value * 1.3 + (value > 8) for value in corner])
    bent.SetSourceLandmarks(points)
    bent.SetTargetLandmarks(targets)
    bent.SetBasisToR()
    transform.SetAndObserveTransformFromParent(bent)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node.SetAndObserveTransformNodeID(transform.GetID())
    (row,) = survey(scene).survey.rows
    assert row.state == "problem"
    assert row.problems[0].kind == "non-linear-transform"
    assert "arden" in row.problems[0].cure


def test_a_structure_missing_in_a_case_is_a_decision(scene: Any) -> None:
    for number in (1, 2):
        volume, masks = add_scan(f"scan{number}", number)
        add_segmentation(volume, masks if number == 1 else {BALL: masks[BALL]})
    found = survey(scene)
    states = {row.case: row.state for row in found.survey.rows}
    assert states == {"scan1": "ready", "scan2": "problem"}
    assert found.survey.structures[1].missing == ("scan2",)
    assert survey(scene, Choices(missing="empty")).survey.ready == 2
    assert survey(scene, Choices(missing="exclude")).survey.ready == 1


def test_voxels_are_copied_in_pieces(scene: Any, tmp_path: Path) -> None:
    volume, masks = add_scan("scan", 1)
    add_segmentation(volume, masks)
    cases = [check_case(pair) for pair in find_pairs(scene)]
    shares = list(export_steps(cases, ("CT",), tmp_path))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    voxels = np.load(tmp_path / "scan" / "image_0.npy", allow_pickle=False)
    np.testing.assert_array_equal(voxels, slicer.util.arrayFromVolume(volume))


def test_a_scan_removed_before_it_was_copied(scene: Any, tmp_path: Path) -> None:
    volume, masks = add_scan("scan", 1)
    add_segmentation(volume, masks)
    found = survey(scene)
    scene.RemoveNode(volume)
    run = CollectRun(
        SCENE, found, Choices(), tmp_path / "d", scratch=tmp_path / "s", start=in_process_starter
    )
    with pytest.raises(Exception, match="no longer in the scene"):
        finish(run)
    run.end_now()
    assert not (tmp_path / "s").exists()


def _matrix(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_names_that_went_with_a_source_do_not_stop_the_writing(scene: Any, tmp_path: Path) -> None:
    add_segmentation(*add_scan("one", 1))
    add_segmentation(*add_scan("two", 2))
    choices = Choices(excluded=frozenset({"two", "gone"}), structures=(BALL, "liver"))
    folder = dataset_of(scene, tmp_path, choices)
    assert [path.name for path in (folder / "labelsTr").iterdir()] == ["one.nrrd"]
    content = json.loads((folder / "dataset.json").read_text())
    assert [name for name in content["labels"] if name != "background"] == [BALL]

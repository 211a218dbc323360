"""Segmentations of the scene exported, reopened and compared voxel by voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from SelfConfiguringSegmentationLib import child_run
from SelfConfiguringSegmentationLib.export.run import ExportSettings, SceneExport
from SelfConfiguringSegmentationLib.export.snapshot import take_snapshot

from selfseg.domain.errors import Cancelled, ImageError
from slicer_module.children import real_starter
from slicer_module.conftest import OBLIQUE, asymmetric_voxels
from slicer_module.in_process import InProcessJob
from slicer_module.made_segmentations import COLOURS, cropped_image, make_segmentation

LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical "
    "Structure~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


WITH_A_REAL_CHILD = (
    "test_overlapping_segments_go_into_several_label_maps_and_it_is_said",
    "test_cancelling_leaves_nothing",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.function.__name__ not in WITH_A_REAL_CHILD:
        monkeypatch.setattr(child_run, "Job", InProcessJob)


def mask(*box: slice) -> np.ndarray:
    made = np.zeros((12, 20, 16), np.uint8)
    made[box] = 1
    made[0, 0, 0] = 0
    return made


FIRST = mask(slice(2, 5), slice(3, 9), slice(4, 10))
FIRST[4, 3:5, 4] = 0  # no symmetry
APART = mask(slice(8, 12), slice(15, 20), slice(0, 3))
OVERLAPPING = mask(slice(4, 7), slice(6, 12), slice(8, 14))


def export(node: Any, target: Path, **settings: Any) -> tuple[tuple[Path, ...], list[str]]:
    said: list[str] = []
    run = SceneExport(
        node,
        target,
        start=real_starter,
        settings=ExportSettings(**settings),
        on_event=lambda event: said.append(event["text"]) if event["event"] == "notice" else None,
    )
    run.wait()
    return run.finish(), said


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (Z, Y, X), and where the file says its corners lie (RAS)."""
    image = sitk.ReadImage(str(path))
    size = image.GetSize()
    corners = [(0, 0, 0), (size[0] - 1, 0, 0), (0, size[1] - 1, 0), (0, 0, size[2] - 1)]
    points = np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners])
    return sitk.GetArrayFromImage(image), points * [-1, -1, 1]


def corners_of(volume: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    x, y, z = volume.GetImageData().GetDimensions()
    indices = [(0, 0, 0, 1), (x - 1, 0, 0, 1), (0, y - 1, 0, 1), (0, 0, z - 1, 1)]
    return np.array([(slicer.util.arrayFromVTKMatrix(matrix) @ index)[:3] for index in indices])


def table_of(path: Path) -> Any:
    """A colour table as Slicer's own storage node reads it."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode")
    storage = slicer.vtkMRMLColorTableStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_label_maps_lie_on_the_scan_with_a_colour_table(
    scene: Any, volume: Any, tmp_path: Path, ending: str
) -> None:
    node = make_segmentation(scene, volume, {"first one": FIRST, "apart": APART}, shared=True)
    target = tmp_path / "Leber ü 肝" / f"case{ending}"
    target.parent.mkdir()
    (written,), said = export(node, target)
    assert written == target
    assert said == []
    voxels, corners = read(written)
    np.testing.assert_array_equal(voxels, FIRST + 2 * APART)
    np.testing.assert_allclose(corners, corners_of(volume), atol=1e-3)
    table = table_of(target.with_name("case.ctbl"))
    assert [table.GetColorName(value) for value in (1, 2)] in (
        ["first one", "apart"],
        ["first_one", "apart"],
    )
    colour = [0.0] * 4
    table.GetColor(2, colour)
    np.testing.assert_allclose(colour[:3], np.array(COLOURS[1]) / 255, atol=1e-6)


def test_overlapping_segments_go_into_several_label_maps_and_it_is_said(
    scene: Any, volume: Any, tmp_path: Path
) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST, "apart": APART, "over": OVERLAPPING})
    (written,), said = export(node, tmp_path, format="nifti")
    assert written.name == "segmentation_layer1.nii.gz"
    assert any("overlap" in text and "2 label maps" in text for text in said)
    assert any("1 to 3" in text for text in said)  # each segment's own value was 1
    np.testing.assert_array_equal(read(written)[0], FIRST + 2 * APART)
    np.testing.assert_array_equal(read(tmp_path / "segmentation_layer2.nii.gz")[0], 3 * OVERLAPPING)
    second = (tmp_path / "segmentation_layer2.ctbl").read_text()
    assert "3 over" in second
    assert "first" not in second


def test_masks_one_per_segment(scene: Any, volume: Any, tmp_path: Path) -> None:
    masks = {"a/b": FIRST, "A:B": OVERLAPPING, "nothing": FIRST * 0}
    node = make_segmentation(scene, volume, masks, name="who?")
    (folder,), _ = export(node, tmp_path, format="masks")
    assert folder == tmp_path / "who_"
    for name, expected in zip(("a_b", "A_B_2", "nothing"), masks.values(), strict=True):
        voxels, corners = read(folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(voxels, expected)
        np.testing.assert_allclose(corners, corners_of(volume), atol=1e-3)


def test_seg_nrrd_opens_in_slicer_with_everything_it_had(
    scene: Any, volume: Any, tmp_path: Path
) -> None:
    masks = {"Leber": FIRST, "apart": APART, "over": OVERLAPPING, "empty": FIRST * 0}
    node = make_segmentation(scene, volume, masks, terminology={"Leber": LIVER})
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetTag("DICOM.SegmentAlgorithmType", "AUTOMATIC")
    segment.SetTag("DICOM.SegmentAlgorithmName", "a model")
    (written,), _ = export(node, tmp_path / "ü.seg.nrrd")
    back = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(written))
    assert storage.ReadData(back)
    segmentation = back.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    for index, (name, expected) in enumerate(masks.items()):
        found = segmentation.GetNthSegment(index)
        assert found.GetName() == name
        np.testing.assert_allclose(found.GetColor(), np.array(COLOURS[index]) / 255, atol=1e-5)
        if expected.any():
            identifier = segmentation.GetNthSegmentID(index)
            array = slicer.util.arrayFromSegmentBinaryLabelmap(back, identifier, volume)
            np.testing.assert_array_equal(array, expected)
    value = vtk.mutable("")
    assert segmentation.GetNthSegment(0).GetTag("DICOM.SegmentAlgorithmName", value)
    assert str(value) == "a model"
    assert "SCT^10200004^Liver" in segmentation.GetNthSegment(0).GetTerminology()
    assert segmentation.GetNumberOfLayers() == 2
    voxels, corners = read(written)
    assert voxels.shape[:3] == FIRST.shape
    np.testing.assert_allclose(corners, corners_of(volume), atol=1e-3)


def moved(scene: Any, *nodes: Any) -> np.ndarray:
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    matrix[:3, 3] = 10, -20, 30
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return matrix


def surface_bounds(segment: np.ndarray, to_ras: np.ndarray) -> np.ndarray:
    """(2, 3): LPS bounds of the outer borders of the voxels."""
    borders = [
        to_ras @ [x + dx, y + dy, z + dz, 1]
        for z, y, x in np.argwhere(segment)
        for dz in (-0.5, 0.5)
        for dy in (-0.5, 0.5)
        for dx in (-0.5, 0.5)
    ]
    points = np.array(borders)[:, :3] * [-1, -1, 1]
    return np.stack([points.min(axis=0), points.max(axis=0)])


def mesh_bounds(path: Path) -> np.ndarray:
    reader = {".stl": vtk.vtkSTLReader, ".obj": vtk.vtkOBJReader}[path.suffix]()
    reader.SetFileName(str(path))
    reader.Update()
    return np.array(reader.GetOutput().GetBounds()).reshape(3, 2).T


@pytest.mark.parametrize("under_transform", [False, True])
def test_surfaces_lie_around_the_voxels_in_lps_and_transforms_are_hardened(
    scene: Any, volume: Any, tmp_path: Path, under_transform: bool
) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST, "apart": APART})
    world = moved(scene, node, volume) if under_transform else np.eye(4)
    expected = {
        name: surface_bounds(one, world @ OBLIQUE)
        for name, one in (("first", FIRST), ("apart", APART))
    }
    (folder,), _ = export(node, tmp_path, format="stl")
    for name, bounds in expected.items():
        path = folder / f"{name}.stl"
        # A voxel's corner is cut off, and smoothing moves a surface by a part of a voxel.
        np.testing.assert_allclose(mesh_bounds(path), bounds, atol=0.8)
        assert b"SPACE=LPS" in path.read_bytes()[:80]
    (written,), _ = export(node, tmp_path, format="obj")
    both = np.stack(list(expected.values()))
    outer = np.stack([both[:, 0].min(axis=0), both[:, 1].max(axis=0)])
    np.testing.assert_allclose(mesh_bounds(written), outer, atol=0.8)
    assert (tmp_path / "segmentation.mtl").read_text().count("newmtl") == 2
    (written,), _ = export(node, tmp_path, format="glb")
    reader = vtk.vtkGLTFReader()
    reader.SetFileName(str(written))
    reader.Update()
    bounds = [0.0] * 6
    reader.GetOutput().GetBounds(bounds)
    found = np.array(bounds).reshape(3, 2).T * 1000  # metres, y up
    np.testing.assert_allclose(found[:, 0], outer[:, 0], atol=0.8)
    np.testing.assert_allclose(found[:, 1], outer[:, 2], atol=0.8)
    np.testing.assert_allclose(found[::-1, 2], -outer[:, 1], atol=0.8)


def test_the_surface_agrees_with_slicers_own(scene: Any, volume: Any, tmp_path: Path) -> None:
    ball = (
        np.sum(((np.indices((12, 20, 16)).T - [6, 10, 8]) / [4, 7, 5]) ** 2, axis=-1).T < 1
    ).astype(np.uint8)
    node = make_segmentation(scene, volume, {"ball": ball})
    (folder,), _ = export(node, tmp_path, format="stl")
    node.CreateClosedSurfaceRepresentation()
    slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsClosedSurfaceRepresentationToFiles(
        str(tmp_path), node, None, "STL", True, 1.0, False
    )
    (theirs,) = tmp_path.glob("*.stl")
    np.testing.assert_allclose(mesh_bounds(folder / "ball.stl"), mesh_bounds(theirs), atol=0.6)

    def volume_of(path: Path) -> float:
        reader = vtk.vtkSTLReader()
        reader.SetFileName(str(path))
        mass = vtk.vtkMassProperties()
        mass.SetInputConnection(reader.GetOutputPort())
        return float(mass.GetVolume())

    assert volume_of(folder / "ball.stl") == pytest.approx(volume_of(theirs), rel=0.06)


def test_label_maps_of_a_moved_pair_fit_the_scans_file(
    scene: Any, volume: Any, tmp_path: Path
) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST})
    moved(scene, node, volume)
    (written,), _ = export(node, tmp_path, format="nifti")
    voxels, corners = read(written)
    np.testing.assert_array_equal(voxels, FIRST)
    np.testing.assert_allclose(corners, corners_of(volume), atol=1e-3)


def test_a_segmentation_under_another_transform_is_put_where_it_is_seen(
    scene: Any, tmp_path: Path
) -> None:
    volume = slicer.util.addVolumeFromArray(asymmetric_voxels(), np.eye(4), "scan")
    node = make_segmentation(scene, volume, {"first": FIRST})
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 2, -1, 3  # whole voxels
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    (written,), _ = export(node, tmp_path, format="nifti")
    np.testing.assert_array_equal(read(written)[0], np.roll(FIRST, (3, -1, 2), axis=(0, 1, 2)))


def test_a_bending_transform_is_refused(scene: Any, volume: Any, tmp_path: Path) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST})
    bend = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    grid = vtk.vtkThinPlateSplineTransform()
    points = [vtk.vtkPoints() for _ in range(2)]
    for point in ((0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10), (5, 5, 5)):
        points[0].InsertNextPoint(point)
        points[1].InsertNextPoint(point if point != (5, 5, 5) else (7, 5, 5))
    grid.SetSourceLandmarks(points[0])
    grid.SetTargetLandmarks(points[1])
    bend.SetAndObserveTransformToParent(grid)
    node.SetAndObserveTransformNodeID(bend.GetID())
    with pytest.raises(ImageError, match="bends"):
        export(node, tmp_path, format="stl")


def test_another_scan_gives_the_grid(scene: Any, tmp_path: Path) -> None:
    volume = slicer.util.addVolumeFromArray(asymmetric_voxels(), np.eye(4), "scan")
    other = slicer.util.addVolumeFromArray(
        np.zeros((6, 10, 8), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]), "coarse"
    )
    node = make_segmentation(scene, volume, {"first": FIRST})
    (written,), _ = export(node, tmp_path, format="nrrd", volume=other)
    np.testing.assert_array_equal(read(written)[0], FIRST[::2, ::2, ::2])


def test_layers_of_different_grids(scene: Any, volume: Any, tmp_path: Path) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST, "apart": APART})
    turned = OBLIQUE @ np.diag(
        [-1.0, 1.0, 1.0, 1.0]
    )  # the same voxels, counted from the other side
    turned[:3, 3] = (OBLIQUE @ [15, 0, 0, 1])[:3]
    kind = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segment = node.GetSegmentation().GetNthSegment(1)
    segment.RemoveRepresentation(kind)
    segment.AddRepresentation(kind, cropped_image(APART[:, :, ::-1], turned))
    (written,), _ = export(node, tmp_path, format="nifti")
    np.testing.assert_array_equal(read(written)[0], FIRST + 2 * APART)


def test_a_slice_is_a_slice(scene: Any, tmp_path: Path) -> None:
    volume = slicer.util.addVolumeFromArray(asymmetric_voxels()[:1], OBLIQUE, "slice")
    node = make_segmentation(scene, volume, {"first": FIRST[2:3]})
    (written,), _ = export(node, tmp_path, format="nifti")
    np.testing.assert_array_equal(read(written)[0], FIRST[2:3])
    (folder,), _ = export(node, tmp_path, format="stl")
    assert (folder / "first.stl").is_file()


def test_the_table_of_volumes(scene: Any, volume: Any, tmp_path: Path) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST, "over": OVERLAPPING})
    (written,), _ = export(node, tmp_path, format="report")
    titles, row = written.read_text(encoding="utf-8-sig").splitlines()
    values = dict(zip(titles.split(","), row.split(","), strict=True))
    assert float(values["first (ml)"]) == pytest.approx(
        FIRST.sum() * 0.7 * 0.9 * 2.5 / 1000, abs=1e-4
    )
    assert float(values["over (ml)"]) > 0


def test_what_cannot_be_exported_is_named(scene: Any, volume: Any, tmp_path: Path) -> None:
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    with pytest.raises(ImageError, match="no segments"):
        take_snapshot(empty)
    surface = make_segmentation(scene, volume, {"first": FIRST})
    surface.CreateClosedSurfaceRepresentation()
    kinds = slicer.vtkSegmentationConverter
    surface.GetSegmentation().SetSourceRepresentationName(
        kinds.GetSegmentationClosedSurfaceRepresentationName()
    )
    surface.GetSegmentation().RemoveRepresentation(
        kinds.GetSegmentationBinaryLabelmapRepresentationName()
    )
    with pytest.raises(ImageError, match="stored as surfaces"):
        take_snapshot(surface)
    nothing = make_segmentation(scene, volume, {"first": FIRST * 0})
    (written,), _ = export(nothing, tmp_path, format="nifti")
    assert read(written)[0].shape == FIRST.shape
    assert not read(written)[0].any()


def test_cancelling_leaves_nothing(
    scene: Any, volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    node = make_segmentation(scene, volume, {"first": FIRST})
    run = SceneExport(node, tmp_path / "out", start=real_starter)
    assert not run.poll()
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_the_scene_is_only_read(scene: Any, volume: Any, tmp_path: Path, node_ids: Any) -> None:
    node = make_segmentation(scene, volume, {"first": FIRST})
    before, changed = node_ids(), node.GetMTime()
    export(node, tmp_path, format="nifti")
    assert node_ids() == before
    assert node.GetMTime() == changed

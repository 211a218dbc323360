"""Regions, sequences, transforms, 2D, surfaces: what scenes hold beside a plain volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from SelfConfiguringSegmentationLib.segment.roi import voxel_box
from SelfConfiguringSegmentationLib.segment.settings import SegmentationSettings

from selfseg.domain.errors import Cancelled, ImageError
from slicer_module.children import write_model
from slicer_module.conftest import OBLIQUE, asymmetric_voxels
from slicer_module.workers import fake_segmenting, wait_until


@pytest.fixture(scope="module")
def logic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One fake worker that thresholds, for all stories."""
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    library = tmp_path_factory.mktemp("models") / "library"
    made = SelfConfiguringSegmentationLogic(segmenting=fake_segmenting("label", library))
    yield made
    made.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def mask_of(node: Any, volume: Any, index: int = 0) -> np.ndarray:
    identifier = node.GetSegmentation().GetNthSegmentID(index)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0


def transform_of(scene: Any, matrix: np.ndarray) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(node, matrix)
    return node


def turned(degrees: float, shift: tuple[float, float, float] = (10, 20, 30)) -> np.ndarray:
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift
    return matrix


def roi_of(scene: Any, centre: Any, size: Any, matrix: np.ndarray | None = None) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    node.SetCenter(*map(float, centre))
    node.SetSize(*map(float, size))
    if matrix is not None:
        copy = vtk.vtkMatrix4x4()
        copy.DeepCopy(matrix.ravel())
        node.SetAndObserveObjectToNodeMatrix(copy)
    return node


def inside(roi: Any, volume: Any) -> np.ndarray:
    """Brute force: which voxel centres lie in the region, in world coordinates."""
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        volume.GetParentTransformNode(), None, to_world
    )
    found = np.zeros((12, 20, 16), dtype=bool)
    for k, j, i in np.ndindex(found.shape):
        point = ijk_to_ras.MultiplyPoint((i, j, k, 1.0))[:3]
        found[k, j, i] = roi.IsPointInROIWorld(to_world.TransformPoint(point))
    return found


@pytest.mark.parametrize("roi_turn", [0.0, 35.0])
@pytest.mark.parametrize("volume_turn", [None, 25.0])
def test_the_box_holds_every_voxel_of_the_region(
    scene: Any, volume: Any, roi_turn: float, volume_turn: float | None
) -> None:
    if volume_turn is not None:
        volume.SetAndObserveTransformNodeID(transform_of(scene, turned(volume_turn)).GetID())
    world = np.eye(4) if volume_turn is None else turned(volume_turn)
    centre = (world @ OBLIQUE @ [8.0, 10.0, 6.0, 1.0])[:3]
    roi = roi_of(scene, centre, (7.0, 5.0, 9.0), turned(roi_turn, tuple(centre)))
    box = voxel_box(roi, volume)
    found = np.argwhere(inside(roi, volume))
    assert len(found) > 10
    first, last = found.min(axis=0), found.max(axis=0) + 1
    assert all(box[axis][0] <= first[axis] and box[axis][1] >= last[axis] for axis in range(3))
    assert np.prod([b - a for a, b in box]) < found.size * 40


def test_a_region_along_the_axes_gives_its_very_voxels(scene: Any) -> None:
    volume = slicer.util.addVolumeFromArray(asymmetric_voxels(), np.diag([1.0, 2.0, 3.0, 1.0]))
    roi = roi_of(scene, (5.0, 10.0, 9.0), (4.0, 8.0, 6.0))
    assert voxel_box(roi, volume) == ((2, 5), (3, 8), (3, 8))
    roi.SetCenter(-100.0, 0.0, 0.0)
    with pytest.raises(ImageError, match="holds no voxel"):
        voxel_box(roi, volume)
    roi.SetCenter(5.0, 10.0, 9.0)
    roi.SetSize(0.0, 1.0, 1.0)
    with pytest.raises(ImageError, match="without a size"):
        voxel_box(roi, volume)


def test_a_region_limits_what_is_found(scene: Any, model: Path, logic: Any) -> None:
    volume = slicer.util.addVolumeFromArray(asymmetric_voxels(), np.diag([1.0, 2.0, 3.0, 1.0]))
    roi = roi_of(scene, (5.0, 10.0, 21.0), (4.0, 8.0, 6.0))
    expected = np.zeros((12, 20, 16), dtype=bool)
    expected[6:9, 3:8, 3:8] = asymmetric_voxels()[6:9, 3:8, 3:8] > 1000
    node = logic.segment(volume, model, roiNode=roi)
    np.testing.assert_array_equal(mask_of(node, volume), expected)
    assert expected.any()


def test_oblique_under_a_transform_lands_on_the_anatomy(
    scene: Any, volume: Any, model: Path, logic: Any
) -> None:
    transform = transform_of(scene, turned(40.0))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node = logic.segment(volume, model, settings=SegmentationSettings(closed_surface=True))
    np.testing.assert_array_equal(mask_of(node, volume), asymmetric_voxels() > 1000)
    assert node.GetTransformNodeID() == transform.GetID()
    # In the world: the surface encloses the voxels of the volume, and no flipped ones.
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    voxels = np.argwhere(asymmetric_voxels() > 1000)[:, ::-1]
    world = turned(40.0) @ OBLIQUE @ np.c_[voxels, np.ones(len(voxels))].T
    # Slicer takes the bounds of the transformed box: they enclose, and are not much larger.
    assert (world[:3].min(axis=1) >= bounds[::2] - 2.0).all()
    assert (world[:3].max(axis=1) <= bounds[1::2] + 2.0).all()


def test_surfaces_are_as_slicers_own(scene: Any, volume: Any, model: Path, logic: Any) -> None:
    node = logic.segment(volume, model, settings=SegmentationSettings(closed_surface=True))
    identifier = node.GetSegmentation().GetNthSegmentID(0)
    ours, theirs = vtk.vtkPolyData(), vtk.vtkPolyData()
    assert node.GetClosedSurfaceRepresentation(identifier, ours)
    node.RemoveClosedSurfaceRepresentation()
    node.CreateClosedSurfaceRepresentation()
    node.GetClosedSurfaceRepresentation(identifier, theirs)
    np.testing.assert_allclose(ours.GetBounds(), theirs.GetBounds(), atol=0.05)
    assert measured(ours) == pytest.approx(measured(theirs), rel=0.01)
    normals = [s.GetPointData().GetNormals().GetTuple(0) for s in (ours, theirs)]
    assert np.dot(*normals) > 0.9


def measured(surface: Any) -> float:
    """The enclosed volume in mm³."""
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    return float(mass.GetVolume())


def test_adding_to_a_segmentation_under_another_transform(
    scene: Any, volume: Any, model: Path, logic: Any
) -> None:
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.SetAndObserveTransformNodeID(transform_of(scene, turned(90.0)).GetID())
    logic.segment(volume, model, segmentationNode=other, addToSegmentation=True)
    image = other.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    world = turned(90.0) @ slicer.util.arrayFromVTKMatrix(matrix)
    np.testing.assert_allclose(world, OBLIQUE, atol=1e-9)
    bent = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    other.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(ImageError, match="cannot be added"):
        logic.segment(volume, model, segmentationNode=other, addToSegmentation=True)
    assert other.GetSegmentation().GetNumberOfSegments() == 1


def test_a_single_slice(scene: Any, model: Path, logic: Any) -> None:
    voxels = np.zeros((1, 9, 7), dtype=np.int16)
    voxels[0, 5, 2] = 2000
    volume = slicer.util.addVolumeFromArray(voxels, np.diag([0.5, 0.5, 1.0, 1.0]))
    node = logic.segment(volume, model, settings=SegmentationSettings(closed_surface=True))
    assert np.argwhere(mask_of(node, volume)).tolist() == [[0, 5, 2]]


def test_structures_that_were_not_asked_for_are_left_out(
    scene: Any, volume: Any, tmp_path: Path, logic: Any
) -> None:
    settings = SegmentationSettings(structures=("bright",))
    node = logic.segment(volume, write_model(tmp_path / "m"), settings=settings)
    assert node.GetSegmentation().GetNumberOfSegments() == 1


def sequence_of(scene: Any, frames: int) -> tuple[Any, Any]:
    """A browser that plays a sequence of volumes, and the proxy that shows them."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    for number in range(frames):
        frame = slicer.util.addVolumeFromArray(
            (asymmetric_voxels() + 500 * number).astype(np.int16), OBLIQUE, "frame"
        )
        sequence.SetDataNodeAtValue(frame, str(number))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser, browser.GetProxyNode(sequence)


@pytest.fixture
def sequences(scene: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Slicer's module Sequences, as far as its logic."""
    from slicer_module.stand_ins.application import Module

    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    monkeypatch.setattr(slicer.modules, "sequences", Module(logic), raising=False)
    return logic


def test_every_frame_of_a_sequence(scene: Any, sequences: Any, model: Path, logic: Any) -> None:
    browser, proxy = sequence_of(scene, 3)
    events: list[dict[str, Any]] = []
    node = logic.segment(proxy, model, allFrames=True, onEvent=events.append)
    assert node.IsA("vtkMRMLSegmentationNode")
    assert browser.IsProxyNodeID(node.GetID())
    for number in (2, 0, 1):
        browser.SetSelectedItemNumber(number)
        sequences.UpdateProxyNodesFromSequences(browser)
        expected = asymmetric_voxels() + 500 * number > 1000
        np.testing.assert_array_equal(mask_of(node, proxy), expected)
    stages = {event["stage"] for event in events if event["event"] == "progress"}
    assert stages == {f"frame {number} of 3" for number in (1, 2, 3)}
    done = [event["done"] for event in events if event["event"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == 3
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReferenceID(role) == proxy.GetID()


def test_a_sequence_that_is_cancelled_leaves_nothing(
    scene: Any, sequences: Any, model: Path, logic: Any, node_ids: Callable[[], set[str]]
) -> None:
    _, proxy = sequence_of(scene, 3)
    before = node_ids()
    run = logic.startSegmentation(proxy, model, allFrames=True)
    wait_until(lambda: run.case is not None, run.poll, 20.0)
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()
    assert node_ids() == before


def test_an_ordinary_volume_has_no_frames(
    volume: Any, sequences: Any, model: Path, logic: Any
) -> None:
    with pytest.raises(ImageError, match="shows no sequence"):
        logic.startSegmentation(volume, model, allFrames=True)

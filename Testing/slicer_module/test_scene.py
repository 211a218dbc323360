"""Volumes to arrays and label maps to segmentations, on nodes of slicer-core."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from SelfConfiguringSegmentationLib import scene as scene_module
from SelfConfiguringSegmentationLib import terminology
from SelfConfiguringSegmentationLib.models import read_model
from SelfConfiguringSegmentationLib.segment import case, exchange, placing, segments
from SelfConfiguringSegmentationLib.segment.steps import to_the_end

from selfseg.domain.errors import ImageError, ModelError
from selfseg.domain.labels import Label, LabelScheme
from slicer_module.children import write_model
from slicer_module.conftest import OBLIQUE, asymmetric_voxels

SCHEME = LabelScheme(
    (
        Label("liver", (1,), colour=(200, 100, 50), code="SCT^10200004^Liver"),
        Label("odd thing", (7,)),
        Label("not there", (9,)),
    )
)


def label_map() -> np.ndarray:
    labels = np.zeros((12, 20, 16), dtype=np.uint8)
    labels[1:4, 2:9, 3:5] = 1
    labels[8:, 15:, 0:7] = 7
    return labels


def segment_named(node: Any, name: str) -> Any:
    segmentation = node.GetSegmentation()
    return segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))


def mask_of(node: Any, name: str, volume: Any) -> np.ndarray:
    identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)


def written(nodes: list[Any], folder: Path) -> list[np.ndarray]:
    """The arrays that the worker would read."""
    return [np.load(path) for path in to_the_end(exchange.write_arrays(nodes, folder))]


def ras_of_grid(grid: Any, index: tuple[int, int, int]) -> np.ndarray:
    """Where a grid of selfseg's says a voxel (i, j, k) lies, in RAS."""
    steps = np.array(grid.direction) * np.array(grid.spacing[::-1])
    point = np.array(grid.origin) + steps @ np.array(index)
    return point * [-1, -1, 1]


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.0, 1.0, 1.0, 1.0]),
        np.diag([-0.5, -0.5, 3.0, 1.0]),
        np.diag([1.0, 1.0, -2.0, 1.0]),  # left-handed, as many scans are
        OBLIQUE,
    ],
    ids=["RAS", "LPS", "left-handed", "oblique"],
)
def test_the_grid_lies_where_the_volume_lies(scene: Any, tmp_path: Path, matrix: Any) -> None:
    node = slicer.util.addVolumeFromArray(asymmetric_voxels(), matrix)
    grid = scene_module.volume_grid(node)
    for index in ((0, 0, 0), (15, 0, 0), (0, 19, 0), (0, 0, 11), (3, 7, 5)):
        expected = (matrix @ [*index, 1.0])[:3]
        np.testing.assert_allclose(ras_of_grid(grid, index), expected, atol=1e-12)
    (array,) = written([node], tmp_path)
    np.testing.assert_array_equal(array, asymmetric_voxels())


def test_channels_keep_their_order(volume: Any, tmp_path: Path) -> None:
    second = slicer.util.addVolumeFromArray(-asymmetric_voxels(), OBLIQUE, "second")
    first, other = written([volume, second], tmp_path)
    assert first.min() == 0
    assert other.min() < 0


def test_colour_images_become_one_array_per_component(scene: Any, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (2, 5, 4, 3)).astype(np.uint8)
    node = slicer.util.addVolumeFromArray(voxels, nodeClassName="vtkMRMLVectorVolumeNode")
    assert case.channel_count([node]) == 3
    np.testing.assert_array_equal(np.stack(written([node], tmp_path), axis=-1), voxels)


def test_large_volumes_are_written_in_slabs(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SLAB_BYTES", 3 * 20 * 16 * 2)
    node = slicer.util.addVolumeFromArray(asymmetric_voxels(), OBLIQUE)
    steps = exchange.write_arrays([node], tmp_path)
    assert sum(1 for _ in steps) == 4
    np.testing.assert_array_equal(written([node], tmp_path)[0], asymmetric_voxels())


def test_a_volume_that_is_changed_meanwhile_is_refused(
    volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SLAB_BYTES", 3 * 20 * 16 * 2)
    steps = exchange.write_arrays([volume], tmp_path)
    next(steps)
    slicer.util.arrayFromVolumeModified(volume)
    with pytest.raises(ImageError, match="was changed while it was read"):
        next(steps)
    steps = exchange.write_arrays([volume], tmp_path)
    next(steps)
    slicer.util.updateVolumeFromArray(volume, asymmetric_voxels()[:3])
    with pytest.raises(ImageError, match="was changed while it was read"):
        next(steps)


def test_channels_on_different_grids_are_refused(volume: Any, scene: Any, tmp_path: Path) -> None:
    two = read_model(write_model(tmp_path / "two", ["a", "b"]))
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.5
    other = slicer.util.addVolumeFromArray(asymmetric_voxels(), moved, "other")
    with pytest.raises(ImageError, match="does not lie on the grid of 'scan'"):
        case.check_volumes(two, [volume, other])
    second = slicer.util.addVolumeFromArray(asymmetric_voxels(), OBLIQUE, "second")
    case.check_volumes(two, [volume, second])
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    second.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(ImageError, match="under another transform"):
        case.check_volumes(two, [volume, second])


def test_an_empty_volume_and_no_volume_are_refused(scene: Any, tmp_path: Path) -> None:
    one = read_model(write_model(tmp_path / "one"))
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(ImageError, match="'nothing' is empty"):
        case.check_volumes(one, [empty])
    with pytest.raises(ModelError, match="another number of images"):
        case.check_volumes(one, [])


def test_sheared_axes_are_refused(scene: Any) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    node = slicer.util.addVolumeFromArray(asymmetric_voxels(), sheared)
    with pytest.raises(ImageError, match="not perpendicular"):
        scene_module.volume_grid(node)


def test_folders_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MEMORY_FOLDER", tmp_path)
    dead, own = tmp_path / "selfseg-999999999-x", tmp_path / f"selfseg-{os.getpid()}-x"
    dead.mkdir()
    own.mkdir()
    made = exchange.make_folder(10)
    assert made.parent == tmp_path
    assert own.is_dir()
    assert not dead.exists()
    monkeypatch.setattr(exchange, "ROOM", 10**18)
    other = exchange.make_folder(10)
    assert other.parent != tmp_path
    other.rmdir()


def test_a_label_map_of_the_worker_is_read_in_slabs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SLAB_VOXELS", 5 * 20 * 16)
    path = tmp_path / "labels.npy"
    np.save(path, label_map())
    slabs = list(segments.read_slabs(path, (12, 20, 16)))
    assert [len(slab) for slab in slabs] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(slabs), label_map())
    with pytest.raises(ImageError, match="cannot be used"):
        list(segments.read_slabs(path, (12, 20, 17)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageError, match="it ends too early"):
        list(segments.read_slabs(path, (12, 20, 16)))


def test_segments_hold_exactly_the_labels(volume: Any) -> None:
    node = placing.add_segmentation(label_map(), SCHEME, volume)
    assert node.GetName() == "scan segmentation"
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    np.testing.assert_array_equal(mask_of(node, "liver", volume) > 0, label_map() == 1)
    np.testing.assert_array_equal(mask_of(node, "odd thing", volume) > 0, label_map() == 7)
    assert not mask_of(node, "not there", volume).any()


def test_segments_lie_where_their_voxels_lie(volume: Any) -> None:
    """A wrong sign anywhere would move the centre of an asymmetric structure."""
    node = placing.add_segmentation(label_map(), SCHEME, volume, closed_surface=True)
    surface = vtk.vtkPolyData()
    identifier = node.GetSegmentation().GetSegmentIdBySegmentName("odd thing")
    node.GetClosedSurfaceRepresentation(identifier, surface)
    voxels = np.argwhere(label_map() == 7)[:, ::-1]
    centre = (OBLIQUE @ [*voxels.mean(axis=0), 1.0])[:3]
    found = np.reshape(surface.GetBounds(), (3, 2)).mean(axis=1)
    corners = np.array([voxels.min(axis=0), voxels.max(axis=0)])
    box = np.array(
        [(OBLIQUE @ [i, j, k, 1.0])[:3] for i in corners[:, 0] for j in corners[:, 1]
         for k in corners[:, 2]]
    )  # fmt: skip
    np.testing.assert_allclose(found, (box.min(axis=0) + box.max(axis=0)) / 2, atol=0.6)
    assert np.linalg.norm(found - centre) < 1.0


def test_names_colours_tags_and_terminology(volume: Any) -> None:
    node = placing.add_segmentation(
        label_map(), SCHEME, volume, algorithm_name="SelfConfiguringSegmentation x"
    )
    liver = segment_named(node, "liver")
    np.testing.assert_allclose(liver.GetColor(), np.array([200, 100, 50]) / 255)
    assert tag(liver, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
    assert tag(liver, "DICOM.SegmentAlgorithmName") == "SelfConfiguringSegmentation x"
    assert "~SCT^10200004^Liver~" in liver.GetTerminology()
    colours = {segment_named(node, label.name).GetColor() for label in SCHEME.foreground}
    assert len(colours) == 3


def tag(segment: Any, name: str) -> str:
    value = vtk.mutable("")
    assert segment.GetTag(name, value)
    return str(value)


def test_reference_geometry_is_the_volume(volume: Any) -> None:
    node = placing.add_segmentation(label_map(), SCHEME, volume)
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReferenceID(role) == volume.GetID()
    conversion = slicer.vtkSegmentationConverter
    text = node.GetSegmentation().GetConversionParameter(
        conversion.GetReferenceImageGeometryParameterName()
    )
    image = slicer.vtkOrientedImageData()
    assert conversion.DeserializeImageGeometry(text, image, False)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), OBLIQUE, atol=1e-9)
    assert image.GetExtent() == (0, 15, 0, 19, 0, 11)


def test_result_moves_with_the_volume(volume: Any, scene: Any) -> None:
    before = scene_module.volume_grid(volume)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 100, -50, 25
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert scene_module.volume_grid(volume) == before
    node = placing.add_segmentation(label_map(), SCHEME, volume)
    assert node.GetTransformNodeID() == transform.GetID()
    np.testing.assert_array_equal(mask_of(node, "liver", volume) > 0, label_map() == 1)


def test_result_is_placed_in_the_study_of_the_volume(volume: Any, scene: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)
    node = placing.add_segmentation(label_map(), SCHEME, volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_regions_overlap_and_keep_all_their_voxels(volume: Any) -> None:
    scheme = LabelScheme.from_mapping(
        {"background": 0, "whole": [1, 7], "core": [7]}, regions_class_order=[1, 7]
    )
    node = placing.add_segmentation(label_map(), scheme, volume)
    np.testing.assert_array_equal(mask_of(node, "whole", volume) > 0, label_map() > 0)
    np.testing.assert_array_equal(mask_of(node, "core", volume) > 0, label_map() == 7)
    assert node.GetSegmentation().GetNumberOfLayers() == 2


def test_plain_labels_share_one_layer(volume: Any) -> None:
    node = placing.add_segmentation(label_map(), SCHEME, volume)
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_given_node_is_filled_again(volume: Any, scene: Any) -> None:
    node = placing.add_segmentation(label_map(), SCHEME, volume)
    count = scene.GetNumberOfNodes()
    swapped = np.where(label_map() == 1, 7, np.where(label_map() == 7, 1, 0))
    again = placing.add_segmentation(swapped, SCHEME, volume, segmentation_node=node)
    assert again is node
    assert scene.GetNumberOfNodes() == count
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    np.testing.assert_array_equal(mask_of(node, "liver", volume) > 0, label_map() == 7)


def test_values_above_255_survive(volume: Any) -> None:
    scheme = LabelScheme.from_mapping({"background": 0, "a": 44, "b": 300})
    labels = label_map().astype(np.int16)
    labels[labels == 7] = 300
    labels[labels == 1] = 44
    node = placing.add_segmentation(labels, scheme, volume)
    np.testing.assert_array_equal(mask_of(node, "b", volume) > 0, labels == 300)
    np.testing.assert_array_equal(mask_of(node, "a", volume) > 0, labels == 44)


def test_scene_is_unchanged_when_it_fails(
    volume: Any, node_ids: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = node_ids()
    with pytest.raises(ModelError, match="does not name"):
        placing.add_segmentation(label_map() * 2, SCHEME, volume)
    with pytest.raises(ImageError, match="does not fit"):
        placing.add_segmentation(label_map()[:-1], SCHEME, volume)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(placing, "fill", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        placing.add_segmentation(label_map(), SCHEME, volume)
    assert node_ids() == before


def test_a_removed_volume_is_noticed(volume: Any, scene: Any) -> None:
    scene.RemoveNode(volume)
    with pytest.raises(ImageError, match="no longer in the scene"):
        placing.add_segmentation(label_map(), SCHEME, volume)


def test_names_are_looked_up_in_slicers_terminology(scene: Any, tmp_path: Path) -> None:
    context = {
        "SegmentationCategoryTypeContextName": terminology.CONTEXT,
        "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/"
        "segment-context-schema.json#",
        "SegmentationCodes": {
            "Category": [
                {
                    "CodeMeaning": "Anatomical Structure",
                    "CodingSchemeDesignator": "SCT",
                    "CodeValue": "123037004",
                    "showAnatomy": "false",
                    "Type": [
                        {
                            "recommendedDisplayRGBValue": [157, 108, 162],
                            "CodeMeaning": "Spleen",
                            "CodingSchemeDesignator": "SCT",
                            "3dSlicerLabel": "spleen",
                            "CodeValue": "78961009",
                        }
                    ],
                }
            ]
        },
    }
    file = tmp_path / "terminology.json"
    file.write_text(json.dumps(context), encoding="utf-8")
    logic = slicer.modules.terminologies.logic()
    assert not logic.IsTerminologyContextLoaded(terminology.CONTEXT)
    assert terminology.look_of(Label("Spleen", (1,)), 0).terminology == ""
    assert logic.LoadTerminologyFromFile(str(file)) == terminology.CONTEXT

    look = terminology.look_of(Label("Spleen", (1,)), 0)
    assert look.colour == (157, 108, 162)
    assert "~SCT^123037004^Anatomical Structure~SCT^78961009^Spleen~" in look.terminology
    coded = terminology.look_of(Label("spleen", (1,), code="SCT^78961009^Spleen"), 0)
    assert coded.terminology == look.terminology
    assert terminology.look_of(Label("gizmo", (1,)), 3) == terminology.Look(
        terminology.colour_by_position(3)
    )

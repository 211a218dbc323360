"""Files that Slicer's own code writes are collected, and the labels lie on the anatomy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfseg.collect.collecting import collect
from selfseg.collect.survey import survey
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_case

SHAPE = (12, 20, 16)
LIVER_TERMS = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)


def mask(*ranges: tuple[int, int]) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[tuple(slice(*limits) for limits in ranges)] = 1
    return array


MASKS = {
    "Liver": mask((1, 8), (2, 13), (3, 9)) - mask((1, 3), (2, 9), (3, 5)),
    "tumour": mask((4, 6), (5, 8), (5, 8)),
    "spleen": mask((8, 11), (14, 18), (10, 14)),
}


def oriented(array: np.ndarray, ijk_to_ras: Any) -> Any:
    """A mask as segmentations hold it."""
    import slicer
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(array.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(array.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)[:] = array
    image.SetImageToWorldMatrix(ijk_to_ras)
    return image


def segmentation_node(scene: Any, volume: Any, masks: Mapping[str, np.ndarray]) -> Any:
    """A segmentation as the Segment Editor leaves it: overlapping segments in several layers."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume.GetID())
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(binary)
    for name, array in masks.items():
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation(binary, oriented(array, matrix))
        segmentation.AddSegment(segment, name)
    segmentation.GetSegment("Liver").SetTag("TerminologyEntry", LIVER_TERMS)
    segmentation.CollapseBinaryLabelmaps(False)
    return node


def check(folder: Path, identifier: str, expected: Mapping[str, np.ndarray], voxels: Any) -> None:
    data = open_dataset(folder)
    case = read_case(data.case(identifier), data.description.labels)
    np.testing.assert_array_equal(case.channels[0], voxels)
    found = {
        label.name: np.isin(case.labels, label.values)
        for label in data.description.labels.foreground
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array == 1)


@pytest.mark.parametrize("cropped", [False, True])
def test_a_saved_segmentation_and_its_volume(
    tmp_path: Path, scene: Any, volume: Any, cropped: bool
) -> None:
    import slicer

    node = segmentation_node(scene, volume, MASKS)
    (tmp_path / "in").mkdir()
    for kind, item, name in (
        (slicer.vtkMRMLVolumeArchetypeStorageNode, volume, "case.nrrd"),
        (slicer.vtkMRMLSegmentationStorageNode, node, "case.seg.nrrd"),
    ):
        storage = kind()
        storage.SetFileName(str(tmp_path / "in" / name))
        if cropped and item is node:
            storage.SetCropToMinimumExtent(True)
        assert storage.WriteData(item)
    collection = collect([tmp_path / "in"], tmp_path / "out")
    assert collection.cases[0].state == "ready"
    assert str(collection.structures[0].terms.type) == "SCT^10200004^Liver"
    check(tmp_path / "out", "case", MASKS, slicer.util.arrayFromVolume(volume))


@pytest.mark.parametrize("under", ["nothing", "both", "segmentation", "saved transform"])
def test_a_saved_scene(tmp_path: Path, scene: Any, volume: Any, under: str) -> None:
    """A transform that both share changes nothing, one of its own moves the labels."""
    import slicer
    import vtk

    volume.SetName("my CT: scan/1")
    node = segmentation_node(scene, volume, MASKS)
    expected: Mapping[str, np.ndarray] = MASKS
    if under != "nothing":
        kind = (
            "vtkMRMLTransformNode" if under == "saved transform" else "vtkMRMLLinearTransformNode"
        )
        transform = scene.AddNewNodeByClass(kind, "shift")
        matrix = vtk.vtkMatrix4x4()
        ijk = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(ijk)
        for row in range(3):  # one voxel along y of the image
            matrix.SetElement(row, 3, ijk.GetElement(row, 1))
        transform.SetMatrixTransformToParent(matrix)
        node.SetAndObserveTransformNodeID(transform.GetID())
        if under == "both":
            volume.SetAndObserveTransformNodeID(transform.GetID())
        else:
            expected = {name: np.roll(array, 1, axis=1) for name, array in MASKS.items()}
        transform.AddDefaultStorageNode()
    for item in (volume, node):
        item.AddDefaultStorageNode()
    node.GetStorageNode().SetCropToMinimumExtent(True)
    (tmp_path / "in").mkdir()
    assert scene.WriteToMRB(str(tmp_path / "in" / "patient 1.mrb"))
    collection = collect([tmp_path / "in"], tmp_path / "out")
    assert [(case.identifier, case.state) for case in collection.cases] == [
        ("patient_1", "ready")
    ], collection.cases
    assert collection.channels == ("CT",)
    check(tmp_path / "out", "patient_1", expected, slicer.util.arrayFromVolume(volume))


def test_a_warped_segmentation_has_a_cure(tmp_path: Path, scene: Any, volume: Any) -> None:
    node = segmentation_node(scene, volume, MASKS)
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    node.SetAndObserveTransformNodeID(warp.GetID())
    for item in (volume, node, warp):
        item.AddDefaultStorageNode()
    assert scene.WriteToMRB(str(tmp_path / "scan.mrb"))
    problem = survey([tmp_path / "scan.mrb"]).cases[0].problems[0]
    assert problem.kind == "non-linear-transform"
    assert "harden" in problem.cure


def test_a_colour_table_names_an_exported_label_map(
    tmp_path: Path, scene: Any, volume: Any
) -> None:
    import slicer

    labels = MASKS["Liver"] + 2 * MASKS["spleen"]
    matrix = slicer.util.arrayFromVTKMatrix(_ijk(volume))
    kind = "vtkMRMLLabelMapVolumeNode"
    array = slicer.util.addVolumeFromArray(labels, matrix, nodeClassName=kind)
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "colours")
    table.SetTypeToUser()
    table.SetNumberOfColors(3)
    for index, name in enumerate(("background", "my Liver", "spleen")):
        table.SetColor(index, name, index / 4, 0.5, 1.0, 1.0)
    for kind, item, name in (
        (slicer.vtkMRMLVolumeArchetypeStorageNode, volume, "case.nii.gz"),
        (slicer.vtkMRMLVolumeArchetypeStorageNode, array, "case-label.nii.gz"),
        (slicer.vtkMRMLColorTableStorageNode, table, "case-label_ColorTable.ctbl"),
        (slicer.vtkMRMLColorTableStorageNode, table, "other.csv"),
    ):
        storage = kind()
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(item), name
    (tmp_path / "other.csv").rename(tmp_path / "second.csv.txt")
    collection = survey([tmp_path])
    assert [case.state for case in collection.cases] == ["ready"], collection.cases
    assert [s.name for s in collection.structures] == ["my Liver", "spleen"]
    assert collection.structures[0].colour == (64, 128, 255)


def _ijk(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix

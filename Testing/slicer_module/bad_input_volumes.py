"""Volumes and regions that the page Segment is given, with a real worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from slicer_module.bad_input_rows import Desk, Row, volume
from slicer_module.conftest import asymmetric_voxels

Given = Callable[[Desk], Any]
LONG = "n" * 300


def segment(desk: Desk, volumes: Any, model: Any = None, **options: Any) -> str:
    """Segments, and says what came of it."""
    return finish(desk, start(desk, volumes, model, **options))


def start(desk: Desk, volumes: Any, model: Any = None, **options: Any) -> Any:
    from SelfConfiguringSegmentationLib.segment.settings import SegmentationSettings

    structures = options.pop("structures", ())
    settings = SegmentationSettings(
        device="cpu", mirror=False, step=1.0, closed_surface=False, structures=structures
    )
    return desk.logic.startSegmentation(
        volumes, model or desk.model, settings=settings, onLog=desk.log.append, **options
    )


def finish(desk: Desk, run: Any) -> str:
    run.wait()
    node = run.finish()
    segmentation = node.GetSegmentation()
    of = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    return (
        f"{segmentation.GetNumberOfSegments()} segments in {node.GetName()} "
        f"of {of.GetID()} {of.GetName()} under {node.GetTransformNodeID()}"
    )


def meanwhile(change: Callable[[Desk, Any], object]) -> Callable[[Desk, Any], str]:
    """Segments a volume to which something happens in between."""

    def use(desk: Desk, given: Any) -> str:
        run = start(desk, given)
        run.poll()
        change(desk, given)
        desk.remember()
        return finish(desk, run)

    return use


def with_value(value: float) -> Given:
    voxels = asymmetric_voxels().astype(np.float32)
    voxels[3, 4, 5] = value
    return lambda desk: volume(voxels=voxels)


def with_matrix(**entries: float) -> Given:
    """A volume whose matrix has other entries: r01 is row 0, column 1."""
    matrix = np.eye(4)
    for key, value in entries.items():
        matrix[int(key[1]), int(key[2])] = value
    return lambda desk: volume(matrix=matrix)


def channels(count: int) -> Given:
    voxels = np.zeros((12, 20, 16, count), np.uint8)
    return lambda desk: volume("colours", voxels, None, "vtkMRMLVectorVolumeNode")


def node(kind: str, name: str, image: Any = None) -> Given:
    def given(desk: Desk) -> Any:
        made = desk.scene.AddNewNodeByClass(kind, name)
        if image is not None:
            made.SetAndObserveImageData(image())
        return made

    return given


def image(sizes: tuple[int, int, int], tensors: bool = False) -> Callable[[], Any]:
    def make() -> Any:
        from vtk.util.numpy_support import numpy_to_vtk

        made = vtk.vtkImageData()
        made.SetDimensions(sizes)
        if tensors:
            values = np.zeros((int(np.prod(sizes)), 9), np.float32)
            made.GetPointData().SetTensors(numpy_to_vtk(values, deep=True))
        return made

    return make


def linear(desk: Desk, *diagonal: float) -> Any:
    made = desk.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "flattened")
    slicer.util.updateTransformMatrixFromArray(made, np.diag([*diagonal, 1.0]))
    return made


def bending(desk: Desk) -> Any:
    made = desk.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bend")
    spline = vtk.vtkThinPlateSplineTransform()
    sources, targets = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (10, 0, 0), (0, 10, 0), (0, 0, 10), (5, 5, 5)):
        sources.InsertNextPoint(point)
        targets.InsertNextPoint(point if point != (5, 5, 5) else (7, 5, 5))
    spline.SetSourceLandmarks(sources)
    spline.SetTargetLandmarks(targets)
    made.SetAndObserveTransformToParent(spline)
    return made


def under(transform: Callable[[Desk], Any]) -> Given:
    def given(desk: Desk) -> Any:
        made = volume()
        made.SetAndObserveTransformNodeID(transform(desk).GetID())
        return made

    return given


def flat(desk: Desk) -> Any:
    return linear(desk, 1.0, 0.0, 1.0)


def region(
    size: tuple[float, float, float], centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Callable[[Desk], Any]:
    def make(desk: Desk) -> Any:
        made = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
        made.SetCenter(*centre)
        made.SetSize(*size)
        return made

    return make


def beside(first: Given, *others: Given) -> Given:
    return lambda desk: (first(desk), *(other(desk) for other in others))


def in_region(desk: Desk, given: Any) -> str:
    return segment(desk, given[0], roiNode=given[1])


def twins(desk: Desk) -> Any:
    volume("scan")
    return volume("scan")


def plain(desk: Desk) -> Any:
    return volume()


def named(name: str) -> Given:
    return lambda desk: volume(name)


def bent_output(desk: Desk) -> Any:
    made = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    made.SetAndObserveTransformNodeID(bending(desk).GetID())
    return volume(), made


def flat_output(desk: Desk) -> Any:
    made = desk.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    made.SetAndObserveTransformNodeID(flat(desk).GetID())
    return volume(), made


def add_to(desk: Desk, given: Any) -> str:
    return segment(desk, given[0], segmentationNode=given[1], addToSegmentation=True)


VOLUMES: tuple[Row, ...] = (
    Row("no volume", "Segment", ("this is no volume", "found: none"), lambda desk: None, segment),
    Row("the name of a volume", "Segment", ("this is no volume", "str"), lambda desk: "scan",
        segment),
    Row("a segmentation for a volume", "Segment", ("this is no volume", "vtkMRMLSegmentationNode"),
        node("vtkMRMLSegmentationNode", "s"), segment),
    Row("a volume without voxels", "Segment", ("'nothing' is empty", "load its file again"),
        node("vtkMRMLScalarVolumeNode", "nothing"), segment),
    Row("a volume of size zero", "Segment", ("'flat' is empty", "no voxels"),
        node("vtkMRMLScalarVolumeNode", "flat", image((0, 5, 4))), segment),
    Row("a volume with sizes and no voxels", "Segment", ("'hollow' holds no intensities",),
        node("vtkMRMLScalarVolumeNode", "hollow", image((6, 5, 4))), segment),
    Row("a volume of one voxel", "Segment", ("3 segments in dot segmentation",),
        lambda desk: volume("dot", np.full((1, 1, 1), 7, np.int16)), segment, works=True),
    Row("NaN in a volume", "Segment", ("not numbers", "1 voxels of NaN"),
        with_value(float("nan")), segment),
    Row("infinity in a volume", "Segment", ("not numbers", "NaN or infinity"),
        with_value(float("-inf")), segment),
    Row("10^30 in a volume", "Segment", ("3 segments",), with_value(1e30), segment, works=True),
    Row("a volume of vectors for a model of one channel", "Segment",
        ("another number of images", "found: 7", "one volume per channel"), channels(7), segment),
    Row("colours for a model of one channel", "Segment",
        ("another number of images", "found: 3: colours"), channels(3), segment),
    Row("a volume of tensors", "Segment", ("'dti' holds no intensities", "found: tensors"),
        node("vtkMRMLDiffusionTensorVolumeNode", "dti", image((6, 5, 4), tensors=True)), segment),
    Row("a label map for a scan", "Segment", ("'labels' is a label map", "choose the scan"),
        lambda desk: volume("labels", kind="vtkMRMLLabelMapVolumeNode"), segment),
    Row("axes that are not perpendicular", "Segment",
        ("not perpendicular", "Resample Scalar/Vector/DWI Volume"), with_matrix(r01=0.3), segment),
    Row("a spacing of zero", "Segment", ("no valid voxel spacing",), with_matrix(r00=0.0), segment),
    Row("an origin of NaN", "Segment", ("no valid origin", "nan"), with_matrix(r03=float("nan")),
        segment),
    Row("a volume under a transform that bends", "Segment", ("3 segments", "BSplineTransform"),
        under(bending), segment, works=True),
    Row("a volume under a transform that makes it flat", "Segment",
        ("3 segments", "LinearTransform"), under(flat), segment, works=True),
    Row("a region of a volume that a transform makes flat", "Segment",
        ("'scan' is under a transform that cannot be inverted", "flattened, with the determinant 0",
         "Data module"), beside(under(flat), region((50.0, 50.0, 50.0))), in_region),
    Row("a region without a size", "Segment", ("holds no voxel of 'scan'", "without a size"),
        beside(plain, region((0.0, 5.0, 5.0))), in_region),
    Row("a region beside the volume", "Segment", ("holds no voxel of 'scan'", "one beside it"),
        beside(plain, region((5.0, 5.0, 5.0), (900.0, 0.0, 0.0))), in_region),
    Row("a region at NaN", "Segment", ("no valid place", "nan"),
        beside(plain, region((5.0, 5.0, 5.0), (float("nan"), 0.0, 0.0))), in_region),
    Row("a volume deleted while it is segmented", "Segment",
        ("no longer in the scene", "load the volume and segment again"), plain,
        meanwhile(lambda desk, given: desk.scene.RemoveNode(given))),
    Row("a scene closed while a volume is segmented", "Segment", ("no longer in the scene",),
        plain, meanwhile(lambda desk, given: desk.scene.Clear(False))),
    Row("a volume emptied while it is segmented", "Segment", ("'scan'",), plain,
        meanwhile(lambda desk, given: given.SetAndObserveImageData(None))),
    Row("a volume moved while it is segmented", "Segment",
        ("the volume was changed while it was segmented", "origin"), plain,
        meanwhile(lambda desk, given: given.SetOrigin(1.0, 2.0, 3.0))),
    Row("a volume renamed while it is segmented", "Segment", ("3 segments in other segmentation",),
        plain, meanwhile(lambda desk, given: given.SetName("other")), works=True),
    Row("two volumes of one name", "Segment", ("of vtkMRMLScalarVolumeNode2 scan",), twins, segment,
        works=True),
    Row("a name outside of ASCII", "Segment", ("3 segments in Schädel 患者 1 segmentation",),
        named("Schädel 患者 1"), segment, works=True),
    Row("a name with slashes", "Segment", ("3 segments in ../../etc/passwd segmentation",),
        named("../../etc/passwd"), segment, works=True),
    Row("a name of 300 characters", "Segment", (f"3 segments in {LONG} segmentation",),
        named(LONG), segment, works=True),
    Row("segments added to a segmentation under a transform that bends", "Segment",
        ("cannot be added", "harden the transforms"), bent_output, add_to),
    Row("segments added to a segmentation that a transform makes flat", "Segment",
        ("'other' is under a transform that cannot be inverted",), flat_output, add_to),
    Row("a structure that the model does not have", "Segment",
        ("no structure 'heart'", "liver"), plain,
        lambda desk, given: segment(desk, given, structures=("heart",))),
)  # fmt: skip

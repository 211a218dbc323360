"""Segmentations of the scene that are to be exported or learned from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from bad_input.limits import limited
from slicer_module.bad_input_rows import Desk, Row, volume
from slicer_module.bad_input_volumes import LONG, Given, bending, flat, image, linear, named, node
from slicer_module.conftest import OBLIQUE
from slicer_module.made_segmentations import make_segmentation

Use = Callable[[Desk, Any], Any]


def box(*sizes: tuple[int, int]) -> np.ndarray:
    made = np.zeros((12, 20, 16), np.uint8)
    made[tuple(slice(*limits) for limits in sizes)] = 1
    return made


LIVER, SPLEEN = box((2, 6), (3, 9), (4, 10)), box((8, 12), (15, 20), (0, 3))
OVER_LIVER = box((4, 7), (6, 12), (8, 14))
NOTHING = box((0, 0), (0, 0), (0, 0))


def drawn(*masks: np.ndarray, names: tuple[str, ...] = ("liver", "spleen"), **scan: Any) -> Given:
    """A segmentation of a scan; both have the scan's name."""

    def given(desk: Desk) -> Any:
        of = volume(**scan)
        made = make_segmentation(
            desk.scene, of, dict(zip(names, masks, strict=False)), name=of.GetName()
        )
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(desk.scene)
        for item in (of, made):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), item)
        return made

    return given


def scan_of(segmentation: Any) -> Any:
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def then(given: Given, *changes: Callable[[Desk, Any], object]) -> Given:
    def both(desk: Desk) -> Any:
        made = given(desk)
        for change in changes:
            change(desk, made)
        return made

    return both


def as_surfaces(desk: Desk, segmentation: Any) -> None:
    kinds = slicer.vtkSegmentationConverter
    segmentation.CreateClosedSurfaceRepresentation()
    stored = segmentation.GetSegmentation()
    stored.SetSourceRepresentationName(kinds.GetSegmentationClosedSurfaceRepresentationName())
    stored.RemoveRepresentation(kinds.GetSegmentationBinaryLabelmapRepresentationName())


def renamed_alike(desk: Desk, segmentation: Any) -> None:
    for index in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        segmentation.GetSegmentation().GetNthSegment(index).SetName("liver")


def hidden(desk: Desk, segmentation: Any) -> None:
    segmentation.GetDisplayNode().SetVisibility(False)
    for index in range(segmentation.GetSegmentation().GetNumberOfSegments()):
        identifier = segmentation.GetSegmentation().GetNthSegmentID(index)
        segmentation.GetDisplayNode().SetSegmentVisibility(identifier, False)


def without_scan(desk: Desk, segmentation: Any) -> None:
    desk.scene.RemoveNode(scan_of(segmentation))


def put_under(transform: Callable[[Desk], Any]) -> Callable[[Desk, Any], None]:
    return lambda desk, made: made.SetAndObserveTransformNodeID(transform(desk).GetID())


def far_away(desk: Desk, segmentation: Any) -> None:
    """Its label maps lie a metre beside the scan."""
    matrix = OBLIQUE.copy()
    matrix[0, 3] += 1000
    _place(segmentation, matrix)


def far_away_liver(desk: Desk, segmentation: Any, millimetres: float = 50.0) -> None:
    matrix = OBLIQUE.copy()
    matrix[0, 3] += millimetres
    _place(segmentation, matrix, 1)


def kilometre(desk: Desk, segmentation: Any) -> None:
    far_away_liver(desk, segmentation, 1e6)


def sheared(desk: Desk, segmentation: Any) -> None:
    matrix = OBLIQUE.copy()
    matrix[0, 1] += 0.4
    _place(segmentation, matrix)


def _place(segmentation: Any, matrix: np.ndarray, most: int = 9) -> None:
    stored = segmentation.GetSegmentation()
    for index in range(min(most, stored.GetNumberOfSegments())):
        layer = stored.GetNthSegment(index).GetRepresentation("Binary labelmap")
        layer.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))


def value_of_nothing(desk: Desk, segmentation: Any) -> None:
    segmentation.GetSegmentation().GetNthSegment(0).SetLabelValue(0)


def as_doubles(desk: Desk, segmentation: Any) -> None:
    layer = vtk.vtkImageCast()
    stored = segmentation.GetSegmentation().GetNthSegment(0)
    layer.SetInputData(stored.GetRepresentation("Binary labelmap"))
    layer.SetOutputScalarTypeToDouble()
    layer.Update()
    made = slicer.vtkOrientedImageData()
    made.ShallowCopy(layer.GetOutput())
    made.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
    stored.RemoveRepresentation("Binary labelmap")
    stored.AddRepresentation("Binary labelmap", made)


def export(format: str, target: str = "out", *, limit: str = "", **settings: Any) -> Use:
    """Exports, and says which files came of it."""

    def use(desk: Desk, segmentation: Any) -> str:
        from SelfConfiguringSegmentationLib.export.run import ExportSettings

        chosen = ExportSettings(**{k: v(desk) if callable(v) else v for k, v in settings.items()})
        with limited(limit):
            run = desk.logic.startExportSegmentation(
                segmentation, desk.place / target, format, settings=chosen,
                onLog=desk.log.append, onEvent=lambda event: desk.log.append(str(event)),
            )  # fmt: skip
            run.wait()
            written = run.finish()
        files = [f for path in written for f in ([path] if path.is_file() else path.iterdir())]
        return "\n".join(sorted(str(path.relative_to(desk.place)) for path in files))

    return use


def locked(desk: Desk, made: Any) -> None:
    (desk.place / "locked").mkdir(mode=0o500)


def occupied(desk: Desk, made: Any) -> None:
    (desk.place / "out").write_text("thesis", encoding="utf-8")


def other_scan(transform: Callable[[Desk], Any]) -> Callable[[Desk], Any]:
    def given(desk: Desk) -> Any:
        made = volume("other")
        made.SetAndObserveTransformNodeID(transform(desk).GetID())
        desk.remember()
        return made

    return given


OUT = ("out", "out/*")
TWO = drawn(LIVER, SPLEEN)

EXPORTS: tuple[Row, ...] = (
    Row("no segmentation", "Export", ("this is no segmentation", "NoneType"), lambda desk: None,
        export("nifti")),
    Row("a segmentation without segments", "Export", ("has no segments", "segment the scan"),
        node("vtkMRMLSegmentationNode", "empty"), export("nifti")),
    Row("a segmentation stored as surfaces", "Export", ("stored as surfaces", "Binary labelmap"),
        then(TWO, as_surfaces), export("nifti")),
    Row("segments without a voxel", "Export", ("out/scan.nii.gz",), drawn(NOTHING, NOTHING),
        export("nifti"), works=True, leaves=OUT),
    Row("surfaces of segments without a voxel", "Export",
        ("there is nothing to write", "export label maps"), drawn(NOTHING, NOTHING), export("stl")),
    Row("two segments of one name", "Export", ("liver.nii.gz", "liver_2.nii.gz"),
        then(TWO, renamed_alike), export("masks"), works=True, leaves=OUT),
    Row("segments that overlap", "Export",
        ("segments overlap", "scan_layer1.nii.gz"), drawn(LIVER, OVER_LIVER), export("nifti"),
        works=True, leaves=OUT),
    Row("a segmentation that is hidden", "Export", ("out/scan.nii.gz",), then(TWO, hidden),
        export("nifti"), works=True, leaves=OUT),
    Row("a segmentation whose scan was deleted", "Export", ("out/scan.nii.gz",),
        then(TWO, without_scan), export("nifti"), works=True, leaves=OUT),
    Row("segments a metre beside the scan", "Export",
        ("lies outside of the image", "choose the scan that was segmented"), then(TWO, far_away),
        export("nifti")),
    Row("label maps that are sheared", "Export", ("not perpendicular",), then(TWO, sheared),
        export("nifti")),
    Row("a segment with the value of the background", "Export", ("'liver'", "0"),
        then(TWO, value_of_nothing), export("nifti")),
    Row("a label map of doubles", "Export", ("out/scan.nii.gz",), then(TWO, as_doubles),
        export("nifti"), works=True, leaves=OUT),
    Row("segments a kilometre apart", "Export",
        ("lie far apart", "remove the segment that lies elsewhere"), then(TWO, kilometre),
        export("nifti")),
    Row("one of two segments beside the scan", "Export",
        ("outside of the image, and so empty here: liver", "out/scan.nii.gz"),
        then(TWO, far_away_liver), export("nifti"), works=True, leaves=OUT),
    Row("a segmentation under a transform that bends", "Export", ("bends", "harden the transform"),
        then(TWO, put_under(bending)), export("stl")),
    Row("a segmentation under a transform that makes it flat", "Export",
        ("'scan' is under a transform that cannot be inverted", "determinant 0"),
        then(TWO, put_under(flat)), export("stl")),
    Row("a scan for the grid under a transform that makes it flat", "Export",
        ("cannot be inverted",), TWO, export("nifti", volume=other_scan(flat))),
    Row("a name with slashes, exported", "Export", ("out/_.._etc_passwd.nii.gz",),
        drawn(LIVER, name="../../etc/passwd"), export("nifti"), works=True, leaves=OUT),
    Row("a name of 300 characters, exported", "Export", (f"out/{LONG[:120]}.nii.gz",),
        drawn(LIVER, name=LONG), export("nifti"), works=True, leaves=OUT),
    Row("a name outside of ASCII, exported", "Export", ("out/Schädel 患者 1.nii.gz",),
        drawn(LIVER, name="Schädel 患者 1"), export("nifti"), works=True, leaves=OUT),
    Row("segments named ../../x and CON", "Export", ("_.._x.nii.gz", "_CON.nii.gz"),
        drawn(LIVER, SPLEEN, names=("../../x", "CON")), export("masks"), works=True, leaves=OUT),
    Row("a format that is not there", "Export", ("docx", "nifti"), TWO, export("docx")),
    Row("a file where the folder should be", "Export", ("cannot be written", "File exists"),
        then(TWO, occupied), export("nifti")),
    Row("a folder that may not be written to", "Export", ("right to write",), then(TWO, locked),
        export("nifti", "locked/out", limit="plain user")),
    Row("a full disk for surfaces", "Export", ("space",), drawn(LIVER), export("stl",
        limit="full disk")),
    Row("a full disk for temporary files", "Export",
        ("the voxels cannot be handed over", "TMPDIR"), TWO, export("nifti",
        limit="very full disk")),
    Row("DICOM of a scan that was no DICOM", "Export",
        ("not known which DICOM series", "choose the folder of the series"), TWO,
        export("dicom-seg")),
    Row("DICOM of a folder without a series", "Export",
        ("not clear which DICOM series", "none"), TWO,
        export("dicom-seg", dicom_folder=lambda desk: desk.temporary.parent / "place")),
)  # fmt: skip


def train(desk: Desk, given: Any) -> str:
    """Trains on the scene; where there is nothing wrong it is stopped before it begins."""
    run = desk.logic.startTraining(None, desk.place / "training", device="cpu")
    for _ in range(1000):
        if run.poll():
            break
    return str(run.finish())


def look(desk: Desk, given: Any) -> str:
    """What Train finds in the scene: a line per case."""
    from SelfConfiguringSegmentationLib.train.collecting import Source, SurveyRun
    from SelfConfiguringSegmentationLib.train.survey import Choices

    run = SurveyRun((Source("scene"),), Choices(), scene=desk.scene, start=desk.logic._startProcess)
    run.wait()
    rows = run.finish().survey.rows
    return "\n".join(f"{row.case}: {row.state} {', '.join(row.structures)}" for row in rows)


def twice(desk: Desk, segmentation: Any) -> None:
    make_segmentation(desk.scene, scan_of(segmentation), {"liver": LIVER}, name="again")


def scan_under(transform: Callable[[Desk], Any]) -> Callable[[Desk, Any], None]:
    def change(desk: Desk, segmentation: Any) -> None:
        for one in (scan_of(segmentation), segmentation):
            one.SetAndObserveTransformNodeID(transform(desk).GetID())

    return change


def scan_with(made: Callable[[], Any]) -> Callable[[Desk, Any], None]:
    return lambda desk, segmentation: scan_of(segmentation).SetAndObserveImageData(made())


def locked_training(desk: Desk, given: Any) -> str:
    desk.place.chmod(0o500)
    try:
        with limited("plain user"):
            return train(desk, given)
    finally:
        desk.place.chmod(0o700)


TRAINING: tuple[Row, ...] = (
    Row("an empty scene", "Train", ("no segmented scan was found",), lambda desk: None, train),
    Row("a scan that nobody has segmented", "Train", ("no segmented scan was found",),
        named("scan"), train),
    Row("a segmentation without segments to learn", "Train",
        ("1 of 1 cases have a problem", "holds no segment", "or leave this case out"),
        then(drawn(), lambda desk, made: None), train),
    Row("surfaces to learn from", "Train",
        ("1 of 1 cases have a problem: scan", "stored as surfaces", "Segmentations module"),
        then(TWO, as_surfaces), train),
    Row("segments without their scan", "Train", ("no volume lies at the place", "load its scan"),
        then(TWO, without_scan), train),
    Row("two segmentations of one scan", "Train",
        ("another segmentation goes with the same scan", "leave one of them out"), then(TWO, twice),
        train),
    Row("two segments of one name to learn", "Train", ("are the same structure", "rename"),
        then(TWO, renamed_alike), train),
    Row("segments a metre beside their scan", "Train", ("scan", "what to do"), then(TWO, far_away),
        train),
    Row("label maps that are sheared, to learn from", "Train", ("not perpendicular",),
        then(TWO, sheared), train),
    Row("a sheared scan to learn from", "Train", ("not perpendicular",),
        drawn(LIVER, matrix=np.array([[1, .3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])),
        train),
    Row("a scan without intensities", "Train", ("holds no intensities",),
        then(TWO, scan_with(image((16, 20, 12)))), train),
    Row("a case under a transform that bends", "Train", ("not linear", "harden"),
        then(TWO, scan_under(bending)), train),
    Row("a case under a transform that makes it flat", "Train",
        ("cannot be inverted", "correct the transform"), then(TWO, scan_under(flat)), train),
    Row("a case under a transform of NaN", "Train", ("cannot be inverted",),
        then(TWO, scan_under(lambda desk: linear(desk, float("nan"), 1.0, 1.0))), train),
    Row("names outside of ASCII, with slashes, of 300 characters", "Train",
        ("患者_.._etc: ready liver", f"{LONG[:60]}: ready liver"),
        lambda desk: (drawn(LIVER, name="患者/../etc")(desk), drawn(LIVER, name=LONG)(desk)), look,
        works=True),
    Row("two cases of one name", "Train", ("scan: ready", "scan_2: ready"),
        lambda desk: (drawn(LIVER)(desk), drawn(LIVER)(desk)), look, works=True),
    Row("a training where nothing may be written", "Train",
        ("the folder of the training cannot be made", "choose another folder"), drawn(LIVER),
        locked_training),
)  # fmt: skip

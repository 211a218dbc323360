"""DICOM segmentations from Slicer: its own exporter where it can be used, ours otherwise."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib import child_run
from SelfConfiguringSegmentationLib.export.run import ExportSettings, SceneExport

from dicom_examples import pydicom, write_series
from selfseg.domain.errors import SelfsegError, UsageError
from selfseg.io.dicom_seg_files import read_source
from selfseg.io.dicom_series import find_series, read_series
from slicer_module.children import real_starter
from slicer_module.in_process import InProcessJob
from slicer_module.made_segmentations import make_segmentation
from slicer_module.test_export_files import FIRST, LIVER, OVERLAPPING

hd = pytest.importorskip("highdicom", reason="highdicom is not installed: DICOM was NOT tested")

SERIES = np.arange(12 * 20 * 16, dtype=np.int16).reshape(12, 20, 16) % 1000


class Database:
    """Slicer's DICOM database, as far as an export asks it (ctkDICOMDatabase)."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.files, self.inserted = files, []

    def fileForInstance(self, uid: str) -> str:
        return str(self.files.get(uid, ""))

    def insert(self, path: str) -> None:
        self.inserted.append(path)


class SlicersExporter:
    """The interface of DICOMSegmentationPlugin.DICOMSegmentationExporter (Slicer 5.12)."""

    calls: tuple[Any, ...] = ()
    error: Exception | None = None

    def __init__(self, segmentationNode: Any, contentCreatorName: Any = None) -> None:
        self.node = segmentationNode

    def export(
        self, outputDirectory: str, segFileName: str, metadata: Any, segmentIDs: Any = None,
        skipEmpty: bool = False,
    ) -> bool:  # fmt: skip
        if self.error is not None:
            raise self.error
        type(self).calls = (outputDirectory, segFileName, metadata, skipEmpty)
        (Path(outputDirectory) / segFileName).write_bytes(b"by Slicer")
        return True

    def cleanup(self) -> None:
        pass


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "scan", SERIES)
    return tmp_path / "scan"


@pytest.fixture
def volume(scene: Any, series: Path) -> Any:
    """The series as Slicer loads it: RAS, and with the instances it came from."""
    (found,) = find_series(series)
    voxels, grid = read_series(found)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix[:3, :3] @= np.array(grid.direction) * np.array(grid.spacing[::-1])
    matrix[:3, 3] = np.array(grid.origin) * [-1, -1, 1]
    return slicer.util.addVolumeFromArray(voxels, matrix, "CT")


@pytest.fixture
def database(volume: Any, series: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    headers = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in series.iterdir()}
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(headers))
    made = Database(headers)
    monkeypatch.setattr(slicer, "dicomDatabase", made, raising=False)
    return made


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> type[SlicersExporter]:
    module = types.ModuleType("DICOMSegmentationPlugin")
    module.DICOMSegmentationExporter = SlicersExporter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "DICOMSegmentationPlugin", module)
    monkeypatch.setattr(SlicersExporter, "error", None)
    return SlicersExporter


def automatic(node: Any, *edited: int) -> Any:
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        segment.SetTag("DICOM.SegmentAlgorithmType", "AUTOMATIC")
        segment.SetTag("DICOM.SegmentAlgorithmName", "a model 1.0")
        if index in edited:  # what the Segment Editor's first stroke does
            logic = slicer.vtkSlicerSegmentationsModuleLogic
            logic.SetSegmentStatus(segment, logic.InProgress)
    return node


def export(node: Any, target: Path, **settings: Any) -> Path:
    run = SceneExport(
        node, target, start=real_starter, settings=ExportSettings("dicom-seg", **settings)
    )
    run.wait()
    (written,) = run.finish()
    return written


def test_the_scan_came_from_files_that_are_known(
    scene: Any, volume: Any, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_run, "Job", InProcessJob)
    masks = {"liver": FIRST, "tumour": OVERLAPPING}
    node = automatic(make_segmentation(scene, volume, masks, terminology={"liver": LIVER}), 1)
    seg = hd.seg.segread(export(node, tmp_path / "case.dcm", dicom_folder=series))
    uids = [h.SOPInstanceUID for h in read_source(find_series(series)[0].files).headers]
    found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(found[..., 0], FIRST)
    np.testing.assert_array_equal(found[..., 1], OVERLAPPING)
    liver, tumour = (seg.get_segment_description(number) for number in (1, 2))
    assert liver.segmented_property_type.value == "10200004"
    assert (liver.algorithm_type.value, tumour.algorithm_type.value) == (
        "AUTOMATIC", "SEMIAUTOMATIC",
    )  # fmt: skip
    assert seg.PatientID == "P-17"


def test_a_volume_out_of_the_database_without_slicers_exporter(
    scene: Any, volume: Any, database: Database, tmp_path: Path
) -> None:
    node = automatic(make_segmentation(scene, volume, {"no code": FIRST}))
    written = export(node, tmp_path / "out")
    assert written == tmp_path / "out" / "segmentation.dcm"
    seg = hd.seg.segread(written)
    assert seg.number_of_segments == 1
    assert int(seg.pixel_array.sum()) == int(FIRST.sum())


def test_slicers_own_exporter_is_used_where_it_can_be(
    scene: Any, volume: Any, database: Database, plugin: Any, tmp_path: Path
) -> None:
    node = make_segmentation(scene, volume, {"liver": FIRST}, terminology={"liver": LIVER})
    automatic(node, 0)
    written = export(node, tmp_path / "case.dcm")
    assert written.read_bytes() == b"by Slicer"
    folder, name, metadata, skip_empty = plugin.calls
    assert (folder, name, skip_empty) == (str(tmp_path), "case.dcm", True)
    assert metadata["SeriesDescription"] == "case"
    assert database.inserted == [str(written)]
    import vtk

    kind = vtk.mutable("")
    node.GetSegmentation().GetNthSegment(0).GetTag("DICOM.SegmentAlgorithmType", kind)
    assert str(kind) == "SEMIAUTOMATIC"


def test_its_errors_are_passed_on(
    scene: Any, volume: Any, database: Database, plugin: Any, tmp_path: Path
) -> None:
    plugin.error = ValueError("itkimage2segimage failed")
    node = make_segmentation(scene, volume, {"liver": FIRST}, terminology={"liver": LIVER})
    with pytest.raises(SelfsegError, match="itkimage2segimage failed"):
        export(node, tmp_path / "case.dcm")
    assert database.inserted == []


def test_without_a_series_nothing_is_guessed(scene: Any, volume: Any, tmp_path: Path) -> None:
    node = make_segmentation(scene, volume, {"liver": FIRST})
    with pytest.raises(UsageError, match="not known which DICOM series"):
        export(node, tmp_path / "case.dcm")

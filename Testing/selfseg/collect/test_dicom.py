"""DICOM series and segmentations, made here with pydicom and highdicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collect_examples import OBLIQUE, SPLEEN, box, grey, liver
from selfseg.collect.collecting import collect
from selfseg.collect.survey import survey
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_case

pydicom = pytest.importorskip(
    "pydicom", reason="pydicom is not installed: collecting DICOM was NOT tested"
)
hd = pytest.importorskip(
    "highdicom", reason="highdicom is not installed: collecting DICOM was NOT tested"
)

SPACING = (2.5, 0.9, 0.7)
POSITION = np.array([-12.5, 31.25, 7.0])


def write_series(folder: Path, *, patient: str = "P1", description: str = "body") -> list[Any]:
    """An oblique CT series, its files in no order; returns the headers."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    written = []
    voxels = grey() - np.int16(1024)
    for index, plane in enumerate(voxels):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID = frame
        data.PatientID, data.PatientName, data.Modality = patient, "A^B", "CT"
        data.PatientBirthDate = data.PatientSex = data.AccessionNumber = ""
        data.StudyID = data.StudyDate = data.StudyTime = data.ReferringPhysicianName = ""
        data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = description, 1, index + 1
        data.Rows, data.Columns = plane.shape
        data.PixelSpacing = [SPACING[1], SPACING[2]]
        data.SliceThickness = SPACING[0]
        data.ImageOrientationPatient = [*OBLIQUE[:, 0], *OBLIQUE[:, 1]]
        data.ImagePositionPatient = list(POSITION + OBLIQUE[:, 2] * SPACING[0] * index)
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = "-1000", "1"
        data.PixelData = (plane + np.int16(1000)).tobytes()
        data.save_as(folder / f"{(index * 7) % 12:02d}.dcm", enforce_file_format=True)
        written.append(data)
    return written


def write_seg(path: Path, series: list[Any], masks: dict[str, np.ndarray]) -> Path:
    """A DICOM segmentation of overlapping segments, empty frames left out."""
    from highdicom.seg import SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    known = {"Liver": codes.SCT.Liver, "Spleen": codes.SCT.Spleen, "Mass": codes.SCT.Mass}
    descriptions = [
        SegmentDescription(
            segment_number=number + 1,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=known[name],
            algorithm_type="MANUAL",
            display_color=hd.color.CIELabColor.from_rgb(221, 130, 101)
            if hasattr(hd.color.CIELabColor, "from_rgb")
            else None,
        )
        for number, name in enumerate(masks)
    ]
    pixels = np.stack(list(masks.values()), axis=-1).astype(np.uint8)
    seg = hd.seg.Segmentation(
        source_images=series,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path)
    return path


def test_series_and_segmentation_are_paired_by_reference(tmp_path: Path) -> None:
    mass = box((4, 6), (5, 8), (5, 8))
    masks = {"Liver": liver(), "Mass": mass, "Spleen": SPLEEN}
    series = write_series(tmp_path / "in" / "ct")
    write_series(tmp_path / "in" / "other", patient="P1", description="scout")
    write_seg(tmp_path / "in" / "seg" / "seg.dcm", series, masks)

    collection = collect([tmp_path / "in"], tmp_path / "out")

    case = collection.cases[0]
    assert (case.identifier, case.group, collection.channels) == ("P1", "P1", ("CT",))
    assert str(collection.structures[0].terms.type) == "SCT^10200004^Liver"
    data = open_dataset(tmp_path / "out")
    read = read_case(data.case("P1"), data.description.labels)
    np.testing.assert_array_equal(read.channels[0], grey() - 1024)
    np.testing.assert_allclose(read.geometry.direction, OBLIQUE, atol=1e-6)
    for label in data.description.labels.foreground:
        found = np.isin(read.labels, label.values)
        np.testing.assert_array_equal(found, masks[label.name])


def test_the_frame_of_reference_pairs_what_names_no_series(tmp_path: Path) -> None:
    series = write_series(tmp_path / "in" / "ct")
    path = write_seg(tmp_path / "in" / "seg.dcm", series, {"Liver": liver()})
    data = pydicom.dcmread(path)
    del data.ReferencedSeriesSequence
    data.save_as(path)
    case = survey([tmp_path / "in"]).cases[0]
    assert case.state == "ready", case
    assert "frame of reference" in case.notes[0]


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    series = write_series(tmp_path / "in" / "ct")
    write_seg(tmp_path / "in" / "seg.dcm", series, {"Liver": liver()})
    (tmp_path / "in" / "ct" / "11.dcm").unlink()  # the sixth slice
    problem = survey([tmp_path / "in"]).cases[0].problems[0]
    assert problem.kind == "no-image"
    assert "slices are missing" in problem.what
    for path in (tmp_path / "in" / "ct").iterdir():
        path.unlink()
    problem = survey([tmp_path / "in"]).cases[0].problems[0]
    assert "is not there" in problem.what


def test_without_the_packages_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    write_series(tmp_path / "ct")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    problem = survey([tmp_path]).cases[0].problems[0]
    assert problem.kind == "needs-dicom"
    assert problem.cure == 'pip install "selfseg[dicom]"'

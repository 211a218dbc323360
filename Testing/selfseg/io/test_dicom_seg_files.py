"""DICOM segmentations: read back with pydicom and highdicom, compared voxel by voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_examples import pydicom, write_series
from selfseg.cli import main
from selfseg.domain.appearance import Code
from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry
from selfseg.domain.segments import Segment, SegmentsInPlace
from selfseg.domain.terminology import Codes
from selfseg.io.dicom_seg_files import read_source
from selfseg.io.dicom_series import find_series, read_series
from selfseg.io.seg_nrrd_files import write_seg_nrrd

hd = pytest.importorskip("highdicom", reason="highdicom is not installed: DICOM was NOT tested")

KIDNEY = Codes(
    Code("SCT", "123037004", "Anatomical Structure"),
    Code("SCT", "64033007", "Kidney"),
    Code("SCT", "7771000", "Left"),
)
SHAPE = (6, 9, 8)
ROWS, COLUMNS = (0.8, 0.6, 0.0), (-0.6, 0.8, 0.0)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    write_series(tmp_path / "scan", voxels, rows=ROWS, columns=COLUMNS)
    return tmp_path / "scan"


def masks() -> tuple[np.ndarray, np.ndarray]:
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[1:4, 2:6, 1:5] = 1
    first[3, 2, 1:3] = 0
    second[3:5, 4:8, 3:7] = 1
    return first, second


def segments(**kidney: Any) -> tuple[Segment, ...]:
    return (
        Segment("left kidney", 0, 1, (185, 102, 83), KIDNEY, "AUTOMATIC", "kidneys 1.2", **kidney),
        Segment("edited", 1, 2, (0, 255, 0), Codes(), "SEMIAUTOMATIC", "kidneys 1.2"),
        Segment("not there", 1, 7, (0, 0, 255)),
    )


def exported(series: Path, place: SegmentsInPlace, layers: list[np.ndarray]) -> Any:
    source = series.parent / "case.seg.nrrd"
    write_seg_nrrd(source, place, layers)
    target = series.parent / "out"
    status = main(
        ["export", str(source), "-o", str(target), "-f", "dicom-seg", "--dicom", str(series)]
    )
    assert status == 0
    return hd.seg.segread(target / "case.dcm")


def voxels_of(seg: Any, series: Path) -> np.ndarray:
    """(Z, Y, X, S) in the order of the series' slices."""
    headers = read_source(find_series(series)[0].files).headers
    uids = [header.SOPInstanceUID for header in headers]
    found: np.ndarray = seg.get_pixels_by_source_instance(
        uids, combine_segments=False, assert_missing_frames_are_empty=True
    )
    return found


def test_every_voxel_comes_back_with_codes_patient_and_study(series: Path) -> None:
    _, grid = read_series(find_series(series)[0])
    first, second = masks()
    seg = exported(series, SegmentsInPlace(grid, 2, segments()), [first, 2 * second])
    found = voxels_of(seg, series)
    np.testing.assert_array_equal(found[..., 0], first)
    np.testing.assert_array_equal(found[..., 1], second)
    assert seg.number_of_segments == 2  # the empty one is left out
    scan = read_source(find_series(series)[0].files).headers[0]
    for name in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "AccessionNumber",
                 "FrameOfReferenceUID", "StudyDate"):  # fmt: skip
        assert seg[name].value == scan[name].value
    assert seg.SeriesInstanceUID != scan.SeriesInstanceUID
    assert seg.SegmentationType == "BINARY"
    kidney = seg.get_segment_description(1)
    assert kidney.segment_label == "left kidney"
    assert kidney.segmented_property_category.value == "123037004"
    assert kidney.segmented_property_type.value == "64033007"
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    assert modifier[0].CodeValue == "7771000"
    assert kidney.algorithm_type.value == "AUTOMATIC"
    assert kidney.algorithm_identification.name == "kidneys 1.2"
    lab = hd.color.CIELabColor.from_rgb(185, 102, 83).value
    np.testing.assert_array_equal(kidney.RecommendedDisplayCIELabValue, lab)
    edited = seg.get_segment_description(2)
    assert edited.algorithm_type.value == "SEMIAUTOMATIC"
    assert edited.segmented_property_type.value == "85756007"


def test_what_dcmqi_and_slicer_look_at(series: Path) -> None:
    """Referenced series and instances, one functional group per frame, ordered frames."""
    _, grid = read_series(find_series(series)[0])
    first, second = masks()
    exported(series, SegmentsInPlace(grid, 2, segments()), [first, 2 * second])
    seg = pydicom.dcmread(series.parent / "out" / "case.dcm")
    headers = read_source(find_series(series)[0].files).headers
    assert seg.SOPClassUID == pydicom.uid.SegmentationStorage
    assert seg.Modality == "SEG"
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == headers[0].SeriesInstanceUID
    mentioned = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
    assert mentioned == {header.SOPInstanceUID for header in headers}
    groups = seg.PerFrameFunctionalGroupsSequence
    assert len(groups) == seg.NumberOfFrames == 5  # slices 1-3 and 3-4
    numbers = [g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in groups]
    assert numbers == sorted(numbers)
    place = {str(h.SOPInstanceUID): [float(x) for x in h.ImagePositionPatient] for h in headers}
    for group in groups:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = [float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient]
        np.testing.assert_allclose(position, place[str(source)], atol=1e-4)
    shared = seg.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, [*ROWS, *COLUMNS]
    )
    measures = shared.PixelMeasuresSequence[0]
    np.testing.assert_allclose(measures.PixelSpacing, [0.9, 0.7])
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5)
    assert {item.SegmentNumber for item in seg.SegmentSequence} == {1, 2}
    for item in seg.SegmentSequence:
        assert item.SegmentAlgorithmName
        assert item.SegmentedPropertyCategoryCodeSequence[0].CodingSchemeDesignator == "SCT"


def test_a_scan_saved_the_other_way_round_lands_on_the_anatomy(series: Path) -> None:
    """As after a conversion to NIfTI and back: axes flipped, the segmentation cropped."""
    _, grid = read_series(find_series(series)[0])
    first, _ = masks()
    direction = np.array(grid.direction) @ np.diag([-1.0, 1.0, -1.0])
    corner = np.array(grid.origin)
    for axis, size in ((0, SHAPE[2]), (2, SHAPE[0])):
        corner += np.array(grid.direction)[:, axis] * grid.spacing[2 - axis] * (size - 1)
    cropped = first[::-1, :, ::-1][1:, 1:]
    steps = direction * np.array(grid.spacing[::-1])
    corner = corner + steps[:, 1] + steps[:, 2]
    rows = [tuple(map(float, row)) for row in direction]
    flipped = Geometry(cropped.shape, grid.spacing, tuple(corner.tolist()), tuple(rows))
    seg = exported(series, SegmentsInPlace(flipped, 1, segments()[:1]), [cropped])
    np.testing.assert_array_equal(voxels_of(seg, series)[..., 0], first)


def test_what_cannot_be_written_is_said(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, grid = read_series(find_series(series)[0])
    first, _ = masks()
    source, base = tmp_path / "case.seg.nrrd", ["export", str(tmp_path / "case.seg.nrrd")]
    base += ["-o", str(tmp_path / "o"), "-f", "dicom-seg"]
    write_seg_nrrd(source, SegmentsInPlace(grid, 1, segments()[:1]), [first])
    assert main(base) == 2
    assert "--dicom FOLDER" in capsys.readouterr().err
    far = Geometry(SHAPE, grid.spacing, (900.0, 900.0, 900.0), grid.direction)
    write_seg_nrrd(source, SegmentsInPlace(far, 1, segments()[:1]), [first])
    assert main([*base, "--dicom", str(series)]) == 1
    assert "outside of the DICOM series" in capsys.readouterr().err
    write_seg_nrrd(source, SegmentsInPlace(grid, 1, segments()[:1]), [first * 0])
    assert main([*base, "--dicom", str(series)]) == 1
    assert "empty segments only" in capsys.readouterr().err
    write_series(tmp_path / "two" / "a", np.zeros(SHAPE, np.int16))
    write_series(tmp_path / "two" / "b", np.zeros(SHAPE, np.int16))
    assert main([*base, "--dicom", str(tmp_path / "two")]) == 1
    assert "not clear which DICOM series" in capsys.readouterr().err


def test_a_missing_slice_is_no_volume(tmp_path: Path) -> None:
    files = write_series(tmp_path / "gap", np.zeros(SHAPE, np.int16), leave_out=(2,))
    with pytest.raises(ImageError, match="not at even distances"):
        read_source(files)
    (found,) = find_series(tmp_path)
    with pytest.raises(ImageError, match="not at even distances"):
        read_series(found)


def test_slices_under_a_tilted_gantry_are_no_volume(tmp_path: Path) -> None:
    files = write_series(tmp_path / "tilted", np.zeros(SHAPE, np.int16))
    for path in files:
        header = pydicom.dcmread(path)
        x, y, z = map(float, header.ImagePositionPatient)
        header.ImagePositionPatient = [x, y + 0.2 * (z + 30), z]
        header.save_as(path)
    (found,) = find_series(tmp_path)
    for read in (lambda: read_series(found), lambda: read_source(files)):
        with pytest.raises(ImageError, match="gantry was tilted"):
            read()


def test_a_series_is_read_where_it_lies(series: Path) -> None:
    (found,) = find_series(series.parent)
    assert found.name == "scan"
    voxels, grid = read_series(found)
    np.testing.assert_array_equal(voxels, np.arange(np.prod(SHAPE)).reshape(SHAPE))
    assert grid.spacing == pytest.approx((2.5, 0.9, 0.7))
    assert grid.origin == pytest.approx((-10.0, 20.0, -30.0))
    assert read_source(found.files).grid.mismatch(grid) == ""

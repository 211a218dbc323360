"""Made-up DICOM series, written with pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: DICOM was NOT tested")

from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402


def write_series(
    folder: Path,
    voxels: np.ndarray,
    *,
    origin: tuple[float, float, float] = (-10.0, 20.0, -30.0),
    rows: tuple[float, ...] = (1.0, 0.0, 0.0),
    columns: tuple[float, ...] = (0.0, 1.0, 0.0),
    spacing: tuple[float, float, float] = (2.5, 0.9, 0.7),
    study: str = "",
    number: int = 3,
    leave_out: tuple[int, ...] = (),
) -> list[Path]:
    """Writes (Z, Y, X) int16 as a CT series, its slices in a shuffled order of names.

    Args:
        origin: LPS mm of the first voxel.
        rows: along x.
        columns: along y.
        spacing: mm (Z, Y, X).
        leave_out: slices that are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study, frame = generate_uid(), study or generate_uid(), generate_uid()
    normal = np.cross(rows, columns)
    names = np.random.default_rng(0).permutation(len(voxels))
    written = []
    for index, plane in enumerate(voxels):
        if index in leave_out:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"IM{names[index]:04d}"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.PatientName, data.PatientID = "Doe^Jane", "P-17"
        data.PatientBirthDate, data.PatientSex = "19700101", "F"
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = frame, ""
        data.StudyID, data.StudyDate, data.StudyTime = "S1", "20240102", "030405"
        data.AccessionNumber, data.ReferringPhysicianName = "A9", ""
        data.Modality, data.Manufacturer, data.SeriesNumber = "CT", "made up", number
        data.InstanceNumber = index + 1
        data.SeriesDescription = "made-up scan"
        place = np.array(origin) + index * spacing[0] * normal
        data.ImagePositionPatient = [f"{part:.8g}" for part in place]
        data.ImageOrientationPatient = [f"{part:.8g}" for part in (*rows, *columns)]
        data.PixelSpacing = [spacing[1], spacing[2]]
        data.SliceThickness = spacing[0]
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleIntercept, data.RescaleSlope = -1000, 1
        data.PixelData = (plane + 1000).astype("<i2").tobytes()
        data.save_as(path, enforce_file_format=True)
        written.append(path)
    return written

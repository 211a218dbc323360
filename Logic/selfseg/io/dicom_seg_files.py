"""DICOM segmentations of series that lie in files: patient, study and frame of reference kept.

Needs the extra `dicom` (pydicom and highdicom).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..domain.appearance import Code
from ..domain.errors import ImageError, SelfsegError
from ..domain.geometry import Geometry
from ..domain.segments import Segment
from .atomic_files import written_atomically
from .dicom_series import require_even_slices

MANUFACTURER = "SelfConfiguringSegmentation"

UNNAMED_CATEGORY = Code("SCT", "85756007", "Tissue")
UNNAMED_TYPE = Code("SCT", "85756007", "Tissue")
"""What Slicer writes for a segment of which nobody has said what it is."""


@dataclass(frozen=True)
class SourceSeries:
    """The headers of a series, in the order of its slices, and its grid."""

    headers: tuple[Any, ...]
    grid: Geometry


def read_source(files: Sequence[Path]) -> SourceSeries:
    """Reads the headers of a series.

    Raises:
        ImageError: not one volume of single slices.
        SelfsegError: the packages are not installed.
    """
    pydicom, _ = _packages()
    try:
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    except Exception as error:  # pydicom raises whatever its parsers meet
        raise _unusable("files that can be read", f"{type(error).__name__}: {error}") from error
    uids = {str(header.get("SeriesInstanceUID", "")) for header in headers}
    if len(uids) != 1:
        raise _unusable("files of one series", f"{len(uids)} series")
    try:
        orientation = [float(part) for part in headers[0].ImageOrientationPatient]
        positions = [[float(p) for p in header.ImagePositionPatient] for header in headers]
        down, across = (float(part) for part in headers[0].PixelSpacing)
    except (AttributeError, ValueError, TypeError) as error:
        raise _unusable(
            "single slices with their position and spacing", "a series without them (enhanced?)"
        ) from error
    normal = np.cross(orientation[:3], orientation[3:])
    order = np.argsort([float(np.dot(position, normal)) for position in positions], kind="stable")
    headers, positions = [headers[i] for i in order], [positions[i] for i in order]
    require_even_slices(positions, orientation, str(headers[0].get("SeriesDescription", "")))
    ends = np.subtract(positions[-1], positions[0]) @ normal
    thick = headers[0].get("SliceThickness")
    up = float(ends) / (len(headers) - 1) if len(headers) > 1 else float(thick or 1.0)
    direction = np.stack([orientation[:3], orientation[3:], normal], axis=1).tolist()
    first = positions[0]
    grid = Geometry(
        (len(headers), int(headers[0].Rows), int(headers[0].Columns)),
        (up, down, across),
        (first[0], first[1], first[2]),
        (tuple(direction[0]), tuple(direction[1]), tuple(direction[2])),
    )
    return SourceSeries(tuple(headers), grid)


def write_dicom_seg(
    path: Path,
    source: SourceSeries,
    layers: Sequence[NDArray[Any]],
    segments: Sequence[Segment],
    *,
    description: str,
) -> None:
    """Writes a DICOM segmentation (BINARY).

    Args:
        path: of the file.
        source: what was segmented.
        layers: label maps (Z, Y, X) on the grid of `source`.
        segments: none of them empty; a program's segments without a name of the program get
            this package's.
        description: of the series.

    Raises:
        ImageError: nothing to write.
        ProjectError: it cannot be written.
    """
    _, hd = _packages()
    if not segments:
        raise ImageError(
            "there is nothing to write",
            expected="at least one segment with voxels",
            found="empty segments only",
            cure="DICOM has no empty segmentations: export another format",
            path=path,
        )
    number = int(source.headers[0].get("SeriesNumber") or 0) + 100
    segmentation = hd.seg.Segmentation(
        source_images=source.headers,
        pixel_array=_pixels(layers, segments),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _described(hd, segment, index + 1) for index, segment in enumerate(segments)
        ],
        series_instance_uid=hd.UID(),
        series_number=number,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="selfseg",
        software_versions=__version__,
        device_serial_number="0",
        content_description=description[:64],
        content_label="SEGMENTATION",
        series_description=description[:64],
    )
    with written_atomically(path) as part:
        segmentation.save_as(part)


def _pixels(layers: Sequence[NDArray[Any]], segments: Sequence[Segment]) -> NDArray[Any]:
    """One label map where nothing overlaps, otherwise (Z, Y, X, S)."""
    if len({segment.layer for segment in segments}) == 1:
        layer = layers[segments[0].layer]
        table = np.zeros(int(layer.max()) + 1, np.uint8 if len(segments) < 256 else np.uint16)
        for index, segment in enumerate(segments):
            table[segment.value] = index + 1
        numbered: NDArray[Any] = table[layer]
        return numbered
    return np.stack(
        [layers[segment.layer] == segment.value for segment in segments], axis=-1
    ).astype(np.uint8)


def _described(hd: Any, segment: Segment, number: int) -> Any:
    codes = segment.codes
    automatic = segment.algorithm != "MANUAL"
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64],
        segmented_property_category=_concept(hd, codes.category or UNNAMED_CATEGORY),
        segmented_property_type=_concept(hd, codes.type or UNNAMED_TYPE),
        algorithm_type=segment.algorithm,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=(segment.algorithm_name or MANUFACTURER)[:64],
            family=_concept(hd, Code("DCM", "123110", "Artificial Intelligence")),
            version=__version__,
        )
        if automatic
        else None,
        anatomic_regions=[_concept(hd, codes.region)] if codes.region else None,
        tracking_uid=hd.UID(),
        tracking_id=segment.name[:64],
        display_color=hd.color.CIELabColor.from_rgb(*segment.colour),
    )
    if codes.modifier:
        description.SegmentedPropertyTypeCodeSequence[
            0
        ].SegmentedPropertyTypeModifierCodeSequence = [_concept(hd, codes.modifier)]
    return description


def _concept(hd: Any, code: Code) -> Any:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning[:64])


def _packages() -> tuple[Any, Any]:
    try:
        import highdicom
        import pydicom
    except ImportError as error:
        raise SelfsegError(
            "DICOM segmentations need packages that are not installed",
            expected="pydicom and highdicom",
            found=str(error),
            cure='pip install "selfseg[dicom]"',
        ) from error
    return pydicom, highdicom


def _unusable(expected: str, found: str) -> ImageError:
    return ImageError(
        "the DICOM series cannot carry a segmentation",
        expected=expected,
        found=found,
        cure="name the folder of the series that was segmented",
    )

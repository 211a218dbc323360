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
from ..domain.anatomy import TISSUE
from ..domain.appearance import Code
from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..domain.segments import Segment
from .atomic_files import written_atomically
from .dicom_headers import required, stacked
from .dicom_series import require_even_slices

MANUFACTURER = "SelfConfiguringSegmentation"


@dataclass(frozen=True)
class SourceSeries:
    """The headers of a series, in the order of its slices, and its grid."""

    headers: tuple[Any, ...]
    grid: Geometry


def read_source(files: Sequence[Path]) -> SourceSeries:
    """Reads the headers of a series.

    Raises:
        ImageError: not one volume of single slices.
        DatasetError: the packages are not installed.
    """
    pydicom = required("pydicom")
    try:
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    except Exception as error:  # pydicom raises whatever its parsers meet
        raise _unusable("files that can be read", f"{type(error).__name__}: {error}") from error
    uids = {str(header.get("SeriesInstanceUID", "")) for header in headers}
    if len(uids) != 1:
        raise _unusable("files of one series", f"{len(uids)} series")
    try:
        stack = stacked(headers)
        thick = float(headers[0].get("SliceThickness") or 1.0)
        name = str(headers[0].get("SeriesDescription", ""))
        require_even_slices(stack.positions, stack.turn.ravel(), name)
        ends = (stack.positions[-1] - stack.positions[0]) @ stack.normal
        grid = stack.grid(float(ends) / (len(headers) - 1) if len(headers) > 1 else thick)
    except (AttributeError, ValueError, TypeError) as error:
        raise _unusable(
            "single slices with their position and spacing", "a series without them (enhanced?)"
        ) from error
    return SourceSeries(stack.headers, grid)


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
    hd = required("highdicom")
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
        segmented_property_category=_concept(hd, codes.category or TISSUE),
        # What Slicer writes for a segment of which nobody has said what it is.
        segmented_property_type=_concept(hd, codes.type or TISSUE),
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


def _unusable(expected: str, found: str) -> ImageError:
    return ImageError(
        "the DICOM series cannot carry a segmentation",
        expected=expected,
        found=found,
        cure="name the folder of the series that was segmented",
    )

"""The header of a .seg.nrrd file: text, read and written with the standard library alone.

Slicer's own process writes uncompressed files with it, slice by slice, where nothing that
computes may be imported. Format:
https://slicer.readthedocs.io/en/latest/user_guide/modules/segmentations.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..domain.labels import Colour
from ..domain.segments import (
    ALGORITHM_NAME_TAG,
    ALGORITHM_TYPE_TAG,
    GREY,
    TERMINOLOGY_TAG,
    Segment,
    SegmentsInPlace,
)
from .nrrd_header import Encoding, NrrdHeader, VoxelType, nrrd_header

ENDING = ".seg.nrrd"

CODE_TAG = "SelfConfiguringSegmentation.Code"
"""A tag of ours: the structure's code as the model's label scheme holds it."""

REFERENCE_KEY = "Reference image geometry"
"""The conversion parameter of Slicer's that says which grid was segmented."""

PARAMETERS_KEY = "Segmentation_ConversionParameters"

_REPRESENTATIONS_KEY = "Segmentation_ContainedRepresentationNames"

_TERMINOLOGY_TAGS = (TERMINOLOGY_TAG, "Segmentation.TerminologyEntry")

_DESCRIPTION = "Grid of the image that was segmented"

_FIELD = re.compile(r"Segment(\d{1,6})_(.+)")

_TYPES: Mapping[int, VoxelType] = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int"}


@dataclass(frozen=True)
class StoredSegment:
    """A segment as the header describes it.

    Args:
        identifier: unique in its file.
        name: shown to people.
        layer: which of the file's channels it lies in.
        value: its label value there.
        colour: RGB 0-255, None where the file says none.
        tags: further words by name: terminology, who drew it.
        extent: first and last voxel along x, y and z that it reaches at most; None for the
            whole grid.
    """

    identifier: str
    name: str
    layer: int
    value: int
    colour: Colour | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    extent: tuple[int, ...] | None = None

    @property
    def terminology(self) -> str:
        """Slicer's text, "" without one."""
        return next((self.tags[key] for key in _TERMINOLOGY_TAGS if self.tags.get(key)), "")

    @property
    def empty(self) -> bool:
        """Whether it is known to hold no voxel: what was erased leaves its extent behind."""
        bounds = self.extent
        return bounds is not None and any(bounds[i] > bounds[i + 1] for i in (0, 2, 4))


def holds_segments(header: NrrdHeader) -> bool:
    """Whether a NRRD file is a segmentation (and not just called so)."""
    return _REPRESENTATIONS_KEY in header.values or any(
        key.startswith("Segment0_") for key in header.values
    )


def stored_segments(header: NrrdHeader, layer_count: int) -> tuple[StoredSegment, ...]:
    """The segments that a header describes, in their order.

    Args:
        header: of the file.
        layer_count: its channels. Before Slicer 4.11 every segment had one of its own, and the
            value 1.

    What it says of layers and values is not checked against the file.
    """
    described: dict[int, dict[str, str]] = {}
    for key, value in header.values.items():
        if match := _FIELD.fullmatch(key):
            described.setdefault(int(match[1]), {})[match[2]] = value.strip()
    found: list[StoredSegment] = []
    while (number := len(found)) in described:
        own = described[number]
        identifier = own.get("ID") or f"Segment_{number + 1}"
        found.append(
            StoredSegment(
                identifier,
                own.get("Name") or identifier,
                _whole(own.get("Layer", ""), min(number, layer_count - 1)),
                _whole(own.get("LabelValue", ""), 1),
                _colour(own.get("Color", "")),
                _tags(own.get("Tags", "")),
                _extent(own.get("Extent", "")),
            )
        )
    return tuple(found)


def as_stored(segment: Segment, index: int) -> StoredSegment:
    """A segment as it is described in a file, by its position."""
    tags = {
        ALGORITHM_TYPE_TAG: segment.algorithm,
        ALGORITHM_NAME_TAG: segment.algorithm_name,
        TERMINOLOGY_TAG: segment.codes.slicer_text,
    }
    return StoredSegment(
        segment.identifier or f"Segment_{index + 1}",
        segment.name,
        segment.layer,
        segment.value,
        segment.colour,
        tags,
    )


def seg_nrrd_header(place: SegmentsInPlace, *, item_bytes: int, encoding: Encoding) -> bytes:
    """The header, the empty line after it included.

    The voxels that follow are little endian, of unsigned whole numbers, x fastest; with several
    layers those of one voxel lie together.

    Args:
        place: what lies where; without a reference the layers' own grid is taken for it.
        item_bytes: of a voxel of one layer: 1, 2 or 4.
        encoding: of the voxels.
    """
    stored = [as_stored(segment, index) for index, segment in enumerate(place.segments)]
    return stored_header(
        place.grid,
        place.layer_count,
        stored,
        reference=place.reference,
        item_bytes=item_bytes,
        encoding=encoding,
    )


def stored_header(
    grid: Geometry,
    layer_count: int,
    segments: Sequence[StoredSegment],
    *,
    reference: Geometry | None,
    item_bytes: int,
    encoding: Encoding,
) -> bytes:
    """The header of segments that are described already; see `seg_nrrd_header`."""
    values: dict[str, str] = {}
    for index, segment in enumerate(segments):
        for key, value in _fields(segment, grid).items():
            values[f"Segment{index}_{key}"] = value
    reference = reference or grid
    values |= {
        _REPRESENTATIONS_KEY: "Binary labelmap|",
        PARAMETERS_KEY: f"{REFERENCE_KEY}|{geometry_text(reference)}|{_DESCRIPTION}&",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": _offset(grid, reference),
    }
    return nrrd_header(
        grid,
        components=layer_count,
        voxel_type=_TYPES[item_bytes],
        encoding=encoding,
        values=values,
    )


def geometry_text(grid: Geometry) -> str:
    """A grid as Slicer writes it: IJK to RAS in 16 numbers, then the extent in 6."""
    to_ras = zip((-1.0, -1.0, 1.0, 1.0), grid.affine, strict=True)
    numbers = [repr(sign * part + 0.0) for sign, row in to_ras for part in row]
    extent = [str(bound) for size in grid.shape[::-1] for bound in (0, size - 1)]
    return "".join(f"{text};" for text in (*numbers, *extent))


def reference_grid(header: NrrdHeader) -> Geometry | None:
    """The grid of the image that was segmented: None where the file says none that is straight."""
    words = header.values.get(PARAMETERS_KEY, "").replace("&", "|").split("|")
    if REFERENCE_KEY not in words[:-1]:
        return None
    text = words[words.index(REFERENCE_KEY) + 1]
    try:
        numbers = [float(part) for part in text.split(";") if part.strip()]
        extent = [int(number) for number in numbers[16:22]]
        rows = [numbers[row * 4 : row * 4 + 4] for row in range(3)]
        shape = [extent[i + 1] - extent[i] + 1 for i in (4, 2, 0)]
        return Geometry.from_affine(rows, shape, start=extent[::2], ras=True)
    except (ValueError, IndexError, OverflowError, ImageError):
        return None


def _fields(segment: StoredSegment, grid: Geometry) -> Mapping[str, str]:
    whole = [bound for size in grid.shape[::-1] for bound in (0, size - 1)]
    return {
        "Color": " ".join(f"{part / 255:.6g}" for part in segment.colour or GREY),
        "ColorAutoGenerated": "0",
        "Extent": " ".join(map(str, segment.extent or whole)),
        "ID": segment.identifier,
        "LabelValue": str(segment.value),
        "Layer": str(segment.layer),
        "Name": segment.name,
        "NameAutoGenerated": "0",
        "Tags": "".join(
            f"{key}:{value.replace('|', '/')}|" for key, value in segment.tags.items() if value
        ),
    }


def _offset(grid: Geometry, reference: Geometry) -> str:
    """First voxel of the grid on the reference, in voxels (x, y, z)."""
    apart = [a - b for a, b in zip(grid.origin, reference.origin, strict=True)]
    offset = []
    for axis in range(3):
        along = sum(part * row[axis] for part, row in zip(apart, reference.direction, strict=True))
        offset.append(str(round(along / reference.spacing[2 - axis])))
    return " ".join(offset)


def _tags(text: str) -> Mapping[str, str]:
    parts = (tag.partition(":") for tag in text.split("|"))
    return {key.strip(): value for key, colon, value in parts if colon}


def _extent(text: str) -> tuple[int, ...] | None:
    bounds = tuple(int(part) for part in text.split() if re.fullmatch(r"-?\d{1,9}", part))
    return bounds if len(bounds) == 6 else None


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = (min(255, max(0, round(float(part) * 255))) for part in text.split())
    except (ValueError, OverflowError):
        return None
    return red, green, blue


def _whole(text: str, fallback: int) -> int:
    return int(text) if re.fullmatch(r"\d{1,99}", text, re.ASCII) else fallback

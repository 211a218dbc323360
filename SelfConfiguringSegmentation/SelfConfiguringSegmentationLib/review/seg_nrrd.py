"""Segmentations as 3D Slicer stores them (`.seg.nrrd`): one label map per layer, names in front.

Written here and not by Slicer's own storage node, which would hold up the interface. Format:
https://slicer.readthedocs.io/en/latest/user_guide/modules/segmentations.html
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Colour
from selfseg.io.atomic_files import written_atomically

from .segments import Segment, Segments, packed

SEGMENTATION_ENDING = ".seg.nrrd"

CHUNK_BYTES = 2**20
"""Compressed at a time, so that the interface gets its turn."""

_TYPES = {"u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int",
          "u4": "unsigned int", "i1": "signed char", "f4": "float", "f8": "double",
          "i8": "long long int", "u8": "unsigned long long int"}  # fmt: skip


def write_segments(path: Path, given: Segments) -> None:
    """Writes segments, all of the file or nothing.

    Raises:
        ProjectError: it cannot be written.
    """
    import numpy as np

    stored = packed(given)
    voxels = stored.layers[0] if len(stored.layers) == 1 else np.stack(stored.layers, axis=-1)
    values = {"Segmentation_ContainedRepresentationNames": "Binary labelmap|",
              "Segmentation_MasterRepresentation": "Binary labelmap",
              "Segmentation_SourceRepresentation": "Binary labelmap",
              "Segmentation_ReferenceImageExtentOffset": "0 0 0"}  # fmt: skip
    for number, segment in enumerate(stored.segments):
        for key, value in _words_of(stored, segment).items():
            values[f"Segment{number}_{key}"] = value
    write_nrrd(path, voxels, stored.grid, values)


def write_nrrd(
    path: Path, voxels: Any, grid: Geometry, values: Mapping[str, str] | None = None
) -> None:
    """Writes an image, all of the file or nothing.

    Args:
        path: ends with ".nrrd".
        voxels: (Z, Y, X), or (Z, Y, X, C).
        grid: of the image.
        values: further text for the header.

    Raises:
        ProjectError: it cannot be written.
    """
    import numpy as np

    voxels = np.ascontiguousarray(voxels)
    axes = [
        tuple(row[axis] * grid.spacing[2 - axis] for row in grid.direction) for axis in range(3)
    ]
    many = voxels.ndim == 4
    sizes = [*voxels.shape[3:], *voxels.shape[2::-1]]
    lines = [
        "NRRD0004",
        f"type: {_TYPES[voxels.dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {'none ' if many else ''}{' '.join(map(_point, axes))}",
        f"kinds: {'list ' if many else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_point(grid.origin)}",
        *(f"{key}:={_one_line(value)}" for key, value in (values or {}).items()),
    ]
    voxels = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    with written_atomically(path) as part, part.open("wb") as stream:
        stream.write(("\n".join(lines) + "\n\n").encode("utf-8"))
        _compress(voxels, stream)


def read_segments(path: Path, *, exclusive: bool = False) -> Segments:
    """Reads a `.seg.nrrd`, with its segments in their order.

    Raises:
        ImageError: it cannot be read, or holds no segments.
    """
    import numpy as np
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(
            "the segmentation cannot be read",
            expected="a .seg.nrrd that is complete",
            found=str(error).strip().splitlines()[-1],
            cure="restore it from a copy, or move it elsewhere",
            path=path,
        ) from error
    voxels = sitk.GetArrayFromImage(image)
    layers = (voxels,) if voxels.ndim == 3 else tuple(np.moveaxis(voxels, -1, 0))
    found = tuple(_segments(image, len(layers)))
    if not found or any(segment.layer >= len(layers) for segment in found):
        raise ImageError(
            "the file holds no segments",
            expected="segments that are described in the header",
            found="none, or damaged ones",
            cure="save it from Slicer as a segmentation",
            path=path,
        )
    direction = np.reshape(image.GetDirection(), (3, 3))
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in direction]
    spacing, origin = image.GetSpacing(), image.GetOrigin()
    depth, height, width = layers[0].shape
    grid = Geometry(
        (depth, height, width),
        (spacing[2], spacing[1], spacing[0]),
        (origin[0], origin[1], origin[2]),
        (rows[0], rows[1], rows[2]),
    )
    return Segments(grid, layers, found, exclusive)


def _words_of(stored: Segments, segment: Segment) -> dict[str, str]:
    colour = segment.colour or (128, 174, 128)
    tags = {"DICOM.SegmentAlgorithmType": segment.made}
    if segment.terminology:
        tags["TerminologyEntry"] = segment.terminology
    if segment.code:
        tags["SelfConfiguringSegmentation.Code"] = segment.code
    return {
        "Color": " ".join(f"{part / 255:.6f}" for part in colour),
        "ColorAutoGenerated": "0",
        "Extent": _extent(stored.mask(segment)),
        "ID": segment.identifier,
        "LabelValue": str(segment.value),
        "Layer": str(segment.layer),
        "Name": segment.name,
        "NameAutoGenerated": "0",
        "Tags": "|".join(f"{key}:{value}" for key, value in tags.items()) + "|",
    }


def _segments(image: Any, layers: int) -> Iterator[Segment]:
    keys = set(image.GetMetaDataKeys())
    number = 0
    while f"Segment{number}_ID" in keys or f"Segment{number}_Name" in keys:

        def value(key: str, fallback: str = "", number: int = number) -> str:
            whole = f"Segment{number}_{key}"
            return str(image.GetMetaData(whole)) if whole in keys else fallback

        tags = dict(tag.partition(":")[::2] for tag in value("Tags").split("|") if ":" in tag)
        yield Segment(
            identifier=value("ID") or f"Segment_{number + 1}",
            name=value("Name") or value("ID"),
            layer=_whole(value("Layer"), min(number, layers - 1)),
            value=_whole(value("LabelValue"), 1),
            colour=_colour(value("Color")),
            code=tags.get("SelfConfiguringSegmentation.Code"),
            terminology=tags.get("TerminologyEntry")
            or tags.get("Segmentation.TerminologyEntry", ""),
            made=tags.get("DICOM.SegmentAlgorithmType", "AUTOMATIC"),
        )
        number += 1


def _compress(voxels: Any, stream: IO[bytes]) -> None:
    compressor = zlib.compressobj(level=1, wbits=31)  # 31: with gzip's header
    data = memoryview(voxels).cast("B") if voxels.size else memoryview(b"")
    for start in range(0, len(data), CHUNK_BYTES):
        stream.write(compressor.compress(data[start : start + CHUNK_BYTES]))
    stream.write(compressor.flush())


def _extent(mask: Any) -> str:
    import numpy as np

    bounds = []
    for axis in (2, 1, 0):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        bounds += [int(found[0]), int(found[-1])] if len(found) else [0, -1]
    return " ".join(map(str, bounds))


def _colour(text: str) -> Colour | None:
    try:
        red, green, blue = (min(255, max(0, round(float(part) * 255))) for part in text.split())
    except (ValueError, OverflowError):
        return None
    return red, green, blue


def _whole(text: str, fallback: int) -> int:
    return int(text) if text.strip().isdecimal() else fallback


def _point(values: Sequence[float]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", " ")

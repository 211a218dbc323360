"""Slicer's .seg.nrrd files, whole: segments that may overlap, their names, colours and codes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from ..domain.anatomy import TISSUE
from ..domain.appearance import Code
from ..domain.errors import ImageError, ModelError
from ..domain.geometry import Geometry
from ..domain.labels import Colour
from ..domain.segments import (
    ALGORITHM_NAME_TAG,
    GREY,
    TERMINOLOGY_TAG,
    Codes,
    Segment,
    SegmentsInPlace,
    algorithm_of,
)
from .atomic_files import written_atomically
from .itk_images import read_itk
from .seg_nrrd_header import REFERENCE_KEY, seg_nrrd_header

sitk: Any = SimpleITK

ENDING = ".seg.nrrd"

CODE_TAG = "SelfConfiguringSegmentation.Code"
"""A tag of ours: the structure's code as the model's label scheme holds it."""

_SLAB_BYTES = 16 * 2**20


def read_seg_nrrd(path: Path) -> tuple[SegmentsInPlace, NDArray[Any]]:
    """Reads a .seg.nrrd file.

    Returns:
        what lies where; and the layers (L, Z, Y, X), whole numbers.

    Raises:
        ImageError: unreadable, no segment, or not stored as label maps.
    """
    fields = _fields(path)
    layers, grid = read_itk(path)
    if not np.issubdtype(layers.dtype, np.integer):
        raise _no_segmentation(path, f"voxels of type {layers.dtype}")
    segments = tuple(_segments(fields, path))
    reference = _reference(fields)
    return SegmentsInPlace(grid, layers.shape[0], segments, reference), layers


def write_seg_nrrd(path: Path, place: SegmentsInPlace, layers: Sequence[NDArray[Any]]) -> None:
    """Writes a .seg.nrrd file, compressed, all of it or nothing.

    Args:
        path: ends in .seg.nrrd.
        place: what lies where.
        layers: (Z, Y, X) each, whole numbers from 0.

    Raises:
        ProjectError: it cannot be written.
    """
    highest = max((int(layer.max()) for layer in layers), default=0)
    kind = np.dtype("u1" if highest < 2**8 else "<u2" if highest < 2**16 else "<u4")
    packer = zlib.compressobj(level=4, wbits=31)  # 31: with gzip's header
    depth, *plane = layers[0].shape
    step = max(1, _SLAB_BYTES // max(1, int(np.prod(plane)) * len(layers) * kind.itemsize))
    with written_atomically(path) as part, part.open("wb") as stream:
        stream.write(seg_nrrd_header(place, item_bytes=kind.itemsize, encoding="gzip"))
        for first in range(0, depth, step):
            parts = [layer[first : first + step].astype(kind, copy=False) for layer in layers]
            slab = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
            stream.write(packer.compress(np.ascontiguousarray(slab).tobytes()))
        stream.write(packer.flush())


def _fields(path: Path) -> Mapping[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(
            "the segmentation cannot be read",
            expected="a .seg.nrrd file as Slicer writes it",
            found=str(error).strip().splitlines()[-1],
            cure="save the segmentation again in Slicer",
            path=path,
        ) from error
    return {key: _text(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}


def _segments(fields: Mapping[str, str], path: Path) -> list[Segment]:
    made: list[Segment] = []
    while f"Segment{len(made)}_ID" in fields or f"Segment{len(made)}_Name" in fields:
        prefix = f"Segment{len(made)}_"
        own = {key[len(prefix) :]: value for key, value in fields.items() if key.startswith(prefix)}
        tags = {
            key.strip(): value
            for key, colon, value in (tag.partition(":") for tag in own.get("Tags", "").split("|"))
            if colon
        }
        identifier = own.get("ID", f"Segment_{len(made) + 1}")
        try:
            segment = Segment(
                name=own.get("Name", identifier),
                # Before layers there was one component per segment, with the value 1.
                layer=int(own.get("Layer", len(made))),
                value=int(own.get("LabelValue", 1)),
                colour=_colour(own.get("Color", "")),
                codes=_codes(tags),
                algorithm=algorithm_of(tags),
                algorithm_name=tags.get(ALGORITHM_NAME_TAG, ""),
                identifier=identifier,
            )
        except ValueError as error:
            raise _no_segmentation(path, str(error)) from error
        made.append(segment)
    if not made:
        raise _no_segmentation(path, "no segment in its header")
    return made


def _codes(tags: Mapping[str, str]) -> Codes:
    """What a segment is: by its terminology, or by the code that its model has given it."""
    codes = Codes.from_slicer(tags.get(TERMINOLOGY_TAG, ""))
    if codes.type is not None or CODE_TAG not in tags:
        return codes
    try:
        own = Code.from_text(tags[CODE_TAG])
    except ModelError:
        return codes
    return Codes(TISSUE, own)


def _reference(fields: Mapping[str, str]) -> Geometry | None:
    """The grid that was segmented, where the file says it in a form that is understood."""
    for entry in fields.get("Segmentation_ConversionParameters", "").split("&"):
        name, _, rest = entry.partition("|")
        if name != REFERENCE_KEY:
            continue
        numbers = rest.partition("|")[0].strip(";").split(";")
        try:
            values = [float(number) for number in numbers]
            return _geometry(values[:16], values[16:22])
        except (ValueError, ImageError):
            return None
    return None


def _geometry(matrix: Sequence[float], extent: Sequence[float]) -> Geometry:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.reshape(matrix, (4, 4))
    first = np.array([extent[0], extent[2], extent[4]])
    x, y, z = (int(extent[2 * axis + 1] - extent[2 * axis]) + 1 for axis in range(3))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = (affine[:3, :3] / spacing).tolist()
    origin = (affine[:3, :3] @ first + affine[:3, 3]).tolist()
    across, down, up = spacing.tolist()
    return Geometry(
        (z, y, x),
        (up, down, across),
        (origin[0], origin[1], origin[2]),
        (tuple(direction[0]), tuple(direction[1]), tuple(direction[2])),
    )


def _colour(text: str) -> Colour:
    parts = [round(255 * min(max(float(part), 0.0), 1.0)) for part in text.split()]
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else GREY


def _text(value: str) -> str:
    """A field's text; ITK hands on bytes that it takes for Latin-1 or leaves as surrogates."""
    for encoding, errors in (("utf-8", "surrogateescape"), ("latin-1", "strict")):
        try:
            return value.encode(encoding, errors).decode("utf-8").replace("\\n", "\n")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return value


def _no_segmentation(path: Path, found: str) -> ImageError:
    return ImageError(
        "this is no segmentation stored as label maps",
        expected="a .seg.nrrd file with the fields Segment0_Name, Segment0_LabelValue, ...",
        found=found,
        cure="in Slicer, make its binary labelmap the source representation and save it again",
        path=path,
    )

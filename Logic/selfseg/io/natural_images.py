"""Photographs (png, bmp, jpg) and TIFF, as one-slice volumes; TIFF also as stacks."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ..domain.errors import FileFormatError, ImageError
from ..domain.geometry import SLICE_SPACING_2D, Geometry, Vector3
from .image_endings import name_without_ending, split_channel
from .json_files import read_plain_json

sitk: Any = SimpleITK
"""SimpleITK's wrappers carry no types."""

Array = NDArray[Any]

PHOTO_SPACING: Vector3 = (SLICE_SPACING_2D, 1.0, 1.0)
MAX_COMPRESSION = 2000
"""Largest ratio that is believed: deflate reaches 1032, LZW about 1400."""

_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow, tifffile and ITK raise for files that are damaged or absurdly large."""
_EXPECTED = "a grey, RGB or RGBA picture of 8 or 16 bit"


def read_photo(path: Path, *, indices: bool = False) -> tuple[Array, Geometry]:
    """Reads png, bmp or jpg as (C, 1, Y, X); transparency is dropped.

    A picture with a palette gives its colours, except with `indices`: a label map drawn in
    colours gives the numbers of its colours, and one drawn in greys its greys.

    Raises:
        ImageError: unreadable.
    """
    try:
        if _is_deep_colour_png(path):
            # Pillow cuts 16-bit colour down to 8 bit.
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        else:
            pixels = _with_pillow(path, indices=indices)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    array = pixels[None, None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)[:, None]
    if array.shape[0] in (2, 4):
        array = array[:-1]
    return array, _photo_geometry(array)


def read_tiff(path: Path, *, indices: bool = False) -> tuple[Array, Geometry]:
    """Reads TIFF as (C, Z, Y, X): a picture (Z = 1) or a stack of slices.

    The spacing of a stack is looked for in nnU-Net's JSON file beside it
    ({"spacing": [z, y, x]} in name.json, for images name without channel); without one it
    is 1 mm on all axes. Palettes and `indices` as in `read_photo`.

    Raises:
        ImageError: unreadable, or axes that are neither space nor channels.
    """
    try:
        pixels, axes = _with_tifffile(path, indices=indices)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    channel = [i for i, name in enumerate(axes) if name in "SC"]
    depth = [i for i, name in enumerate(axes) if name in "ZIQT"]
    if pixels.ndim != len(axes) or len(channel) > 1 or len(depth) > 1 or "Y" not in axes:
        raise ImageError(
            "the TIFF has too many axes",
            expected="rows, columns, and at most one stack axis and one channel axis",
            found=f"axes {axes} of size {pixels.shape}",
            cure="export it as a plain stack of slices, one file per channel",
            path=path,
        )
    order = [*channel, *depth, axes.index("Y"), axes.index("X")]
    pixels = pixels.transpose(order)
    if not depth:
        pixels = np.expand_dims(pixels, -3)
    array = pixels if channel else pixels[None]
    if channel and axes[channel[0]] == "S" and array.shape[0] in (2, 4):
        array = array[:-1]
    if array.shape[1] == 1:
        return array, _photo_geometry(array)
    shape = (array.shape[1], array.shape[2], array.shape[3])
    return array, Geometry(shape, _stack_spacing(path))


def write_photo(path: Path, labels: Array, geometry: Geometry) -> None:
    """Writes a one-slice label map (1, Y, X) as grey png (8 or 16 bit) or bmp (8 bit).

    Raises:
        ImageError: jpg (it changes values), more than one slice, a grid that has a place in
            the world, or values beyond the format's.
    """
    ending = path.suffix.lower()
    limit = {".png": 65535, ".bmp": 255}.get(ending)
    if limit is None:
        raise ImageError(
            "JPEG cannot hold a label map: it changes the values",
            expected="a format without loss",
            found=ending,
            cure="write .png instead",
            path=path,
        )
    if not geometry.is_2d or geometry != Geometry(geometry.shape, PHOTO_SPACING):
        raise ImageError(
            f"{ending} cannot hold this label map: it has no place for its geometry",
            expected="one slice of 1 x 1 pixels at the origin",
            found=f"size {geometry.shape}, spacing {geometry.spacing} mm (Z, Y, X)",
            cure="write .nii.gz instead",
            path=path,
        )
    _check_limit(path, labels, limit)
    Image.fromarray(np.ascontiguousarray(labels[0])).save(path, optimize=True)


def write_tiff(path: Path, labels: Array, geometry: Geometry) -> None:
    """Writes a label map (Z, Y, X) as compressed TIFF; a stack gets a JSON file with its spacing.

    Raises:
        ImageError: a grid with an origin or direction, or a stack of one slice.
    """
    flat = geometry.is_2d and geometry.spacing == PHOTO_SPACING
    straight = geometry == Geometry(geometry.shape, geometry.spacing)
    if not straight or (not flat and geometry.shape[0] == 1):
        raise ImageError(
            "TIFF cannot hold the geometry of this label map",
            expected="a picture, or a stack without origin and direction",
            found=f"size {geometry.shape}, spacing {geometry.spacing}, origin {geometry.origin}",
            cure="write .nii.gz instead",
            path=path,
        )
    _check_limit(path, labels, 2**32 - 1)
    data, axes = (labels[0], "YX") if flat else (labels, "ZYX")
    tifffile.imwrite(
        path, data, compression="zlib", photometric="minisblack", metadata={"axes": axes}
    )
    if not flat:
        beside = path.with_name(name_without_ending(path) + ".json")
        beside.write_text(json.dumps({"spacing": list(geometry.spacing)}), encoding="utf-8")


def _with_pillow(path: Path, *, indices: bool) -> Array:
    with Image.open(path) as image:
        if image.mode == "P" and indices:
            palette = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
            return _coloured(np.asarray(image), palette, indices=True)
        if image.mode in ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB"):
            return np.asarray(image.convert("RGB"))
        if image.mode in ("La", "RGBa", "RGBX"):
            return np.asarray(image.convert("RGB" if image.mode != "La" else "L"))
        return np.asarray(image)


def _coloured(numbers: Array, colours: Array, *, indices: bool) -> Array:
    """The colours (N, 3) that the numbers stand for, or with `indices` see `read_photo`."""
    if not indices:
        return np.asarray(colours[numbers])
    used = colours[np.unique(numbers)]
    return np.asarray(colours[:, 0][numbers]) if (used == used[:, :1]).all() else numbers


def _is_deep_colour_png(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(26)
    # PNG, first chunk: bit depth at byte 24, colour type (2 RGB, 4 grey+alpha, 6 RGBA) at 25.
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:25] == b"\x10" and head[25] in (2, 4, 6)


def _with_tifffile(path: Path, *, indices: bool) -> tuple[Array, str]:
    try:
        with tifffile.TiffFile(path) as file:
            _require_plausible(path, file.pages.first)
            series = file.series[0]
            pixels = np.asarray(series.asarray())
            axes = str(series.axes)
            if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
                colours = np.asarray(series.keyframe.colormap, dtype=np.uint16).T >> 8
                pixels = _coloured(pixels, colours.astype(np.uint8), indices=indices)
                axes += "S" if pixels.ndim > len(axes) else ""
            return _drop_single_axes(pixels, axes)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    # A compression that tifffile knows only with more packages (LZW, JPEG): ITK reads it.
    image = sitk.ReadImage(str(path))
    pixels = sitk.GetArrayFromImage(image)
    axes = "YX" if image.GetDimension() == 2 else "ZYX"
    return pixels, axes + ("S" if image.GetNumberOfComponentsPerPixel() > 1 else "")


def _require_plausible(path: Path, page: Any) -> None:
    """Refuses a damaged header that claims far more pixels than the file can hold."""
    share = 1 if page.compression == tifffile.COMPRESSION.NONE else MAX_COMPRESSION
    if page.nbytes > path.stat().st_size * share:
        raise ValueError(f"{page.nbytes} bytes of pixels in {path.stat().st_size} bytes of file")


def _drop_single_axes(pixels: Array, axes: str) -> tuple[Array, str]:
    keep = [i for i, name in enumerate(axes) if pixels.shape[i] > 1 or name in "YX"]
    return pixels.reshape([pixels.shape[i] for i in keep]), "".join(axes[i] for i in keep)


def _stack_spacing(path: Path) -> Vector3:
    name = name_without_ending(path)
    for stem in dict.fromkeys((split_channel(name)[0], name)):
        beside = path.with_name(stem + ".json")
        if not beside.is_file():
            continue
        try:
            content = read_plain_json(beside)
            z, y, x = (float(s) for s in content["spacing"])
        except (FileFormatError, KeyError, TypeError, ValueError) as error:
            raise ImageError(
                "the file with the spacing of the TIFF stack is not valid",
                expected='{"spacing": [z, y, x]} in mm',
                found=str(error).splitlines()[0],
                cure="correct it, or remove it to have 1 mm on all axes",
                path=beside,
            ) from error
        return (z, y, x)
    return (1.0, 1.0, 1.0)


def _photo_geometry(array: Array) -> Geometry:
    return Geometry((1, array.shape[2], array.shape[3]), PHOTO_SPACING)


def _check_limit(path: Path, labels: Array, limit: int) -> None:
    highest = int(labels.max(initial=0))
    if highest > limit:
        raise ImageError(
            "the format cannot hold these label values",
            expected=f"values up to {limit}",
            found=str(highest),
            cure="write .nii.gz instead",
            path=path,
        )


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(
        "the image cannot be read",
        expected=_EXPECTED,
        found=(str(error).splitlines() or [type(error).__name__])[0],
        cure="open it in another program to see whether it is damaged, then export it again",
        path=path,
    )

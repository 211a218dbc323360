"""Where an image lies and how many channels it has, read from its header where one is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.images import read_image
from ..io.itk_images import itk_grid
from .collection import VoxelSource

LARGEST_ARRAY_HEADER = 10_000
"""Characters, NumPy's own limit."""


def image_source(path: Path) -> VoxelSource:
    """An image file, its grid and number of channels; the voxels stay unread.

    Raises:
        ImageError: it cannot be read.
    """
    if (image_ending(path) or "").lower() in ITK_ENDINGS:
        components, grid = itk_grid(path)
    else:
        array, grid = read_image(path)
        components = array.shape[0]
    return VoxelSource(path, "image", grid, components=components)


def array_source(path: Path, grid: Geometry) -> VoxelSource:
    """A `.npy` file that must fit its grid: (Z, Y, X) or (C, Z, Y, X).

    Raises:
        ImageError: it is no such file, holds objects, or has another shape.
    """
    shape, kind = read_array_header(path)
    wanted = tuple(grid.shape)
    if kind.hasobject or kind.kind not in "biuf":
        raise _refused(path, "whole or floating point numbers", str(kind))
    if shape != wanted and shape[1:] != wanted:
        raise _refused(path, f"{wanted} voxels (Z, Y, X), or channels in front", str(shape))
    return VoxelSource(path, "array", grid, components=1 if shape == wanted else shape[0])


def layers_of(source: VoxelSource) -> tuple[VoxelSource, ...]:
    """One source per channel of a file."""
    return tuple(replace(source, component=index) for index in range(source.components))


def read_array_header(path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of a `.npy` file.

    Raises:
        ImageError: it is none.
    """
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if reader is None:
                raise ValueError(f"version {version}")
            shape, _, kind = reader(stream, max_header_size=LARGEST_ARRAY_HEADER)
    except (OSError, ValueError, SyntaxError) as error:
        raise _refused(path, "an array as numpy.save writes it", str(error)[:200]) from error
    return tuple(shape), kind


def _refused(path: Path, expected: str, found: str) -> ImageError:
    return ImageError(
        "the array file cannot be used",
        expected=expected,
        found=found,
        cure="write it again with numpy.save(file, array, allow_pickle=False)",
        path=path,
    )

"""Reads the voxels of collected images and label maps, each file once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.index_maps import index_map
from ..arrays.placement import place_channel, place_labels
from ..domain.errors import ImageError
from ..domain.geometry import Geometry
from ..domain.terminology import folded
from ..io.image_endings import ITK_ENDINGS, image_ending
from ..io.images import grid_difference, read_image
from ..io.itk_images import read_itk
from .collection import IGNORE, CollectedCase, CollectedSegment, VoxelSource
from .pairing import same_transform

Array = NDArray[Any]


class CaseVoxels:
    """The voxels of one case on the grid of its first image.

    Args:
        case: has images and a segmentation.
        folder: where members of an archive lie, unpacked.
    """

    def __init__(self, case: CollectedCase, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.grid = case.images[0].voxels.grid
        self._file: tuple[object, Array] | None = None

    def channel(self, index: int) -> Array:
        """A channel (Z, Y, X) in the file's own type, or float32 where it was resampled.

        Raises:
            ImageError: unreadable, changed since it was looked at, or not finite.
        """
        image = self.case.images[index]
        voxels = self._read(image.voxels)
        first = self.case.images[0]
        same = same_transform(image.to_world, first.to_world)
        if index == 0 or (same and not grid_difference(self.grid, image.voxels.grid)):
            channel = voxels
        else:
            way = index_map(self.grid, image.voxels.grid, first.to_world, image.to_world)
            channel = place_channel(voxels, way, self.grid.shape)
        if channel.dtype.kind == "f" and not np.isfinite(channel).all():
            raise ImageError(
                f"case {self.case.identifier}: the image contains values that are not numbers",
                expected="finite intensities",
                found=f"{int((~np.isfinite(channel)).sum())} voxels of NaN or infinity",
                cure="replace them, for example by the background intensity, or exclude the case",
                path=image.voxels.path,
            )
        return channel

    def masks(self) -> Iterator[tuple[int, Array]]:
        """Index of each structure and its mask (Z, Y, X), one at a time.

        Raises:
            ImageError: see `channel`.
        """
        for layer, groups in self._by_layer().items():
            for group in groups:
                placed = self._placed(layer, group)
                for place, segment in enumerate(group):
                    if segment.structure is not None:
                        yield segment.structure, placed == place + 1

    def ignored(self) -> Array | None:
        """The mask of voxels that the segmentation says nobody has annotated."""
        marks = [s for s in self.case.segments if folded(s.name) == IGNORE]
        if not marks:
            return None
        masks = [self._placed(segment.layer, [segment]) > 0 for segment in marks]
        ignored: Array = np.logical_or.reduce(masks)
        return ignored

    def _by_layer(self) -> dict[int, list[list[CollectedSegment]]]:
        """Segments by layer, those that claim the same value in passes of their own."""
        layers: dict[int, list[list[CollectedSegment]]] = {}
        for segment in self.case.segments:
            if segment.structure is None or segment.empty is True:
                continue
            groups = layers.setdefault(segment.layer, [])
            for group in groups:
                if not any(set(segment.values) & set(other.values) for other in group):
                    group.append(segment)
                    break
            else:
                groups.append([segment])
        return layers

    def _placed(self, layer: int, segments: Sequence[CollectedSegment]) -> Array:
        """The layer on the case's grid: 1 for the first of the segments, 2 for the second."""
        segmentation = self.case.segmentation
        if segmentation is None:
            raise ValueError(f"case {self.case.identifier} has no segmentation")
        source = segmentation.layers[layer]
        voxels = self._read(source)
        numbered = np.zeros(voxels.shape, dtype=np.uint16)
        for place, segment in enumerate(segments):
            for value in segment.values:
                numbered[voxels == value] = place + 1
        way = index_map(self.grid, source.grid, self.case.images[0].to_world, segmentation.to_world)
        return place_labels(numbered, way, self.grid.shape)

    def _read(self, source: VoxelSource) -> Array:
        """One component of a file (Z, Y, X)."""
        key = (source.path, source.member, source.files)
        if source.form == "dicom-seg":
            from ..io.dicom_seg_reading import read_segment

            return read_segment(self.file_of(source), source.component, source.grid)
        if self._file is None or self._file[0] != key:
            self._file = None  # the one before is let go before the next is read
            self._file = (key, self._opened(source))
        array = self._file[1]
        if source.component >= array.shape[0]:
            raise _changed(source, f"{array.shape[0]} channels")
        component: Array = array[source.component]
        return component

    def _opened(self, source: VoxelSource) -> Array:
        path = self.file_of(source)
        if source.form == "array":
            return _plain_array(path, source)
        if source.form == "series":
            from ..io.dicom_series import read_slices

            array, grid = read_slices(source.files)
        elif (image_ending(path) or "").lower() in ITK_ENDINGS:
            array, grid = read_itk(path)
        else:
            array, grid = read_image(path)
        if difference := grid_difference(source.grid, grid):
            raise _changed(source, difference)
        return array

    def file_of(self, source: VoxelSource) -> Path:
        """The file to read.

        Raises:
            ImageError: its voxels are not written yet.
        """
        if source.path is None:
            raise ImageError(
                f"case {self.case.identifier}: its voxels are not written yet",
                expected="a file",
                found='"file": null in the collection file',
                cure="write the arrays, and name them in the collection file",
            )
        return self.folder / source.member if source.member else source.path


def _plain_array(path: Path, source: VoxelSource) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _changed(source, str(error)[:200]) from error
    grid: Geometry = source.grid
    if array.shape == tuple(grid.shape):
        array = array[None]
    if array.ndim != 4 or array.shape[1:] != tuple(grid.shape):
        raise _changed(source, f"shape {array.shape}")
    return array


def _changed(source: VoxelSource, found: str) -> ImageError:
    return ImageError(
        "the file is not what it was when it was looked at",
        expected=f"{source.components} channels of {source.grid.shape} voxels (Z, Y, X)",
        found=found,
        cure="do not change files while they are collected; give the command again",
        path=source.path,
    )

"""A segmentation of the scene as a file that `selfseg export` reads.

Voxels are copied in small pieces, so that the application never stands still; compressing,
resampling and everything else is the child's work.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import ImageError
from selfseg.domain.geometry import Geometry
from selfseg.domain.segments import (
    ALGORITHM_NAME_TAG,
    ALGORITHM_TYPE_TAG,
    STATUS_TAG,
    Segment,
    SegmentsInPlace,
    algorithm_of,
)
from selfseg.domain.terminology import Codes, parse_terms
from selfseg.io.seg_nrrd_header import seg_nrrd_header

from ..scene import grid_of_matrix, labelmap_name, tag_of, volume_grid

STEP_BYTES = 8 * 2**20
"""Written between two looks at the clock: some 10 ms."""

SAME = 1e-6

MOST_TIMES, MOST_VOXELS = 8, 2**24
"""Of a grid around all label maps: times the scan or the label maps, and voxels in any case."""


@dataclass(frozen=True)
class Layer:
    """One label map of the scene.

    Args:
        voxels: (Z, Y, X), a view of the scene's memory.
        start: where the first of them lies on the common grid (Z, Y, X).
    """

    voxels: Any
    start: tuple[int, int, int]


@dataclass(frozen=True)
class Snapshot:
    """What is written: where everything lies, and the voxels, still in the scene."""

    place: SegmentsInPlace
    layers: tuple[Layer, ...]

    def write(self, path: Path) -> Iterator[float]:
        """Writes the file piece by piece; yields the share that is done."""
        import numpy as np

        depth, height, width = self.place.grid.shape
        wide = any(layer.voxels.dtype.itemsize > 1 for layer in self.layers)
        kind = np.dtype("<u2" if wide else "u1")
        row_bytes = height * width * len(self.layers) * kind.itemsize
        step = max(1, STEP_BYTES // max(1, row_bytes))
        with path.open("wb") as stream:
            stream.write(seg_nrrd_header(self.place, item_bytes=kind.itemsize, encoding="raw"))
            for first in range(0, depth, step):
                last = min(depth, first + step)
                slab = np.zeros((last - first, height, width, len(self.layers)), kind)
                for index, layer in enumerate(self.layers):
                    _copy(layer, slab[..., index], first)
                stream.write(slab.tobytes())
                yield last / depth


def take_snapshot(segmentation_node: Any, volume_node: Any = None) -> Snapshot:
    """Looks at the segments and their label maps; copies no voxel.

    Args:
        segmentation_node: with label maps as one of its representations.
        volume_node: whose grid the exported label maps shall have; the segmentation's own
            reference otherwise.

    Raises:
        ImageError: nothing to export, or no label maps.
    """
    segmentation = segmentation_node.GetSegmentation()
    name = labelmap_name()
    if segmentation.GetNumberOfSegments() == 0:
        raise ImageError(
            _("the segmentation has no segments"),
            expected=_("at least one segment"),
            found=_("none"),
            cure=_("segment the scan, or choose another segmentation"),
        )
    if not segmentation.ContainsRepresentation(name):
        raise ImageError(
            _("the segmentation is stored as surfaces"),
            expected=_("binary label maps"),
            found=_("no such representation"),
            cure=_("make one in the Segmentations module: Representations, Binary labelmap"),
        )
    images = [
        segmentation.GetLayerDataObject(index, name)
        for index in range(segmentation.GetNumberOfLayers(name))
    ]
    reference = _reference(segmentation, volume_node)
    grid, layers, numbers = _on_common_grid(images, 0 if reference is None else _size(reference))
    segments = _segments(segmentation, name, numbers)
    if not layers:  # every segment is empty
        grid = reference or grid
        layers = (_empty_layer(),)
    place = SegmentsInPlace(grid, len(layers), segments, reference)
    return Snapshot(place, layers)


def _segments(segmentation: Any, name: str, numbers: dict[int, int]) -> tuple[Segment, ...]:
    """The segments; an empty one gets a value that nothing else has in the first layer."""
    made: list[Segment] = []
    highest = max(
        (
            segmentation.GetNthSegment(index).GetLabelValue()
            for index in range(segmentation.GetNumberOfSegments())
        ),
        default=0,
    )
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        identifier = segmentation.GetNthSegmentID(index)
        layer = numbers.get(segmentation.GetLayerIndex(identifier, name))
        value = segment.GetLabelValue()
        if layer is None:
            highest += 1
            layer, value = 0, highest
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        tags = {
            key: tag_of(segment, key)
            for key in (ALGORITHM_TYPE_TAG, ALGORITHM_NAME_TAG, STATUS_TAG)
        }
        made.append(
            Segment(
                name=segment.GetName() or identifier,
                layer=layer,
                value=value,
                colour=(red, green, blue),
                codes=parse_terms(segment.GetTerminology()) or Codes(),
                algorithm=algorithm_of({key: value for key, value in tags.items() if value}),
                algorithm_name=tags[ALGORITHM_NAME_TAG],
                identifier=identifier,
            )
        )
    return tuple(made)


def _on_common_grid(
    images: list[Any], scan_voxels: int
) -> tuple[Geometry, tuple[Layer, ...], dict[int, int]]:
    """The smallest grid that holds all layers.

    Args:
        images: label maps.
        scan_voxels: of the scan; 0 where it is not known.

    Returns:
        the grid; the layers that are not empty; and for the number of each its new number.

    Raises:
        ImageError: they lie so far apart that a grid around them would be far larger than they.
    """
    import slicer

    filled = {
        index: image
        for index, image in enumerate(images)
        if image is not None and not image.IsEmpty()
    }
    if not filled:
        return Geometry((1, 1, 1), (1.0, 1.0, 1.0)), (), {}
    first = next(iter(filled.values()))
    _require_near(first, list(filled.values()), scan_voxels)
    aligned = {
        index: image if _same_axes(first, image) else _resampled(image, first)
        for index, image in filled.items()
    }
    extents = [image.GetExtent() for image in aligned.values()]
    low = [min(extent[2 * axis] for extent in extents) for axis in range(3)]
    high = [max(extent[2 * axis + 1] for extent in extents) for axis in range(3)]
    matrix = slicer.util.arrayFromVTKMatrix(_matrix(first))
    grid = grid_of_matrix(matrix, [b - a + 1 for a, b in zip(low, high, strict=True)], low)
    layers = []
    for image in aligned.values():
        extent = image.GetExtent()
        x, y, z = (extent[2 * axis] - low[axis] for axis in range(3))
        layers.append(Layer(_voxels(image), (z, y, x)))
    return grid, tuple(layers), {index: number for number, index in enumerate(filled)}


def _require_near(first: Any, images: list[Any], scan_voxels: int) -> None:
    """Looks before anything is resampled, which would take all memory."""
    import numpy as np
    import slicer

    to_world = slicer.util.arrayFromVTKMatrix(_matrix(first))
    grid_of_matrix(to_world, first.GetDimensions())  # it can be inverted
    to_first = np.linalg.inv(to_world)
    corners = []
    for image in images:
        extent = image.GetExtent()
        to_world = slicer.util.arrayFromVTKMatrix(_matrix(image))
        corners += [
            to_first @ to_world @ (*corner, 1.0)
            for corner in itertools.product(extent[:2], extent[2:4], extent[4:])
        ]
    sizes = np.ptp(np.array(corners)[:, :3], axis=0) + 1
    found = float(np.prod(sizes))
    usual = max(scan_voxels, sum(image.GetNumberOfPoints() for image in images))
    if not found <= max(MOST_TIMES * usual, MOST_VOXELS):
        raise ImageError(
            _("the label maps of this segmentation lie far apart"),
            expected=_("segments on one scan"),
            found=_("{count:.0f} million voxels around all of them").format(count=found / 1e6),
            cure=_("remove the segment that lies elsewhere, or export it by itself"),
        )


def _size(grid: Geometry) -> int:
    depth, height, width = grid.shape
    return depth * height * width


def _voxels(image: Any) -> Any:
    from vtk.util.numpy_support import vtk_to_numpy

    width, height, depth = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(depth, height, width)


def _copy(layer: Layer, slab: Any, first: int) -> None:
    """Copies what a layer has in the slices from `first` on."""
    z, y, x = layer.start
    depth, height, width = layer.voxels.shape
    low, high = max(first, z), min(first + slab.shape[0], z + depth)
    if low < high:
        slab[low - first : high - first, y : y + height, x : x + width] = layer.voxels[
            low - z : high - z
        ]


def _matrix(image: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return matrix


def _same_axes(first: Any, second: Any) -> bool:
    a, b = _matrix(first), _matrix(second)
    return all(
        abs(a.GetElement(row, column) - b.GetElement(row, column)) < SAME
        for row in range(3)
        for column in range(4)
    )


def _resampled(image: Any, first: Any) -> Any:
    """A label map of another grid, which Slicer allows within one segmentation."""
    import slicer

    made = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, first, made, False, True
    )
    return made


def _reference(segmentation: Any, volume_node: Any) -> Geometry | None:
    """The grid of the scan: of the volume, or as the segmentation remembers it."""
    import slicer
    import vtk

    if volume_node is not None:
        return volume_grid(volume_node)
    converter = slicer.vtkSegmentationConverter
    text = segmentation.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    matrix, extent = vtk.vtkMatrix4x4(), [0, -1, 0, -1, 0, -1]
    if not text or not converter.DeserializeImageGeometry(text, matrix, extent):
        return None
    sizes = [extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3)]
    if min(sizes) < 1:
        return None
    return grid_of_matrix(slicer.util.arrayFromVTKMatrix(matrix), sizes, extent[::2])


def _empty_layer() -> Layer:
    import numpy as np

    return Layer(np.zeros((0, 0, 0), np.uint8), (0, 0, 0))

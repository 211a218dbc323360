"""One case in the scene: its volumes and its segmentation come, are edited, and go again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label
from selfseg.domain.segments import ALGORITHM_TYPE_TAG
from selfseg.io.seg_nrrd_header import CODE_TAG

from ..scene import (
    GEOMETRY_TOLERANCE,
    labelmap_name,
    matrix_of_grid,
    tag_of,
    volume_grid,
)
from ..terminology import look_of
from .case_files import LoadedCase, LoadedImage
from .segments import Segment, Segments

SAMPLED = 2**18
"""Voxels that are looked at to choose brightness and contrast."""


@dataclass(frozen=True)
class Prepared:
    """Voxels of a case as VTK holds them: made beside the interface, they only have to be put in.

    Args:
        images: vtkImageData of each channel.
        windows: lowest and highest intensity that is shown, of each channel.
        layers: vtkOrientedImageData of each layer of the segmentation.
    """

    images: tuple[Any, ...]
    windows: tuple[tuple[float, float], ...]
    layers: tuple[Any, ...]


def prepare(loaded: LoadedCase) -> Prepared:
    """Copies the voxels of a case; knows no scene, and may run in a thread."""
    return Prepared(
        tuple(_image(image.voxels) for image in loaded.images),
        tuple(_window(image.voxels) for image in loaded.images),
        tuple(_layer(voxels, loaded.shown.grid) for voxels in loaded.shown.layers),
    )


class CaseNodes:
    """The nodes of a case that is looked at.

    Args:
        scene: the MRML scene.
        loaded: the case.
        prepared: its voxels.
    """

    def __init__(self, scene: Any, loaded: LoadedCase, prepared: Prepared) -> None:
        self._scene = scene
        self._loaded = loaded
        self._nodes: list[Any] = []
        try:
            self.volumes = [
                self._add_volume(channel, image, window)
                for channel, image, window in zip(
                    loaded.images, prepared.images, prepared.windows, strict=True
                )
            ]
            self.segmentation = self._add_segmentation(prepared.layers)
        except BaseException:
            self.remove()
            raise

    @property
    def present(self) -> bool:
        """Whether volume and segmentation are still in the scene."""
        return bool(self._nodes) and all(
            node.GetScene() is self._scene for node in (*self.volumes, self.segmentation)
        )

    def segments(self) -> Segments:
        """The segments as they are now, copied, on the volume's grid."""
        grid = self._loaded.images[0].grid
        segmentation = self.segmentation.GetSegmentation()
        layers: list[Any] = []
        known: dict[str, int] = {}
        found = []
        for index in range(segmentation.GetNumberOfSegments()):
            identifier = segmentation.GetNthSegmentID(index)
            segment = segmentation.GetSegment(identifier)
            image = segment.GetRepresentation(labelmap_name())
            # Segments that share a layer share one image: it is copied once.
            key = "" if image is None else image.GetAddressAsString("")
            value = segment.GetLabelValue()
            if key not in known:
                voxels = self._voxels(image, grid)
                if voxels is None:  # resampled, for this segment alone
                    key, value = f"{key} {identifier}", 1
                    voxels = self._resampled(identifier)
                known[key] = len(layers)
                layers.append(voxels)
            found.append(_described(identifier, segment, known[key], value))
        return Segments(grid, tuple(layers), tuple(found), self._loaded.prediction.exclusive)

    def state(self) -> tuple[object, ...]:
        """Differs after every change of segments or their voxels.

        Slicer's events would not do: it clears a segment without telling.
        """
        segmentation = self.segmentation.GetSegmentation()
        state: list[object] = []
        for index in range(segmentation.GetNumberOfSegments()):
            segment = segmentation.GetNthSegment(index)
            image = segment.GetRepresentation(labelmap_name())
            state += [segmentation.GetNthSegmentID(index), segment.GetName()]
            if image is not None:
                state += [image.GetAddressAsString(""), image.GetMTime()]
        return tuple(state)

    def remove(self) -> None:
        """Takes everything that was added out of the scene again."""
        for node in reversed(self._nodes):
            for belonging in _belongings(node):
                if belonging.GetScene() is self._scene:
                    self._scene.RemoveNode(belonging)
            if node.GetScene() is self._scene:
                self._scene.RemoveNode(node)
        self._nodes.clear()

    def _add_volume(self, channel: LoadedImage, image: Any, window: tuple[float, float]) -> Any:
        colours = image.GetNumberOfScalarComponents() > 1
        kind = "vtkMRMLVectorVolumeNode" if colours else "vtkMRMLScalarVolumeNode"
        name = f"{self._loaded.case.identifier}: {channel.name}"
        node = self._scene.AddNewNodeByClass(kind, name)
        self._nodes.append(node)
        node.SetIJKToRASMatrix(ijk_to_ras(channel.grid))
        node.CreateDefaultDisplayNodes()
        if not colours:
            # Slicer would look at every voxel of the volume for it.
            node.GetDisplayNode().SetAutoWindowLevel(False)
            node.GetDisplayNode().SetWindowLevelMinMax(*window)
        node.SetAndObserveImageData(image)
        return node

    def _add_segmentation(self, layers: Sequence[Any]) -> Any:
        node = self._scene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", f"{self._loaded.case.identifier} segmentation"
        )
        self._nodes.append(node)
        node.CreateDefaultDisplayNodes()
        volume = self.volumes[0]
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume.GetID())
        segmentation = node.GetSegmentation()
        segmentation.SetSourceRepresentationName(labelmap_name())
        for index, segment in enumerate(self._loaded.shown.segments):
            segmentation.AddSegment(
                _vtk_segment(segment, index, layers[segment.layer]), segment.identifier
            )
        return node

    def _voxels(self, image: Any, grid: Geometry) -> Any:
        """A layer on the whole grid, None where it has to be resampled for each segment."""
        import numpy as np
        from vtk.util.numpy_support import vtk_to_numpy

        if image is None or image.GetPointData().GetScalars() is None or image.IsEmpty():
            return np.zeros(grid.shape, np.uint8)
        if not _same_grid(image, self.volumes[0]):
            return None
        x0, x1, y0, y1, z0, z1 = image.GetExtent()
        shape = (z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
        part = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
        whole = np.zeros(grid.shape, part.dtype)
        first = [max(0, -start) for start in (z0, y0, x0)]
        last = [
            min(size, full - start)
            for size, full, start in zip(shape, grid.shape, (z0, y0, x0), strict=True)
        ]
        if all(begin < end for begin, end in zip(first, last, strict=True)):
            inside = tuple(slice(b, e) for b, e in zip(first, last, strict=True))
            place = tuple(
                slice(b + start, e + start)
                for b, e, start in zip(first, last, (z0, y0, x0), strict=True)
            )
            whole[place] = part[inside]
        return whole

    def _resampled(self, identifier: str) -> Any:
        import numpy as np
        import slicer

        mask = slicer.util.arrayFromSegmentBinaryLabelmap(
            self.segmentation, identifier, self.volumes[0]
        )
        return (mask > 0).astype(np.uint8)


def scene_case(node: Any, volume: Any) -> tuple[Any, Geometry, Segments]:
    """A segmentation that is in the scene already: voxels of its image, their grid, segments.

    Args:
        node: a segmentation node.
        volume: the volume that it was drawn on.

    Raises:
        ImageError: the volume is empty or oblique to itself.
    """
    import numpy as np
    import slicer

    grid = volume_grid(volume)
    segmentation = node.GetSegmentation()
    layers, found = [], []
    for index in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(index)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
        empty = mask is None or mask.shape != grid.shape
        layers.append(np.zeros(grid.shape, np.uint8) if empty else (mask > 0).astype(np.uint8))
        found.append(_described(identifier, segmentation.GetSegment(identifier), index, 1))
    voxels = np.array(slicer.util.arrayFromVolume(volume))
    return voxels, grid, Segments(grid, tuple(layers), tuple(found))


def scene_segmentations(scene: Any) -> list[tuple[Any, Any]]:
    """Segmentations of the scene with the volume that each was drawn on."""
    import slicer

    pairs = []
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene):
        volume = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        # An empty volume has no grid that segments could be put on.
        image = None if volume is None else volume.GetImageData()
        if image is not None and node.GetSegmentation().GetNumberOfSegments():
            pairs.append((node, volume))
    return pairs


def ijk_to_ras(grid: Geometry) -> Any:
    """The matrix of a grid from voxel indices (x, y, z) to Slicer's RAS, as vtkMatrix4x4.

    A picture has one slice of 1 mm, and not the spacing that marks it as one.
    """
    return matrix_of_grid(replace(grid, spacing=(1.0, *grid.spacing[1:])) if grid.is_2d else grid)


def _same_grid(image: Any, volume: Any) -> bool:
    import vtk

    first, second = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(first)
    volume.GetIJKToRASMatrix(second)
    return all(
        abs(first.GetElement(row, column) - second.GetElement(row, column)) <= GEOMETRY_TOLERANCE
        for row in range(4)
        for column in range(4)
    )


def _image(voxels: Any) -> Any:
    import vtk

    image = vtk.vtkImageData()
    _fill(image, voxels)
    return image


def _layer(voxels: Any, grid: Geometry) -> Any:
    import slicer

    image = slicer.vtkOrientedImageData()
    _fill(image, voxels)
    image.SetImageToWorldMatrix(ijk_to_ras(grid))
    return image


def _fill(image: Any, voxels: Any) -> None:
    """Copies (Z, Y, X) or (Z, Y, X, C) into an image of VTK."""
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    image.SetDimensions(voxels.shape[2::-1])
    image.AllocateScalars(
        get_vtk_array_type(voxels.dtype), voxels.shape[3] if voxels.ndim == 4 else 1
    )
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)[:] = voxels


def _window(voxels: Any) -> tuple[float, float]:
    """All intensities but the thousandth darkest and brightest, from a grid of voxels."""
    import numpy as np

    step = max(1, round((voxels.size / SAMPLED) ** (1 / 3)))
    low, high = np.percentile(voxels[::step, ::step, ::step], (0.1, 99.9))
    return float(low), float(high) if high > low else float(low) + 1.0


def _vtk_segment(segment: Segment, index: int, layer: Any) -> Any:
    import slicer

    label = Label(segment.name, (segment.value,), segment.colour, segment.code)
    look = look_of(label, index, segment.appearance)
    found = slicer.vtkSegment()
    found.SetName(segment.name)
    found.SetColor(*(part / 255.0 for part in segment.colour or look.colour))
    if terminology := segment.terminology or look.terminology:
        found.SetTerminology(terminology)
    found.SetTag(ALGORITHM_TYPE_TAG, segment.made)
    if segment.code:
        found.SetTag(CODE_TAG, segment.code)
    found.SetLabelValue(segment.value)
    found.AddRepresentation(labelmap_name(), layer)
    return found


def _described(identifier: str, segment: Any, layer: int, value: int) -> Segment:
    red, green, blue = (round(part * 255) for part in segment.GetColor())
    return Segment(
        identifier,
        segment.GetName(),
        layer,
        value,
        (red, green, blue),
        tag_of(segment, CODE_TAG) or None,
        segment.GetTerminology() or "",
        tag_of(segment, ALGORITHM_TYPE_TAG) or "MANUAL",
    )


def _belongings(node: Any) -> Sequence[Any]:
    """What a node brought along: how it is shown, and where it is stored."""
    shown = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    return [belonging for belonging in (*shown, node.GetStorageNode()) if belonging is not None]

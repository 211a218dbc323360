"""Scenes of segmented scans for tests of the page that trains."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from slicer_module.conftest import OBLIQUE

BALL, BUD = "ball", "bud"
BUD_OFFSET = np.array((4, 7, 2))


def add_scan(name: str, seed: int, matrix: np.ndarray = OBLIQUE, size: int = 24) -> tuple[Any, Any]:
    """A volume with a bright ball and a darker bud beside it, and the masks of both.

    Returns:
        the volume node, and {name: mask (Z, Y, X)}.
    """
    rng = np.random.default_rng(seed)
    shape = (size - 4, size, size + 4)
    grid = np.stack(np.indices(shape), axis=-1)
    centre = np.array(shape) * (0.35 + 0.2 * rng.random(3))
    ball = np.linalg.norm(grid - centre, axis=-1) < 5.5
    bud = (np.linalg.norm(grid - centre - BUD_OFFSET, axis=-1) < 3.5) & ~ball
    voxels = rng.normal(0, 20, shape) + 300 * ball + 150 * bud
    volume = slicer.util.addVolumeFromArray(voxels.astype(np.int16), matrix, name)
    return volume, {BALL: ball, BUD: bud}


def add_segmentation(volume: Any, masks: dict[str, np.ndarray], *, refer: bool = True) -> Any:
    """A segmentation of masks that do not overlap, all in one layer, values in this order."""
    labels = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        labels[mask] = value
    return _from_layers(volume, [(labels, {n: v for v, n in enumerate(masks, start=1)})], refer)


def add_overlapping(volume: Any, masks: dict[str, np.ndarray]) -> Any:
    """The same, each segment in a layer of its own, so that they may share voxels."""
    layers = [(mask.astype(np.uint8), {name: 1}) for name, mask in masks.items()]
    return _from_layers(volume, layers, refer=True)


def add_cropped(volume: Any, masks: dict[str, np.ndarray]) -> Any:
    """The same, stored in the box around the structures only."""
    labels = np.zeros(next(iter(masks.values())).shape, dtype=np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        labels[mask] = value
    where = np.argwhere(labels)
    first, last = where.min(axis=0), where.max(axis=0) + 1
    cut = labels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    values = {name: value for value, name in enumerate(masks, start=1)}
    return _from_layers(volume, [(cut, values)], refer=True, corner=first)


def _from_layers(
    volume: Any,
    layers: list[tuple[np.ndarray, dict[str, int]]],
    refer: bool,
    corner: np.ndarray | None = None,
) -> Any:
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", f"{volume.GetName()} segmentation"
    )
    node.CreateDefaultDisplayNodes()
    if refer:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volume.GetID())
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    segmentation = node.GetSegmentation()
    representation = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segmentation.SetSourceRepresentationName(representation)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for labels, values in layers:
        image = _image(labels, matrix, (0, 0, 0) if corner is None else corner)
        for name, value in values.items():
            segment = slicer.vtkSegment()
            segment.SetName(name)
            segment.SetLabelValue(value)
            segment.AddRepresentation(representation, image)
            segmentation.AddSegment(segment)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for added in (volume, node):
        if not hierarchy.GetItemByDataNode(added):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), added)
    return node


def _image(labels: np.ndarray, matrix: Any, corner: Any) -> Any:
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    depth, height, width = labels.shape
    z, y, x = (int(n) for n in corner)
    image.SetExtent(x, x + width - 1, y, y + height - 1, z, z + depth - 1)
    image.AllocateScalars(get_vtk_array_type(labels.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(labels.shape)[:] = labels
    image.SetImageToWorldMatrix(matrix)
    return image


class EndedProcess:
    """What `subprocess.Popen` is once the process has ended."""

    pid = 2**30  # no process has it

    def __init__(self, status: int, output: str, errors: str) -> None:
        self.returncode = status
        self.stdin, self.stdout, self.stderr = (
            io.StringIO(),
            io.StringIO(output),
            io.StringIO(errors),
        )

    def poll(self) -> int:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode


def in_process_starter(arguments: Sequence[str]) -> Any:
    """Runs selfseg's command line here and now: what a child would do, without starting Python."""
    from selfseg.cli import main

    output, errors = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = main([*arguments, "--progress", "json"])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return EndedProcess(status, output.getvalue(), errors.getvalue())

"""Shows a case of the table: nodes in the slice views, files after loading them."""

from __future__ import annotations

from typing import Any

from .pairing import Pair
from .survey import Row, files_of


def show_pair(pair: Pair) -> None:
    """Brings scan and segmentation into the slice views, centred on the segmentation."""
    import slicer

    if not pair.images or pair.images[0].GetScene() is None:
        return
    image, segmentation = pair.images[0], pair.segmentation
    slicer.util.setSliceViewerLayers(background=image, label=None)
    scene = image.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        if node.GetDisplayNode() is not None:
            node.SetDisplayVisibility(node is segmentation)
    if segmentation.GetDisplayNode() is None:
        segmentation.CreateDefaultDisplayNodes()
    _jump(scene, segmentation)


def show_files(row: Row) -> bool:
    """Loads a case's files and shows them.

    Returns:
        False where its voxels are in no file of their own (an archive, a series).

    Raises:
        RuntimeError: a file cannot be loaded.
    """
    import slicer

    images, segmentation = files_of(row)
    if not images:
        return False
    volumes = [slicer.util.loadVolume(str(path)) for path in images]
    if segmentation is not None:
        show_pair(Pair("", slicer.util.loadSegmentation(str(segmentation)), tuple(volumes)))
    return True


def _jump(scene: Any, segmentation: Any) -> None:
    import slicer

    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    if bounds[0] <= bounds[1]:
        centre = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
        mode = slicer.vtkMRMLSliceNode.DefaultJumpSlice
        slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *centre, mode)

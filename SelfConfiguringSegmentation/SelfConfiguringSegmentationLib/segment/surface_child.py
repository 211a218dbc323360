"""Surfaces of segments, made in a process of their own: a large one takes seconds.

    python -c "from ...surface_child import main; main()" surfaces REQUEST.json

It writes the arrays of each structure's surface beside the request, and tells its number as soon
as they are there. Surfaces look as Slicer makes them by default (flying edges, windowed sinc,
smoothing factor 0.5), so that editing does not change their style.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SMOOTHING = 0.5
"""Slicer's default smoothing factor of closed surfaces."""


def main() -> None:
    """Does what the request says; events go to standard output."""
    import numpy as np
    from scipy import ndimage

    path = Path(sys.argv[-1])
    request, folder = json.loads(path.read_text(encoding="utf-8")), path.parent
    labels = np.load(request["labels"], mmap_mode="r")
    matrix = np.array(request["ijk_to_ras"]).reshape(4, 4)
    boxes = ndimage.find_objects(labels)
    for number, values in enumerate(request["structures"]):
        mask, start = _cropped(labels, boxes, values)
        if mask is not None:
            points, triangles, normals = surface(mask, start, matrix)
            for name, array in (("points", points), ("triangles", triangles), ("normals", normals)):
                np.save(folder / f"{number}_{name}.npy", array)
        print(json.dumps({"event": "surface", "number": number}), flush=True)


def surface(mask: Any, start: Any, ijk_to_ras: Any) -> tuple[Any, Any, Any]:
    """Points (N, 3) in RAS, triangles (M, 3) and normals (N, 3) of a mask (Z, Y, X).

    Args:
        mask: with background on every side.
        start: (I, J, K) of its first voxel.
        ijk_to_ras: (4, 4).
    """
    import numpy as np

    # Not `import vtk`, which loads every part of it and takes three times as long.
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkCommonTransforms import vtkTransform
    from vtkmodules.vtkFiltersCore import (
        vtkPolyDataNormals,
        vtkReverseSense,
        vtkWindowedSincPolyDataFilter,
    )
    from vtkmodules.vtkFiltersGeneral import vtkDiscreteFlyingEdges3D, vtkTransformPolyDataFilter

    image = vtkImageData()
    image.SetDimensions(mask.shape[::-1])
    flat = np.ascontiguousarray(mask, dtype=np.uint8).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    edges = vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.SetValue(0, 1)
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(edges.GetOutputPort())
    smooth.SetNumberOfIterations(round(20 + 40 * SMOOTHING))
    smooth.SetPassBand(10.0 ** (-4.0 * SMOOTHING))
    smooth.BoundarySmoothingOff()
    smooth.FeatureEdgeSmoothingOff()
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    to_ras = vtkTransform()
    to_ras.SetMatrix((ijk_to_ras @ _shift(start)).ravel().tolist())
    moved = vtkTransformPolyDataFilter()
    moved.SetInputConnection(smooth.GetOutputPort())
    moved.SetTransform(to_ras)
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(moved.GetOutputPort())
    normals.ConsistencyOn()
    normals.SplittingOff()
    normals.AutoOrientNormalsOff()
    # A reflecting matrix, as of most scans, turns every triangle inside out.
    if np.linalg.det(ijk_to_ras[:3, :3]) < 0:
        turned = vtkReverseSense()
        turned.SetInputConnection(moved.GetOutputPort())
        turned.ReverseCellsOn()
        normals.SetInputConnection(turned.GetOutputPort())
    normals.Update()
    made = normals.GetOutput()
    triangles = vtk_to_numpy(made.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return (
        vtk_to_numpy(made.GetPoints().GetData()).astype(np.float32),
        triangles.astype(np.int64),
        vtk_to_numpy(made.GetPointData().GetNormals()).astype(np.float32),
    )


def _cropped(labels: Any, boxes: list[Any], values: list[int]) -> tuple[Any, Any]:
    """The mask of these label values with one voxel of background around it, and its start.

    Args:
        labels: (Z, Y, X).
        boxes: slices by label value - 1, None where it is not there.
        values: of one structure.
    """
    import numpy as np

    found = [boxes[value - 1] for value in values if 0 < value <= len(boxes)]
    found = [box for box in found if box is not None]
    if not found:
        return None, None
    lowest = np.min([[part.start for part in box] for box in found], axis=0)
    highest = np.max([[part.stop for part in box] for box in found], axis=0)
    box = tuple(slice(a, b) for a, b in zip(lowest, highest, strict=True))
    return np.pad(np.isin(labels[box], values), 1), lowest[::-1] - 1


def _shift(start: Any) -> Any:
    import numpy as np

    matrix = np.eye(4)
    matrix[:3, 3] = start
    return matrix

"""Surfaces for the 3D view, made by another process and added as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..jobs import Job, ProcessStarter, open_process, slicer_python
from ..paths import MODULE_FOLDER, logic_folder
from ..scene import labelmap_name
from .segments import NewSegment
from .steps import WAITING, WORKING, Steps

CHILD = "from SelfConfiguringSegmentationLib.segment.surface_child import main; main()"


def surface_starter(python: str, environment: Mapping[str, str]) -> ProcessStarter:
    """Starts the child in this Python, which must know vtk."""
    path = os.pathsep.join((str(MODULE_FOLDER), str(logic_folder())))
    return lambda arguments: open_process(
        [python, "-c", CHILD, *arguments], {**environment, "PYTHONPATH": path}
    )


def slicer_surface_starter() -> ProcessStarter:
    """Starts the child in Slicer's own Python.

    Raises:
        SelfsegError: this is not a Slicer installation.
    """
    return surface_starter(*slicer_python())


def add_surfaces(
    segments: Sequence[NewSegment],
    values: Sequence[Sequence[int]],
    labels: Path,
    start: ProcessStarter,
    should_stop: Callable[[], bool] = lambda: False,
) -> Steps[None]:
    """Gives each segment its closed surface. One that was edited meanwhile is left alone.

    Args:
        segments: of a segmentation; those without voxels get an empty surface.
        values: label values of each.
        labels: the label map (Z, Y, X) as a plain array; its folder takes the surfaces.
        start: starts the child.
        should_stop: polled; the surfaces made so far stay.

    Raises:
        JobFailed: the child failed.
    """
    if not segments:
        return
    times = [_time(new) for new in segments]
    request = {
        "labels": str(labels),
        "ijk_to_ras": _matrix(segments[0]),
        "structures": [list(structure) for structure in values],
    }
    path = labels.with_name("surfaces.json")
    path.write_text(json.dumps(request), encoding="utf-8")
    made: list[int] = []
    job = Job(["surfaces", str(path)], start=start, on_event=lambda e: made.append(e["number"]))
    try:
        ended = False
        while not ended:
            ended = job.poll()
            while made:
                number = made.pop(0)
                new = segments[number]
                if _time(new) == times[number]:
                    surface = _read(labels.parent, number)
                    new.segment.AddRepresentation(_surface_name(), surface)
                yield WORKING
            if should_stop():
                return
            yield WAITING
        job.raise_on_failure()
    finally:
        if not job.poll():
            job.end_now()


def _time(new: NewSegment) -> int:
    image = new.segment.GetRepresentation(labelmap_name())
    return 0 if image is None else int(image.GetMTime())


def _matrix(new: NewSegment) -> list[float]:
    """Where the label map lies: 16 numbers, row by row."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    new.segment.GetRepresentation(labelmap_name()).GetImageToWorldMatrix(matrix)
    return [matrix.GetElement(row, column) for row in range(4) for column in range(4)]


def _surface_name() -> str:
    import slicer

    name: str = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return name


def _read(folder: Path, number: int) -> Any:
    """The surface that the child has written; an empty one where it has written none."""
    import numpy as np
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

    made = vtk.vtkPolyData()
    if not (folder / f"{number}_normals.npy").is_file():
        return made
    points, triangles, normals = (
        np.load(folder / f"{number}_{name}.npy") for name in ("points", "triangles", "normals")
    )
    place = vtk.vtkPoints()
    place.SetData(numpy_to_vtk(points, deep=True))
    cells = vtk.vtkCellArray()
    offsets = np.arange(0, triangles.size + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(triangles.ravel(), deep=True),
    )
    made.SetPoints(place)
    made.SetPolys(cells)
    shading = numpy_to_vtk(normals, deep=True)
    shading.SetName("Normals")
    made.GetPointData().SetNormals(shading)
    return made

"""Label maps become segments that belong to no scene yet, in steps of milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfseg.domain.appearance import Appearance
from selfseg.domain.errors import ImageError, ModelError
from selfseg.domain.labels import LabelScheme
from selfseg.domain.segments import ALGORITHM_NAME_TAG, ALGORITHM_TYPE_TAG

from ..scene import labelmap_name
from ..terminology import look_of
from .steps import WORKING, Steps

ALGORITHM_TYPE = "AUTOMATIC"

SLAB_VOXELS = 2**20
"""Voxels sorted in one step: about 10 ms."""


@dataclass(frozen=True)
class NewSegment:
    """A segment that belongs to no segmentation yet; `voxels` is how many it has."""

    name: str
    segment: Any
    voxels: int


def read_slabs(path: Path, shape: Sequence[int]) -> Iterator[Any]:
    """The slices of a plain array (Z, Y, X), some at a time.

    Raises:
        ImageError: it is no label map of that shape.
    """
    import numpy as np
    from numpy.lib import format as npy

    try:
        with path.open("rb") as stream:
            npy.read_magic(stream)
            found, fortran, kind = npy.read_array_header_1_0(stream)
            if tuple(found) != tuple(shape) or fortran or kind.kind != "u":
                raise ValueError(f"{kind} {found}")
            for count in _slab_sizes(shape):
                slab = np.empty((count, *shape[1:]), kind)
                if stream.readinto(memoryview(slab).cast("B")) != slab.nbytes:
                    raise ValueError("it ends too early")
                yield slab
    except (OSError, ValueError) as error:
        raise ImageError(
            "the label map of the worker cannot be used",
            expected=f"label values, {tuple(shape)} voxels (Z, Y, X)",
            found=str(error),
            cure="segment again; if it stays, read the log",
            path=path,
        ) from error


def slabs_of(labels: Any) -> Iterator[Any]:
    """The slices of an array (Z, Y, X), some at a time."""
    first = 0
    for count in _slab_sizes(labels.shape):
        yield labels[first : first + count]
        first += count


def _slab_sizes(shape: Sequence[int]) -> Iterator[int]:
    count = max(1, SLAB_VOXELS // max(1, shape[1] * shape[2]))
    for first in range(0, shape[0], count):
        yield min(count, shape[0] - first)


def make_segments(
    slabs: Iterable[Any],
    shape: Sequence[int],
    scheme: LabelScheme,
    ijk_to_ras: Any,
    *,
    appearances: Sequence[Appearance] = (),
    structures: Sequence[str] = (),
    algorithm_name: str = "",
) -> Steps[list[NewSegment]]:
    """Sorts label values into segments, in the scheme's order.

    Every structure becomes a segment, also where it was not found. Plain labels share one layer;
    the regions of a region model overlap and get a layer each.

    Args:
        slabs: label values, slices in order.
        shape: of all together, (Z, Y, X).
        scheme: what the values mean.
        ijk_to_ras: where the voxels lie, a vtkMatrix4x4.
        appearances: colours and codes, one per structure of the scheme; or none.
        structures: names of those to make; all without any.
        algorithm_name: stored with each segment, and exported to DICOM.

    Raises:
        ModelError: a value that the scheme does not know.
    """
    import numpy as np

    highest = max(scheme.allowed_values)
    kind = np.uint8 if highest < 256 else np.int16
    chosen = [
        (index, label)
        for index, label in enumerate(scheme.foreground)
        if not structures or label.name in structures
    ]
    layers = [
        _Layer(shape, np.uint8 if scheme.has_regions else kind, ijk_to_ras)
        for _ in (chosen if scheme.has_regions else (0,))
    ]
    tables = [_table(label.values, highest) for _, label in chosen]
    counts = np.zeros(highest + 1, dtype=np.int64)
    for slab in slabs:
        if slab.any():
            _count(slab, counts, scheme)
            if scheme.has_regions:
                for layer, table in zip(layers, tables, strict=True):
                    layer.add(table[slab])
                    yield WORKING
            else:
                layers[0].add(slab)
        else:
            for layer in layers:
                layer.add(slab)
        yield WORKING
    made = []
    for place, (index, label) in enumerate(chosen):
        look = look_of(label, index, appearances[index] if appearances else None)
        layer = layers[place] if scheme.has_regions else layers[0]
        value = 1 if scheme.has_regions else label.values[0]
        segment = _segment(label.name, look.colour, look.terminology, algorithm_name)
        segment.SetLabelValue(value)
        segment.AddRepresentation(labelmap_name(), layer.image)
        made.append(NewSegment(label.name, segment, int(counts[list(label.values)].sum())))
        yield WORKING
    return made


class _Layer:
    """A label map that grows slice by slice."""

    def __init__(self, shape: Sequence[int], kind: Any, ijk_to_ras: Any) -> None:
        import slicer
        import vtk
        from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

        self.image = slicer.vtkOrientedImageData()
        self.image.SetDimensions(tuple(shape)[::-1])
        self.image.AllocateScalars(get_vtk_array_type(kind), 1)
        copy = vtk.vtkMatrix4x4()
        copy.DeepCopy(ijk_to_ras)
        self.image.SetImageToWorldMatrix(copy)
        self._voxels = vtk_to_numpy(self.image.GetPointData().GetScalars()).reshape(shape)
        self._filled = 0

    def add(self, slab: Any) -> None:
        """Takes the next slices."""
        self._voxels[self._filled : self._filled + len(slab)] = slab
        self._filled += len(slab)


def _table(values: Sequence[int], highest: int) -> Any:
    """For each label value 1 if it belongs to the structure."""
    import numpy as np

    table = np.zeros(highest + 1, dtype=np.uint8)
    table[list(values)] = 1
    return table


def _count(slab: Any, counts: Any, scheme: LabelScheme) -> None:
    import numpy as np

    lowest, highest = int(slab.min()), int(slab.max())
    if lowest >= 0 and highest < len(counts):
        found = np.bincount(slab.ravel(), minlength=len(counts))
        unknown = set(np.flatnonzero(found).tolist()) - scheme.allowed_values
        counts += found
    else:
        unknown = {lowest, highest} - scheme.allowed_values
    if unknown:
        raise ModelError(
            "the label map holds values that the model's description does not name",
            expected=str(sorted(scheme.allowed_values)),
            found=str(sorted(unknown)),
            cure="train the model again: its plan and its weights do not belong together",
        )


def _segment(name: str, colour: Sequence[int], terminology: str, algorithm_name: str) -> Any:
    import slicer

    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*(channel / 255.0 for channel in colour))
    if terminology:
        segment.SetTerminology(terminology)
    segment.SetTag(ALGORITHM_TYPE_TAG, ALGORITHM_TYPE)
    if algorithm_name:
        segment.SetTag(ALGORITHM_NAME_TAG, algorithm_name)
    return segment

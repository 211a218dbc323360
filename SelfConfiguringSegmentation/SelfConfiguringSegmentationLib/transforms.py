"""Parent transforms as matrices that a child process can apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import ImageError


def matrix_between(source: Any, target: Any) -> Any:
    """From the coordinates under one transform node to those under another.

    Args:
        source: a transform node; None for the world.
        target: likewise.

    Returns:
        a vtkMatrix4x4, RAS to RAS; None where a transform bends.
    """
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    between = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes
    return matrix if between(source, target, matrix) else None


def to_world(node: Any) -> tuple[float, ...] | None:
    """From a node's coordinates to the world's: 16 numbers, row by row, LPS; None without one.

    Raises:
        ImageError: the transform bends.
    """
    return _between(node.GetParentTransformNode(), None)


def to_coordinates_of(node: Any, other: Any) -> tuple[float, ...] | None:
    """From a node's coordinates to those of another; None where they are the same.

    Raises:
        ImageError: a transform bends.
    """
    if other is None or node.GetTransformNodeID() == other.GetTransformNodeID():
        return None
    return _between(node.GetParentTransformNode(), other.GetParentTransformNode())


def as_text(numbers: Sequence[float]) -> str:
    """For a command line."""
    return ",".join(repr(float(number)) for number in numbers)


def _between(source: Any, target: Any) -> tuple[float, ...] | None:
    import numpy as np
    import slicer

    if source is None and target is None:
        return None
    matrix = matrix_between(source, target)
    if matrix is None:
        raise ImageError(
            _("the segmentation is under a transform that bends"),
            expected=_("a linear transform, or none"),
            found=_("a non-linear one"),
            cure=_("harden the transform first (Data module, right click on it)"),
        )
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ slicer.util.arrayFromVTKMatrix(matrix) @ flip
    return tuple(float(number) for number in lps.ravel())

"""Parent transforms as matrices that a child process can apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import ImageError

SMALLEST_DETERMINANT = 1e-12
"""Of a matrix that counts as invertible; that of a collection file is asked for the same."""


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


def require_invertible(node: Any, *transforms: Any) -> None:
    """Refuses linear transforms that make something flat: there is no way back from them.

    Args:
        node: what the message is about.
        transforms: transform nodes; None, and those that bend, are not looked at.

    Raises:
        ImageError: the matrix of one cannot be inverted.
    """
    for transform in transforms:
        matrix = None if transform is None else matrix_between(transform, None)
        determinant = 1.0 if matrix is None else matrix.Determinant()
        # NaN is not larger either.
        if not abs(determinant) > SMALLEST_DETERMINANT:
            raise ImageError(
                _("{name} is under a transform that cannot be inverted").format(
                    name=repr(node.GetName())
                ),
                expected=_("a transform that leaves a volume a volume"),
                found=_("{transform}, with the determinant {determinant:g}").format(
                    transform=transform.GetName(), determinant=determinant
                ),
                cure=_("correct the transform, or take it off (Data module)"),
            )


def to_world(node: Any) -> tuple[float, ...] | None:
    """From a node's coordinates to the world's: 16 numbers, row by row, LPS; None without one.

    Raises:
        ImageError: the transform bends, or cannot be inverted.
    """
    return _between(node, node.GetParentTransformNode(), None)


def to_coordinates_of(node: Any, other: Any) -> tuple[float, ...] | None:
    """From a node's coordinates to those of another; None where they are the same.

    Raises:
        ImageError: a transform bends, or cannot be inverted.
    """
    if other is None or node.GetTransformNodeID() == other.GetTransformNodeID():
        return None
    return _between(node, node.GetParentTransformNode(), other.GetParentTransformNode())


def as_text(numbers: Sequence[float]) -> str:
    """For a command line."""
    return ",".join(repr(float(number)) for number in numbers)


def _between(node: Any, source: Any, target: Any) -> tuple[float, ...] | None:
    import numpy as np
    import slicer

    if source is None and target is None:
        return None
    require_invertible(node, source, target)
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

"""Where an image lies in the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import ImageError

Vector3 = tuple[float, float, float]
Shape3 = tuple[int, int, int]
Matrix3 = tuple[Vector3, Vector3, Vector3]
Affine = tuple[tuple[float, ...], ...]
"""4 x 4, row by row."""

VoxelRanges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""A box of voxels: for each array axis (Z, Y, X) the first index, and the one after the last."""

IDENTITY: Matrix3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

SLICE_SPACING_2D = 999.0
"""Spacing (mm) of the first axis of a 2D image, which is a volume of one slice (RECIPE)."""


@dataclass(frozen=True)
class Geometry:
    """Grid of an image.

    `shape` and `spacing` (mm) follow the array: (Z, Y, X). `origin` and `direction` describe
    the world, not the array, and keep ITK's convention: LPS millimetres (x, y, z), one column
    of `direction` per image axis x, y, z. The readers in `io` and `scene.py` convert once.

    Raises:
        ImageError: a size is not positive, a number is not finite, or the direction
            does not have orthonormal columns.
    """

    shape: Shape3
    spacing: Vector3
    origin: Vector3 = (0.0, 0.0, 0.0)
    direction: Matrix3 = IDENTITY

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(int(n) != n or n < 1 for n in self.shape):
            raise ImageError(
                "the image has no valid size",
                expected="three sizes of at least one voxel (Z, Y, X)",
                found=str(self.shape),
                cure="export the image again; the file is empty or damaged",
            )
        if len(self.spacing) != 3 or any(not math.isfinite(s) or s <= 0 for s in self.spacing):
            raise ImageError(
                "the image has no valid voxel spacing",
                expected="three positive spacings in mm (Z, Y, X)",
                found=str(self.spacing),
                cure="write the right spacing into the file's header",
            )
        if len(self.origin) != 3 or any(not math.isfinite(o) for o in self.origin):
            raise ImageError(
                "the image has no valid origin",
                expected="three finite coordinates in mm",
                found=str(self.origin),
                cure="write the right origin into the file's header",
            )
        if not _orthonormal(self.direction):
            raise ImageError(
                "the image axes are not perpendicular unit vectors",
                expected="a direction matrix with orthonormal columns",
                found=str(self.direction),
                cure="resample the image to a straight grid first "
                "(in Slicer: Resample Scalar/Vector/DWI Volume)",
            )

    @property
    def is_2d(self) -> bool:
        """True for a 2D image: one slice with the spacing that marks it."""
        return self.shape[0] == 1 and self.spacing[0] == SLICE_SPACING_2D

    @property
    def affine(self) -> Affine:
        """From the index (x, y, z, 1) of a voxel to LPS millimetres."""
        across, down, up = self.spacing[::-1]
        rows = [
            (row[0] * across, row[1] * down, row[2] * up, start)
            for row, start in zip(self.direction, self.origin, strict=True)
        ]
        return (*rows, (0.0, 0.0, 0.0, 1.0))

    @classmethod
    def from_affine(
        cls,
        affine: Sequence[Sequence[float]],
        shape: Sequence[int],
        *,
        start: Sequence[int] = (0, 0, 0),
        ras: bool = False,
    ) -> Geometry:
        """The grid whose voxels lie where a matrix says.

        Args:
            affine: at least three rows of four, from indices (x, y, z) to millimetres.
            shape: (Z, Y, X).
            start: index (x, y, z) of the first voxel.
            ras: the millimetres are RAS, as Slicer's; LPS otherwise.

        Raises:
            ImageError: see the class.
        """
        signs = (-1.0, -1.0, 1.0) if ras else (1.0, 1.0, 1.0)
        rows = [
            [sign * float(part) for part in row] for sign, row in zip(signs, affine, strict=False)
        ]
        lengths = [math.hypot(rows[0][axis], rows[1][axis], rows[2][axis]) for axis in range(3)]
        turn = [
            tuple(
                part / length if length else 0.0 for part, length in zip(row, lengths, strict=False)
            )
            for row in rows
        ]
        origin = [sum(a * b for a, b in zip(row, (*start, 1.0), strict=True)) for row in rows]
        return cls(
            (int(shape[0]), int(shape[1]), int(shape[2])),
            (lengths[2], lengths[1], lengths[0]),
            (origin[0], origin[1], origin[2]),
            tuple((row[0], row[1], row[2]) for row in turn),  # type: ignore[arg-type]
        )

    def mismatch(self, other: Geometry, *, tolerance: float = 1e-3) -> str:
        """Says how `other` differs from this grid, or "" where it does not.

        Args:
            tolerance: allowed difference: mm for origins, mm for spacings and
                absolute for direction cosines.
        """
        if self.shape != other.shape:
            return f"size {_plain(self.shape)} against {_plain(other.shape)} voxels (Z, Y, X)"
        for name, mine, theirs in (
            ("spacing", self.spacing, other.spacing),
            ("origin", self.origin, other.origin),
        ):
            if any(abs(a - b) > tolerance for a, b in zip(mine, theirs, strict=True)):
                return f"{name} {_plain(mine)} against {_plain(theirs)} mm"
        for row, other_row in zip(self.direction, other.direction, strict=True):
            if any(abs(a - b) > tolerance for a, b in zip(row, other_row, strict=True)):
                return f"direction {self.direction} against {other.direction}"
        return ""


def _plain(values: tuple[float, ...] | tuple[int, ...]) -> str:
    return " x ".join(f"{v:.6g}" for v in values)


def _orthonormal(matrix: Matrix3, tolerance: float = 1e-3) -> bool:
    if len(matrix) != 3 or any(len(row) != 3 for row in matrix):
        return False
    for i in range(3):
        for j in range(3):
            dot = sum(matrix[k][i] * matrix[k][j] for k in range(3))
            if not math.isfinite(dot) or abs(dot - (1.0 if i == j else 0.0)) > tolerance:
                return False
    return True

"""One case in memory: as read, and as the network sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .geometry import Geometry, Shape3, Vector3

FloatArray = NDArray[np.float32]
IntArray = NDArray[Any]


@dataclass(frozen=True)
class RawCase:
    """Channels and label map of one case on one grid.

    Args:
        identifier: the case's name.
        channels: (C, Z, Y, X), finite, float32.
        geometry: the grid of both.
        labels: (Z, Y, X) whole numbers, or None where only images are known.

    Raises:
        ImageError: shapes disagree, or a voxel is not finite.
    """

    identifier: str
    channels: FloatArray
    geometry: Geometry
    labels: IntArray | None = None

    def __post_init__(self) -> None:
        if self.channels.ndim != 4 or self.channels.shape[1:] != self.geometry.shape:
            raise ImageError(
                f"case {self.identifier}: the image does not fit its grid",
                expected=f"(channels, {', '.join(map(str, self.geometry.shape))})",
                found=str(self.channels.shape),
                cure="this is a fault of the calling code: pass channels as (C, Z, Y, X)",
            )
        if not np.isfinite(self.channels).all():
            raise ImageError(
                f"case {self.identifier}: the image contains values that are not numbers",
                expected="finite intensities",
                found=f"{int((~np.isfinite(self.channels)).sum())} voxels of NaN or infinity",
                cure="replace them before importing, for example by the background intensity",
            )
        if self.labels is not None and self.labels.shape != self.geometry.shape:
            raise ImageError(
                f"case {self.identifier}: the label map does not fit the image",
                expected=f"{self.geometry.shape} voxels (Z, Y, X)",
                found=str(self.labels.shape),
                cure="resample the label map to the image's grid",
            )


@dataclass(frozen=True)
class PreprocessRecord:
    """What preprocessing did to a case, in order, so that it can be undone exactly.

    Native (Z, Y, X) -> transposed (axes `transpose`), then the axes of `flipped` turned round
    -> cropped to `crop_start`/`crop_stop` (of that grid) -> resampled from
    `shape_before_resampling` at `spacing_before` to `shape_after_resampling` at
    `spacing_after`. Shapes and spacings here are in the transposed axis order.
    """

    native: Geometry
    transpose: tuple[int, int, int]
    crop_start: Shape3
    crop_stop: Shape3
    shape_before_resampling: Shape3
    spacing_before: Vector3
    shape_after_resampling: Shape3
    spacing_after: Vector3
    transposed_shape: Shape3
    schema: str = "selfseg.preprocess-record/1"
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def on_plan_axes(self, native: NDArray[Any]) -> NDArray[Any]:
        """A view of an array (Z, Y, X) of the native grid, transposed and flipped.

        Writing into the view writes into the array: that is how the steps are undone.
        """
        z, y, x = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return native.transpose(self.transpose)[z, y, x]


@dataclass(frozen=True)
class PreprocessedCase:
    """A case as the network takes it.

    Args:
        identifier: the case's name.
        image: (C, Z, Y, X) float32 in plan axis order and spacing (2D: Z slices).
        labels: (Z, Y, X) int16 label values, or None.
        nonzero: (Z, Y, X) bool, the nonzero mask resampled, or None where no channel
            is normalised within it.
        foreground: for each label value, or tuple of values for a region, voxel locations
            (N, 3) int32 (Z, Y, X) to oversample from.
        previous: (Z, Y, X) label values, what the first stage of a cascade predicted; None
            without a cascade.
        record: what was done.
    """

    identifier: str
    image: FloatArray
    record: PreprocessRecord
    labels: IntArray | None = None
    nonzero: NDArray[np.bool_] | None = None
    foreground: dict[tuple[int, ...], NDArray[np.int32]] = field(default_factory=dict)
    previous: IntArray | None = None


@dataclass(frozen=True)
class Segmentation:
    """A label map on the native grid, with what made it.

    Args:
        identifier: the case's name.
        labels: (Z, Y, X) label values.
        geometry: the input's grid.
        provenance: model, version and settings, as plain values.
    """

    identifier: str
    labels: IntArray
    geometry: Geometry
    provenance: dict[str, str] = field(default_factory=dict)

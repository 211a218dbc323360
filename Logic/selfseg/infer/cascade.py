"""From the first stage of a cascade to the input of the second, when new images are segmented."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.resample import resample_labels
from ..domain.case import PreprocessRecord
from ..domain.errors import ModelError


def previous_on_grid(labels: NDArray[Any], record: PreprocessRecord) -> NDArray[np.int16]:
    """The first stage's label map as the second stage's preprocessing would have made it.

    Args:
        labels: (Z, Y, X) label values on the native grid.
        record: what the second stage's preprocessing did to the image.

    Returns:
        (Z, Y, X) int16 on the grid of the preprocessed image, resampled as labels are.

    Raises:
        ModelError: the label map is not on the native grid.
    """
    if labels.shape != record.native.shape:
        raise ModelError(
            "the first stage's label map is not on the grid of the image",
            expected=f"{record.native.shape} voxels (Z, Y, X)",
            found=str(labels.shape),
            cure="predict both stages from the same image",
        )
    place = tuple(map(slice, record.crop_start, record.crop_stop))
    cropped = np.ascontiguousarray(record.on_plan_axes(labels)[place], dtype=np.int16)
    return resample_labels(
        cropped, record.shape_after_resampling, record.spacing_before, record.spacing_after
    )

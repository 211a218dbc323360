"""Reliability of the probabilities of a case, structure by structure.

Most of an image is background that any model is sure of, and would make every model look
reliable; so what counts is the box around the reference's foreground (`foreground_box`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.bounding_box import bounding_box
from ..arrays.calibration import BINS, Reliability, reliability
from ..arrays.metrics import Box
from ..domain.errors import DatasetError
from ..domain.labels import LabelScheme

MARGIN_VOXELS = 10
"""Width of the band around the foreground that counts, too: room for what is invented."""


def foreground_box(
    reference: NDArray[Any], labels: LabelScheme, *, margin: int = MARGIN_VOXELS
) -> Box | None:
    """The box around all structures of a reference (Z, Y, X), widened; None without any."""
    mask = np.isin(reference, labels.values)
    if not mask.any():
        return None
    start, stop = bounding_box(mask)
    z, y, x = (
        slice(max(0, low - margin), min(size, high + margin))
        for low, high, size in zip(start, stop, reference.shape, strict=True)
    )
    return (z, y, x)


def structure_reliability(
    probabilities: NDArray[np.floating],
    reference: NDArray[Any],
    labels: LabelScheme,
    *,
    bins: int = BINS,
) -> Mapping[str, Reliability]:
    """Counts each structure's probability against the reference, over all voxels given.

    Cut both arrays to `foreground_box` first; slabs of it may come one by one, their results
    add up.

    Args:
        probabilities: (heads, Z, Y, X) from 0 to 1: background and every label, or every
            region.
        reference: (Z, Y, X) label values; voxels with the ignore value do not count.
        labels: the structures.
        bins: of equal width.

    Returns:
        By key of the structure: "3", or "(1, 2)" for a region.

    Raises:
        DatasetError: the shapes do not fit the reference and the structures.
    """
    expected = (labels.head_count, *reference.shape)
    if probabilities.shape != expected:
        raise DatasetError(
            "the probabilities do not fit the reference",
            expected=f"{expected} (heads, Z, Y, X)",
            found=str(probabilities.shape),
            cure="compare probabilities on the reference's grid, made by a model of these labels",
        )
    counted = None if labels.ignore is None else reference != labels.ignore
    first = 0 if labels.has_regions else 1
    return {
        label.key: reliability(
            probabilities[head], np.isin(reference, label.values), counted=counted, bins=bins
        )
        for head, label in enumerate(labels.foreground, start=first)
    }

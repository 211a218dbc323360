"""Label maps as one mask per label value: what a cascade's second stage sees of the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def one_hot(labels: NDArray[np.integer], values: Sequence[int]) -> NDArray[np.float32]:
    """One channel per value, 1 where the label map has it.

    Args:
        labels: (*size) label values.
        values: the values that get a channel, in this order; others get none.

    Returns:
        (len(values), *size) float32.
    """
    channels = np.zeros((len(values), *labels.shape), dtype=np.float32)
    for channel, value in zip(channels, values, strict=True):
        channel[labels == value] = 1.0
    return channels

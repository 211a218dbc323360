from __future__ import annotations

import numpy as np

from selfseg.arrays.one_hot import one_hot


def test_one_channel_per_value_in_the_order_given() -> None:
    labels = np.array([[0, 7, 2], [300, 2, 5]], np.int16)
    channels = one_hot(labels, (2, 7, 300))
    assert channels.shape == (3, 2, 3)
    assert channels.dtype == np.float32
    for channel, value in zip(channels, (2, 7, 300), strict=True):
        np.testing.assert_array_equal(channel, labels == value)
    assert channels.sum() == 4  # neither background nor a value without a channel


def test_no_value_gives_no_channel() -> None:
    assert one_hot(np.ones((2, 3), np.int16), ()).shape == (0, 2, 3)

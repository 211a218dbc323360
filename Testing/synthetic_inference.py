"""A made-up case for the tests of inference."""

from __future__ import annotations

import numpy as np

from selfseg.domain.case import FloatArray, PreprocessedCase, PreprocessRecord
from selfseg.domain.geometry import Geometry


def a_case(image: FloatArray) -> PreprocessedCase:
    shape = image.shape[1:]
    record = PreprocessRecord(
        native=Geometry(shape, (1.0, 1.0, 1.0)),
        transpose=(0, 1, 2),
        crop_start=(0, 0, 0),
        crop_stop=shape,
        shape_before_resampling=shape,
        spacing_before=(1.0, 1.0, 1.0),
        shape_after_resampling=shape,
        spacing_after=(1.0, 1.0, 1.0),
        transposed_shape=shape,
    )
    return PreprocessedCase("case", image, record)


def noise(*shape: int) -> FloatArray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)

"""Between the stages of a cascade."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from selfseg.arrays.resample import resample_labels, resample_linear
from selfseg.domain.case import FloatArray, PreprocessedCase, PreprocessRecord
from selfseg.domain.errors import ModelError
from selfseg.domain.geometry import Geometry, Vector3
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.domain.stopping import Stop, never
from selfseg.infer.cascade import previous_on_grid
from selfseg.infer.engine import predict_logits
from selfseg.infer.restore import labels_for_next_stage

GAPS = LabelScheme((Label("a", (7,)), Label("b", (2,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))


def a_record(
    before: tuple[int, int, int],
    after: tuple[int, int, int],
    spacing: Vector3,
    spacing_after: Vector3,
    transpose: tuple[int, int, int] = (0, 1, 2),
) -> PreprocessRecord:
    """Cropped by one voxel in front and two behind on every axis."""
    transposed = tuple(n + 3 for n in before)
    native = [0, 0, 0]
    for axis, n in zip(transpose, transposed, strict=True):
        native[axis] = n
    return PreprocessRecord(
        native=Geometry((native[0], native[1], native[2]), (1.0, 1.0, 1.0)),
        transpose=transpose,
        crop_start=(1, 1, 1),
        crop_stop=(before[0] + 1, before[1] + 1, before[2] + 1),
        shape_before_resampling=before,
        spacing_before=spacing,
        shape_after_resampling=after,
        spacing_after=spacing_after,
        transposed_shape=(transposed[0], transposed[1], transposed[2]),
    )


def smooth(heads: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((heads, *shape))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 1.5)).astype(np.float32)


@pytest.mark.parametrize("scheme", [GAPS, REGIONS])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (7.0, 2.0, 2.0), (7.0, 2.6, 2.6)])
def test_training_interpolates_logits_to_the_grid_of_the_second_stage(
    scheme: LabelScheme, spacing: Vector3
) -> None:
    low, full = (9, 11, 10), (12, 27, 25)
    logits = smooth(scheme.head_count, low)
    record = a_record((5, 6, 7), low, (1.0, 1.0, 1.0), spacing)
    found = labels_for_next_stage(logits, record, full, scheme)
    # The first stage's spacing alone decides whether an axis is kept apart (nnunetv2 2.8.1).
    everything = resample_linear(logits, full, spacing, spacing)
    if scheme is GAPS:
        naive = np.array([0, 7, 2])[everything.argmax(axis=0)]
    else:
        naive = np.where(everything[1] > 0, 2, np.where(everything[0] > 0, 1, 0))
    assert found.shape == full
    assert (found == naive).mean() > 0.999  # float32 sums in another order
    assert len(np.unique(found)) == 3


def test_logits_of_another_grid_are_refused() -> None:
    record = a_record((5, 6, 7), (9, 11, 10), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    with pytest.raises(ModelError, match="does not fit"):
        labels_for_next_stage(smooth(3, (9, 11, 11)), record, (4, 4, 4), GAPS)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_new_images_take_the_native_label_map_through_crop_transpose_and_resampling(
    transpose: tuple[int, int, int],
) -> None:
    record = a_record((8, 12, 10), (16, 9, 13), (2.0, 1.0, 1.0), (1.0, 1.3, 0.8), transpose)
    labels = smooth(3, record.native.shape).argmax(axis=0).astype(np.uint16) * 150
    found = previous_on_grid(labels, record)
    inner = labels.transpose(transpose)[1:9, 1:13, 1:11].astype(np.int16)
    wanted = resample_labels(inner, (16, 9, 13), (2.0, 1.0, 1.0), (1.0, 1.3, 0.8))
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.int16
    assert set(np.unique(found)) == {0, 150, 300}
    with pytest.raises(ModelError, match="not on the grid"):
        previous_on_grid(labels[1:], record)


class EchoMasks:
    """Logits are the last two channels; remembers how many there were."""

    channels = 0

    def predict(
        self, batch: FloatArray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
    ) -> FloatArray:
        self.channels = batch.shape[1]
        return batch[:, -2:]


@pytest.mark.parametrize("patch", [(4, 6, 6), (12, 16, 5)])
def test_tiles_carry_one_mask_per_value(patch: tuple[int, int, int]) -> None:
    shape = (9, 10, 11)
    network = NetworkPlan("plain", (4,), ((3,) * 3,), ((1,) * 3,), (1,), ())
    plan = ConfigurationPlan(
        "c", (1.0,) * 3, patch, (9.0,) * 3, 2, ("zscore",), (False,), False, network, "3d_lowres"
    )
    record = a_record(shape, shape, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    previous = np.random.default_rng(0).choice([0, 2, 7], shape).astype(np.int16)
    case = PreprocessedCase("case", smooth(1, shape), record, previous=previous)
    backend = EchoMasks()
    found = predict_logits(case, backend, plan, head_count=2, previous_values=(2, 7))
    assert backend.channels == 3
    np.testing.assert_allclose(found, [previous == 2, previous == 7], atol=1e-6)

    alone = PreprocessedCase("case", smooth(1, shape), record)
    with pytest.raises(ModelError, match="without its first stage"):
        predict_logits(alone, backend, plan, head_count=2, previous_values=(2, 7))

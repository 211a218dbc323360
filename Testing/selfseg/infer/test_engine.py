from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.arrays.tile import gaussian_weights, tile_starts
from selfseg.domain.case import FloatArray, PreprocessedCase, PreprocessRecord
from selfseg.domain.errors import Cancelled, ModelError
from selfseg.domain.events import Event, Progress
from selfseg.domain.geometry import Geometry
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.infer.engine import mirror_subsets, predict_logits


class Arithmetic:
    """A backend whose logits are the channel and its negative, plus `extra` of the place."""

    def __init__(self, extra: FloatArray | None = None) -> None:
        self.extra = extra
        self.batches: list[tuple[int, ...]] = []

    def predict(self, batch: FloatArray, mirror_axes: tuple[int, ...] = ()) -> FloatArray:
        self.batches.append(batch.shape)
        results = []
        for subset in mirror_subsets(mirror_axes):
            axes = tuple(axis + 2 for axis in subset)
            x = np.flip(batch, axes)[:, 0]
            logits = np.stack([x, -x], axis=1)
            if self.extra is not None:
                logits = logits + self.extra
            results.append(np.flip(logits, axes))
        return np.mean(results, axis=0, dtype=np.float32)


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


def a_plan(patch: tuple[int, ...], batch_size: int = 2) -> ConfigurationPlan:
    n = len(patch)
    network = NetworkPlan("plain", (4,), ((3,) * n,), ((1,) * n,), (1,), ())
    return ConfigurationPlan(
        "test", (1.0,) * n, patch, (8.0,) * n, batch_size, ("zscore",), (False,), False, network
    )


def noise(*shape: int) -> FloatArray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.integers(1, 14)] * 3),
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.sampled_from([0.5, 0.7, 1.0]),
    st.booleans(),
)
def test_a_pointwise_network_gives_its_own_values_everywhere(
    shape: tuple[int, int, int], patch: list[int], step: float, mirror: bool
) -> None:
    image = noise(2, *shape)
    logits = predict_logits(
        a_case(image), Arithmetic(), a_plan(tuple(patch)), head_count=2, step=step, mirror=mirror
    )
    assert logits.shape == (2, *shape)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[0], image[0], atol=1e-5)
    np.testing.assert_allclose(logits[1], -image[0], atol=1e-5)


def test_overlapping_tiles_are_weighted_by_the_gaussian() -> None:
    extra, patch = noise(1, 2, 4, 6, 8), (4, 6, 8)
    image = np.zeros((1, 7, 9, 8), np.float32)
    found = predict_logits(
        a_case(image), Arithmetic(extra), a_plan(patch), head_count=2, mirror=False
    )
    weights = gaussian_weights(patch).astype(float)
    numerator, denominator = np.zeros((2, 7, 9, 8)), np.zeros((7, 9, 8))
    for z, y, x in tile_starts((7, 9, 8), patch):
        place = (slice(z, z + 4), slice(y, y + 6), slice(x, x + 8))
        numerator[(slice(None), *place)] += extra[0] * weights
        denominator[place] += weights
    np.testing.assert_allclose(found, numerator / denominator, atol=1e-5)


def test_slices_of_a_2d_network_are_predicted_one_by_one() -> None:
    extra = noise(1, 2, 5, 6)
    image = noise(1, 4, 8, 6)
    plan = a_plan((5, 6))
    whole = predict_logits(a_case(image), Arithmetic(extra), plan, head_count=2)
    for z in range(4):
        one = predict_logits(a_case(image[:, z : z + 1]), Arithmetic(extra), plan, head_count=2)
        np.testing.assert_allclose(whole[:, z : z + 1], one, atol=1e-6)


def test_mirroring_makes_the_result_mirror_with_the_image() -> None:
    extra, image = noise(1, 2, 4, 4, 4), noise(1, 4, 4, 4)
    plan = a_plan((4, 4, 4))

    def predicted(x: FloatArray, mirror: bool) -> FloatArray:
        return predict_logits(a_case(x), Arithmetic(extra), plan, head_count=2, mirror=mirror)

    flipped = np.ascontiguousarray(image[:, ::-1, :, ::-1])
    np.testing.assert_allclose(
        predicted(flipped, True), predicted(image, True)[:, ::-1, :, ::-1], atol=1e-5
    )
    assert not np.allclose(predicted(flipped, False), predicted(image, False)[:, ::-1, :, ::-1])
    assert len(list(mirror_subsets((0, 1, 2)))) == 8
    assert len(set(mirror_subsets((0, 1, 2)))) == 8


def test_batches_are_even_and_progress_is_told() -> None:
    backend, events = Arithmetic(), list[Event]()
    image = noise(1, 4, 4, 12)  # five tiles in a row
    predict_logits(
        a_case(image), backend, a_plan((4, 4, 4), 2), head_count=2, reporter=events.append
    )
    assert [shape[0] for shape in backend.batches] == [1, 2, 2]
    assert all(shape[1:] == (1, 4, 4, 4) for shape in backend.batches)
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == [1, 3, 5]
    assert isinstance(events[-1], Progress)
    assert events[-1].total == 5


def test_it_can_be_stopped() -> None:
    backend = Arithmetic()
    with pytest.raises(Cancelled):
        predict_logits(
            a_case(noise(1, 4, 4, 12)),
            backend,
            a_plan((4, 4, 4)),
            head_count=2,
            should_stop=lambda: len(backend.batches) == 1,
        )
    assert len(backend.batches) == 1


def test_a_network_of_other_heads_is_refused() -> None:
    with pytest.raises(ModelError, match="heads"):
        predict_logits(a_case(noise(1, 4, 4, 4)), Arithmetic(), a_plan((4, 4, 4)), head_count=3)

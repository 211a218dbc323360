from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.arrays.tile import gaussian_line, tile_starts
from selfseg.domain.case import FloatArray
from selfseg.domain.errors import Cancelled, ModelError, UsageError
from selfseg.domain.events import Event, Progress
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.domain.stopping import Stop, never
from selfseg.infer.backend import WindowPlan
from selfseg.infer.engine import TileOptions, mirror_subsets, predict_logits, predict_slabs
from selfseg.infer.host_window import HostWindow
from selfseg.infer.tiling import Tiling
from synthetic_inference import a_case, noise

NO_MIRROR = TileOptions(mirror=False)


class Arithmetic:
    """A backend whose logits are the channel and its negative, plus `extra` of the place."""

    def __init__(self, extra: FloatArray | None = None) -> None:
        self.extra = extra
        self.batches: list[tuple[int, ...]] = []

    def predict(
        self, batch: FloatArray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
    ) -> FloatArray:
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


def a_plan(patch: tuple[int, ...]) -> ConfigurationPlan:
    n = len(patch)
    network = NetworkPlan("plain", (4,), ((3,) * n,), ((1,) * n,), (1,), ())
    return ConfigurationPlan(
        "test", (1.0,) * n, patch, (8.0,) * n, 2, ("zscore",), (False,), False, network
    )


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
        a_case(image),
        Arithmetic(),
        a_plan(tuple(patch)),
        head_count=2,
        options=TileOptions(step, mirror),
    )
    assert logits.shape == (2, *shape)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[0], image[0], atol=1e-5)
    np.testing.assert_allclose(logits[1], -image[0], atol=1e-5)


def test_overlapping_tiles_are_weighted_by_the_gaussian() -> None:
    extra, patch = noise(1, 2, 4, 6, 8), (4, 6, 8)
    image = np.zeros((1, 7, 9, 8), np.float32)
    found = predict_logits(
        a_case(image), Arithmetic(extra), a_plan(patch), head_count=2, options=NO_MIRROR
    )
    lines = [gaussian_line(width) for width in patch]
    weights = lines[0][:, None, None] * lines[1][:, None] * lines[2]
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
        options = TileOptions(mirror=mirror)
        return predict_logits(a_case(x), Arithmetic(extra), plan, head_count=2, options=options)

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
        a_case(image),
        backend,
        a_plan((4, 4, 4)),
        head_count=2,
        options=TileOptions(passes=2),
        reporter=events.append,
    )
    assert [shape[0] for shape in backend.batches] == [1, 2, 2]
    assert all(shape[1:] == (1, 4, 4, 4) for shape in backend.batches)
    done = [event.done for event in events if isinstance(event, Progress)]
    assert done == [0, 1, 3, 5]
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
            options=TileOptions(passes=2),
            should_stop=lambda: len(backend.batches) == 1,
        )
    assert len(backend.batches) == 1


def test_a_network_of_other_heads_is_refused() -> None:
    with pytest.raises(ModelError, match="heads"):
        predict_logits(a_case(noise(1, 4, 4, 4)), Arithmetic(), a_plan((4, 4, 4)), head_count=3)


def test_slabs_come_in_order_as_soon_as_no_tile_reaches_them() -> None:
    backend = Arithmetic()
    image = noise(1, 11, 4, 6)
    tiles_before_slab, seen = [], 0
    for slab in predict_slabs(
        a_case(image), backend, a_plan((4, 4, 4)), head_count=2, options=NO_MIRROR
    ):
        assert slab.first == seen
        np.testing.assert_allclose(
            slab.maps[..., 0], image[0, seen : seen + len(slab.maps)], atol=1e-6
        )
        seen += len(slab.maps)
        tiles_before_slab.append(len(backend.batches))
    assert seen == 11
    assert tiles_before_slab == [2, 4, 6, 8, 10]  # two tiles in a row of equal z, five rows


def test_only_the_axes_that_may_be_mirrored_are() -> None:
    asked = []

    class Asked(Arithmetic):
        def predict(
            self, batch: FloatArray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
        ) -> FloatArray:
            asked.append(mirror_axes)
            return super().predict(batch, mirror_axes, should_stop)

    for options in (TileOptions(), TileOptions(mirror_axes=(0, 2)), NO_MIRROR):
        predict_logits(
            a_case(noise(1, 4, 4, 4)), Asked(), a_plan((4, 4, 4)), head_count=2, options=options
        )
    assert asked == [(0, 1, 2), (0, 2), ()]


def test_equal_empty_tiles_go_through_the_network_once() -> None:
    extra, patch = noise(1, 2, 4, 4, 4), (4, 4, 4)
    image = np.zeros((1, 4, 4, 32), np.float32)
    image[0, 1, 1, 20] = 1.0
    backend = Arithmetic(extra)
    found = predict_logits(a_case(image), backend, a_plan(patch), head_count=2, options=NO_MIRROR)
    tiles = len(tile_starts(image.shape[1:], patch))
    assert len(backend.batches) == 1 + 2  # the empty ones, and two that hold the voxel
    assert tiles == 15
    image[0, 0, 0] += np.linspace(1e-4, 2e-4, 32)  # now no tile is empty
    fuller = Arithmetic(extra)
    again = predict_logits(a_case(image), fuller, a_plan(patch), head_count=2, options=NO_MIRROR)
    assert len(fuller.batches) == tiles
    np.testing.assert_allclose(found, again, atol=1e-3)


def test_a_budget_that_is_too_small_names_the_least_that_works() -> None:
    case, plan = a_case(noise(1, 4, 4, 12)), a_plan((4, 4, 4))
    options = TileOptions(memory_bytes=10**6)
    with pytest.raises(UsageError, match=r"--memory \d+\.\dGB") as refused:
        predict_logits(case, Arithmetic(), plan, head_count=2, options=options)
    least = float(str(refused.value.expected).split()[2]) * 1e9
    options = TileOptions(memory_bytes=round(least * 1.2))
    assert predict_logits(case, Arithmetic(), plan, head_count=2, options=options).shape[0] == 2


def test_float16_sums_are_next_to_exact() -> None:
    # The bfloat16 of the networks before them has an error of 4e-3.
    image = noise(2, 20, 12, 12) * 30
    plan = a_plan((8, 8, 8))
    case, errors = a_case(image), []
    for half in (False, True):
        window = HostWindow(Arithmetic(), WindowPlan((20, 12, 12), (8, 8, 8), half), 2)
        tiling = Tiling(case, plan, (), 0.5)
        for rows in tiling.row_groups(1):
            for group in tiling.batches(rows, 0, 1):
                window.add(tiling.cut(group), (), [targets for _, targets in group])
        found = window.finished(20).astype(np.float64)[..., 0]
        errors.append(np.abs(found - image[0]).max() / np.abs(image[0]).max())
    assert errors[0] < 1e-6
    assert 1e-6 < errors[1] < 1e-3

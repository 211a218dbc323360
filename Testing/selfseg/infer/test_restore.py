from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from selfseg.arrays.resample import resample_linear
from selfseg.domain.case import PreprocessRecord
from selfseg.domain.errors import ModelError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.infer.backend import Head
from selfseg.infer.engine import Slab
from selfseg.infer.restore import fill, native_restoration, restoration_bytes, restore

GAPS = LabelScheme((Label("a", (7,)), Label("b", (2,)), Label("c", (300,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 5))


def a_record(
    native: tuple[int, ...],
    transpose: tuple[int, ...],
    start: tuple[int, ...],
    stop: tuple[int, ...],
    *,
    after: tuple[int, ...] | None = None,
    spacing_before: tuple[float, ...] = (1.0, 1.0, 1.0),
    spacing_after: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> PreprocessRecord:
    cropped = tuple(b - a for a, b in zip(start, stop, strict=True))
    return PreprocessRecord(
        native=Geometry(native, (1.0, 1.0, 1.0)),
        transpose=transpose,
        crop_start=start,
        crop_stop=stop,
        shape_before_resampling=cropped,
        spacing_before=spacing_before,
        shape_after_resampling=after or cropped,
        spacing_after=spacing_after,
        transposed_shape=tuple(native[axis] for axis in transpose),
    )


def smooth_logits(heads: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((heads, *shape))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 1.5)).astype(np.float32)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_without_resampling_it_undoes_crop_and_transpose_exactly(data: st.DataObject) -> None:
    native = data.draw(st.tuples(*[st.integers(1, 7)] * 3))
    transpose = tuple(data.draw(st.permutations([0, 1, 2])))
    transposed = [native[axis] for axis in transpose]
    start = tuple(data.draw(st.integers(0, size - 1)) for size in transposed)
    stop = tuple(
        data.draw(st.integers(a + 1, size)) for a, size in zip(start, transposed, strict=True)
    )
    record = a_record(native, transpose, start, stop)
    place = tuple(map(slice, start, stop))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    heads = generator.integers(0, 4, size=record.shape_before_resampling)
    truth = np.zeros(native, np.int64)
    truth.transpose(transpose)[place] = np.array([0, 7, 2, 300])[heads]
    logits = np.moveaxis(np.eye(4, dtype=np.float32)[heads], -1, 0)

    found = restore(logits, record, GAPS)
    np.testing.assert_array_equal(found, truth)
    assert found.dtype == np.uint16


ANISOTROPIC = [
    # (spacing after = the plan's, spacing before = native): coarse axis 0, 1, 2, none, a tie
    ((5.0, 1.0, 1.0), (5.0, 0.8, 0.8)),
    ((1.0, 6.0, 1.0), (1.0, 4.0, 1.0)),
    ((1.0, 1.0, 1.0), (0.5, 0.7, 4.0)),
    ((1.0, 1.0, 1.0), (1.5, 1.0, 0.7)),
    ((0.2, 1.0, 1.0), (0.3, 1.2, 1.2)),
]


@pytest.mark.parametrize(("spacing_after", "spacing_before"), ANISOTROPIC)
@pytest.mark.parametrize("labels", [GAPS, REGIONS])
def test_agrees_with_resampling_everything_at_once(
    spacing_after: tuple[float, ...], spacing_before: tuple[float, ...], labels: LabelScheme
) -> None:
    after = (9, 12, 10)
    before = tuple(
        max(1, round(n * a / b))
        for n, a, b in zip(after, spacing_after, spacing_before, strict=True)
    )
    native = (before[0] + 2, before[1] + 1, before[2])
    record = a_record(
        native,
        (0, 1, 2),
        (1, 1, 0),
        tuple(s + n for s, n in zip((1, 1, 0), before, strict=True)),
        after=after,
        spacing_before=spacing_before,
        spacing_after=spacing_after,
    )
    logits = smooth_logits(labels.head_count, after)
    full = resample_linear(logits, before, spacing_after, spacing_before)
    if labels.has_regions:
        naive = np.zeros(before, int)
        for region, value in zip(full, (1, 5), strict=True):
            naive[1 / (1 + np.exp(-region)) > 0.5] = value
    else:
        naive = np.array([0, 7, 2, 300])[full.argmax(axis=0)]
    found = restore(logits, record, labels)
    assert found.shape == native
    inner = found[1 : 1 + before[0], 1 : 1 + before[1], : before[2]]
    assert (inner == naive).mean() > 0.9995  # float32 sums in another order
    assert found.sum() == inner.sum()
    assert len(np.unique(inner)) > 2


def test_later_regions_lie_over_earlier_ones_and_the_first_of_equals_wins() -> None:
    record = a_record((1, 1, 4), (0, 1, 2), (0, 0, 0), (1, 1, 4))
    logits = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]], np.float32).reshape(2, 1, 1, 4)
    assert restore(logits, record, REGIONS).ravel().tolist() == [0, 1, 5, 5]
    assert restore(logits, record, REGIONS).dtype == np.uint8
    equal = np.zeros((4, 1, 1, 4), np.float32)
    assert restore(equal, record, GAPS).max() == 0


def test_logits_of_another_shape_are_refused() -> None:
    record = a_record((2, 3, 4), (0, 1, 2), (0, 0, 0), (2, 3, 4))
    with pytest.raises(ModelError, match="does not fit"):
        restore(np.zeros((3, 2, 3, 4), np.float32), record, GAPS)
    with pytest.raises(ModelError, match="does not fit"):
        restore(np.zeros((4, 2, 3, 5), np.float32), record, GAPS)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_slabs_of_any_thickness_and_a_late_head_change_nothing(data: st.DataObject) -> None:
    after = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    before = data.draw(st.tuples(*[st.integers(1, 12)] * 3))
    coarse = data.draw(st.sampled_from([0, 1, 2, None]))
    spacing = tuple(5.0 if axis == coarse else 1.0 for axis in range(3))
    record = a_record(
        before,
        (0, 1, 2),
        (0, 0, 0),
        before,
        after=after,
        spacing_before=spacing,
        spacing_after=spacing,
    )
    labels = data.draw(st.sampled_from([GAPS, REGIONS]))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    features = generator.standard_normal((*after, 2)).astype(np.float32)
    heads = labels.head_count
    head = Head(
        generator.standard_normal((heads, 2)).astype(np.float32),
        generator.standard_normal(heads).astype(np.float32),
    )
    wanted = restore(np.moveaxis(head.logits(features), -1, 0), record, labels)
    cuts = sorted({0, after[0], *data.draw(st.lists(st.integers(0, after[0]), max_size=3))})
    slabs = [Slab(a, features[a:b]) for a, b in itertools.pairwise(cuts)]
    native, restoration = native_restoration(record, labels, head)
    fill(slabs, restoration)
    assert (native == wanted).mean() > 0.99  # rounding may turn a tie


def test_missing_and_foreign_slabs_are_refused() -> None:
    record = a_record((6, 3, 4), (0, 1, 2), (0, 0, 0), (6, 3, 4))
    maps = np.zeros((6, 3, 4, 4), np.float32)
    for slabs in ([Slab(0, maps[:4])], [Slab(2, maps[2:])], [Slab(0, maps[:, :2])]):
        with pytest.raises(ModelError, match="does not fit"):
            fill(slabs, native_restoration(record, GAPS)[1])
    assert restoration_bytes(record, GAPS, 4) > 6 * 3 * 4 * 2

"""Members on different grids: their mean against the plain way over whole native volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, special

from selfseg.arrays.resample import resample_linear
from selfseg.domain.case import PreprocessRecord
from selfseg.domain.errors import ModelError
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.infer.backend import Head
from selfseg.infer.confidence import EntropyMeter
from selfseg.infer.engine import Slab
from selfseg.infer.ensemble import KeptMaps, Vote, decide, mean_probabilities
from selfseg.infer.restore import restore

LABELS = LabelScheme((Label("a", (7,)), Label("b", (2,)), Label("c", (300,))))
REGIONS = LabelScheme((Label("whole", (1, 2)), Label("core", (2,))), (1, 2))
NATIVE = Geometry((9, 14, 12), (3.0, 1.0, 1.0))
CROP = ((1, 8), (2, 13), (0, 12))


def a_record(
    after: tuple[int, int, int],
    transpose: tuple[int, int, int] = (0, 1, 2),
    flipped: tuple[bool, bool, bool] = (False, False, False),
) -> PreprocessRecord:
    """The same native box in any axis order; `after` is in the plan's."""
    start, stop, before = [], [], []
    for native, flip in zip(transpose, flipped, strict=True):
        first, last = CROP[native]
        size = NATIVE.shape[native]
        start.append(size - last if flip else first)
        stop.append(size - first if flip else last)
        before.append(last - first)
    spacing = tuple(NATIVE.spacing[axis] for axis in transpose)
    spacing_after = tuple(s * b / a for s, b, a in zip(spacing, before, after, strict=True))
    return PreprocessRecord(
        NATIVE, transpose, tuple(start), tuple(stop), tuple(before), spacing, after,
        spacing_after, tuple(NATIVE.shape[axis] for axis in transpose), flipped=flipped,
    )  # fmt: skip


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    maps = 8 * ndimage.gaussian_filter(noise, (1, 1, 1, 0)).astype(np.float16)
    return maps.astype(np.float16)


def plainly(votes: list[Vote], labels: LabelScheme) -> np.ndarray:
    """Mean probabilities (K, Z, Y, X) of the native grid, members one after the other."""
    total = np.zeros((labels.head_count, *NATIVE.shape))
    place = (slice(None), *(slice(a, b) for a, b in CROP))
    for vote in votes:
        record = vote.record
        logits = vote.maps.astype(np.float32) if vote.head is None else vote.head.logits(vote.maps)
        fine = resample_linear(
            np.ascontiguousarray(np.moveaxis(logits, -1, 0)), record.shape_before_resampling,
            record.spacing_after, record.spacing_before,
        )  # fmt: skip
        p = special.expit(fine) if labels.has_regions else special.softmax(fine, axis=0)
        turned = p[(slice(None), *(slice(None, None, -1 if f else 1) for f in record.flipped))]
        total[place] += turned.transpose(0, *(1 + record.transpose.index(n) for n in range(3)))
    return total / len(votes)


@pytest.fixture(params=["labels", "regions"])
def labels(request: pytest.FixtureRequest) -> LabelScheme:
    return LABELS if request.param == "labels" else REGIONS


def three_votes(labels: LabelScheme) -> list[Vote]:
    count = labels.head_count
    records = [
        a_record((7, 11, 12)),
        a_record((4, 15, 6), (0, 2, 1)),
        a_record((9, 7, 8), (2, 0, 1), (True, False, True)),
    ]
    head = Head(smooth((1, 1, count, 5), 9)[0, 0].astype(np.float32), np.zeros(count, np.float32))
    heads = [None, head, None]
    return [
        Vote(smooth((*r.shape_after_resampling, 5 if h else count), seed), r, h)
        for seed, (r, h) in enumerate(zip(records, heads, strict=True))
    ]


def test_members_on_different_grids_and_axes(labels: LabelScheme) -> None:
    votes = three_votes(labels)
    mean = plainly(votes, labels)
    if labels.has_regions:
        wanted = np.zeros(NATIVE.shape, int)
        for head, value in enumerate((1, 2)):
            wanted[mean[head] > 0.5] = value
    else:
        wanted = np.array([0, 7, 2, 300])[mean.argmax(axis=0)]
    meter = EntropyMeter(labels, (7, 11, 12))
    found = decide(votes, labels, meter)
    assert found.shape == NATIVE.shape
    agreement = (found == wanted).mean()
    assert agreement > 0.999  # float32 sums against float64
    assert set(np.unique(found)) > {0}
    assert meter.count_of_all == 7 * 11 * 12


def test_one_member_alone_decides_as_restoration_does(labels: LabelScheme) -> None:
    (_, vote, _) = three_votes(labels)
    logits = np.moveaxis(vote.head.logits(vote.maps), -1, 0)
    wanted = restore(logits, vote.record, labels)
    found = decide([vote], labels)
    assert found.dtype == wanted.dtype
    assert (found == wanted).mean() > 0.999


def test_the_order_of_members_does_not_matter_for_labels(labels: LabelScheme) -> None:
    votes = three_votes(labels)
    assert (decide(votes, labels) == decide(votes[::-1], labels)).mean() > 0.999


def test_probabilities_on_the_first_grid(labels: LabelScheme) -> None:
    votes = three_votes(labels)
    planes = np.stack(list(mean_probabilities(votes[:1], labels, 2.0)))
    own = votes[0].maps.astype(np.float32) / 2
    wanted = special.expit(own) if labels.has_regions else special.softmax(own, axis=-1)
    np.testing.assert_allclose(planes, wanted, atol=1e-5)
    planes = np.stack(list(mean_probabilities(votes, labels, 1.0)))
    assert planes.shape == (7, 11, 12, labels.head_count)
    if not labels.has_regions:
        np.testing.assert_allclose(planes.sum(axis=-1), 1, atol=1e-5)


def test_members_must_have_seen_the_same_part(labels: LabelScheme) -> None:
    votes = three_votes(labels)
    record = replace(votes[1].record, crop_start=(0, 0, 2), crop_stop=(7, 12, 13))
    with pytest.raises(ModelError, match="same part"):
        decide([votes[0], replace(votes[1], record=record)], labels)


def test_kept_maps_take_every_slice_in_order() -> None:
    maps = smooth((5, 3, 4, 2), 0).astype(np.float32)
    kept = KeptMaps((5, 3, 4), 2)
    kept.take(Slab(0, maps[:2]))
    with pytest.raises(ModelError, match="does not fit"):
        kept.take(Slab(3, maps[3:]))
    with pytest.raises(ModelError, match="does not fit"):
        kept.finish()
    maps[4, 0, 0, 0] = 1e6  # no infinity comes of it
    kept.take(Slab(2, maps[2:]))
    kept.finish()
    assert np.isfinite(kept.maps).all()
    np.testing.assert_array_equal(kept.maps[:4], maps[:4].astype(np.float16))

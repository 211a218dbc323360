from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selfseg.domain.case import PreprocessedCase
from selfseg.domain.labels import LabelScheme
from selfseg.domain.stopping import Stop, never
from selfseg.infer.agreement import RecordingBackend, fold_dice, on_network_grid
from selfseg.infer.backend import Head
from selfseg.infer.confidence import EntropyMeter, strides
from selfseg.infer.engine import Slab
from selfseg.preprocess.case import preprocess_case
from synthetic_preprocessing import GOLDEN, made_case, made_plan

LABELS = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 4})
REGIONS = LabelScheme.from_mapping({"background": 0, "whole": [1, 2], "core": 2}, (1, 2))


def test_strides_leave_few_voxels() -> None:
    assert strides((10, 20, 30), 6000) == (1, 1, 1)
    z, y, x = strides((10, 500, 500), 10_000)
    assert -(-10 // z) * -(-500 // y) * -(-500 // x) <= 10_000
    assert z == 1  # the long axes are thinned first


@pytest.mark.parametrize("with_head", [False, True])
def test_entropy_by_structure(with_head: bool) -> None:
    maps = np.zeros((4, 2, 2, 3), np.float32)
    maps[0] = [0, 50, 0]  # sure of a
    maps[1] = [0, 0.1, 0]  # hardly a
    maps[2] = [50, 0, 0]
    maps[3] = [50, 0, 0]
    head = Head(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)) if with_head else None
    meter = EntropyMeter(LABELS, (4, 2, 2), head)
    for first in (0, 1):  # slabs of different thickness
        meter.take(Slab(first, maps[first : first + 1] if first == 0 else maps[1:]))
    meter.finish()
    found = meter.result({"a": 0.75, "b": None})
    assert found.structures["a"].entropy == pytest.approx(0.5, abs=0.01)
    assert found.structures["b"].entropy is None
    assert found.entropy == found.structures["a"].entropy
    assert found.entropy_of_image == pytest.approx(0.25, abs=0.01)
    assert (found.structures["a"].fold_dice, found.fold_dice) == (0.75, 0.75)


def test_entropy_of_regions_and_temperature() -> None:
    maps = np.zeros((1, 1, 2, 2), np.float32)
    maps[0, 0] = [[2.0, -40], [40, 2.0]]
    cold = EntropyMeter(REGIONS, (1, 1, 2), temperature=0.01)
    warm = EntropyMeter(REGIONS, (1, 1, 2), temperature=4.0)
    for meter in (cold, warm):
        meter.take(Slab(0, maps))
    assert cold.result().entropy == 0
    assert (warm.result().entropy or 0) > 0.5
    assert warm.result().fold_dice is None


class Fixed:
    """A backend whose answer is a function of the tile."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(
        self, batch: np.ndarray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
    ) -> np.ndarray:
        assert mirror_axes == ()
        return np.stack([self.answer(tile) for tile in batch])


class Folds(Fixed):
    def __init__(self, *folds: Fixed) -> None:
        super().__init__(None)
        self.folds = folds


def one_hot_of(tile: np.ndarray, threshold: float, heads: int) -> np.ndarray:
    """Head 1 where the image is above, head 0 elsewhere."""
    logits = np.full((heads, *tile.shape[1:]), -9, np.float32)
    logits[0], logits[1] = tile[0] <= threshold, tile[0] > threshold
    return 10 * logits - 5


@pytest.fixture
def case() -> PreprocessedCase:
    raw = made_case(GOLDEN["thick_target"])
    return preprocess_case(
        replace(raw, labels=None), made_plan(GOLDEN["thick_target"]), "3d_fullres"
    )


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_folds_that_agree_and_folds_that_do_not(
    case: PreprocessedCase, labels: LabelScheme
) -> None:
    configuration = made_plan(GOLDEN["thick_target"]).configuration("3d_fullres")
    native = np.ones(case.record.native.shape, np.uint8)
    heads = labels.head_count

    def dice(*thresholds: float) -> dict[str, float | None]:
        folds = [Fixed(lambda tile, t=t: one_hot_of(tile, t, heads)) for t in thresholds]
        return fold_dice(case, Folds(*folds), configuration, labels, native)

    name = "core" if labels.has_regions else "a"
    assert dice(0.0, 0.0)[name] == 1
    assert 0 < (dice(0.0, 0.4)[name] or 0) < 1
    assert dice(-9.0, 9.0)[name] == 0
    assert dice(9.0, 9.0)[name] is None  # nobody has found it
    assert dice(0.0, 0.0, 0.4)[name] < 1  # type: ignore[operator]
    if not labels.has_regions:
        assert dice(0.0, 0.0)["b"] is None
    assert dice(0.0) == {}
    alone = Fixed(lambda tile: one_hot_of(tile, 0.0, heads))
    assert fold_dice(case, alone, configuration, labels, native) == {}


def test_recording_changes_no_prediction() -> None:
    generator = np.random.default_rng(0)
    answers = [generator.standard_normal((3, 4, 5, 6)).astype(np.float32) for _ in range(3)]
    folds = [Fixed(lambda tile, a=answer: a + tile) for answer in answers]
    for fold in folds:
        fold.predict = lambda batch, axes=(), stop=never, f=fold: np.stack(
            [f.answer(t) for t in batch]
        )  # type: ignore[method-assign, misc]
    recording = RecordingBackend(folds, LABELS)
    batch = generator.standard_normal((2, 1, 4, 5, 6)).astype(np.float32)
    found = recording.predict(batch, (0, 1))
    np.testing.assert_allclose(found, np.mean(answers, axis=0) + batch, atol=1e-6)
    assert set(recording.decisions.dice()) == {"a", "b"}


def test_nothing_predicted_needs_no_tile(case: PreprocessedCase) -> None:
    configuration = made_plan(GOLDEN["thick_target"]).configuration("3d_fullres")
    never = Fixed(lambda tile: 1 / 0)
    native = np.zeros(case.record.native.shape, np.uint8)
    found = fold_dice(case, Folds(never, never), configuration, LABELS, native)
    assert found == {"a": None, "b": None}


def test_native_labels_on_the_networks_grid(case: PreprocessedCase) -> None:
    native = np.zeros(case.record.native.shape, np.uint8)
    native[12:] = 3
    found = on_network_grid(native, case.record)
    assert found.shape == case.record.shape_after_resampling
    assert set(np.unique(found[: found.shape[0] // 2 - 1])) == {0}
    assert set(np.unique(found[found.shape[0] // 2 + 1 :])) == {3}

"""Whole batches: the same ones whoever makes them, with masks and cascade input."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from selfseg.domain.errors import TrainingError, UsageError
from selfseg.train.augment import FULL, MILD, POLICIES
from selfseg.train.augment.choose import choose_family
from selfseg.train.batches import (
    TRAINING_STREAM,
    VALIDATION_STREAM,
    Batch,
    BatchMaker,
    training_batches,
)
from selfseg.train.sampling import CasesInMemory

CPU = torch.device("cpu")
FAMILIES = pytest.mark.parametrize("family", ["loader", "device"])
OFTEN = replace(FULL, rotation=0.5, scaling=0.5, noise=0.5, contrast=0.5, gamma=0.5)


@pytest.fixture(scope="session")
def make_maker(make_case: Any, make_training_plan: Any) -> Any:
    def make(
        patch: tuple[int, ...] = (8, 12, 12), channels: int = 2, batch_size: int = 3, **more: Any
    ) -> BatchMaker:
        plan = make_training_plan(patch, batch_size=batch_size, channels=channels)
        cases = [make_case(i, channels=channels) for i in range(3)]
        if more.get("previous_values"):
            for case in cases:
                case.previous = 4 * case.labels
        return BatchMaker(
            CasesInMemory(cases, 1e9),
            next(iter(plan.configurations.values())),
            0.33,
            more.pop("augmentation", OFTEN),
            7,
            TRAINING_STREAM,
            **more,
        )

    return make


def _finished(maker: BatchMaker, index: int) -> Batch:
    return maker.finish(maker(index), CPU)


def _assert_same(found: Batch, wanted: Batch) -> None:
    assert found.images.equal(wanted.images)
    assert found.labels.equal(wanted.labels)


@FAMILIES
@pytest.mark.parametrize("patch", [(8, 12, 12), (3, 12, 12), (12, 16)])
def test_a_batch_is_a_function_of_its_number(make_maker: Any, patch: Any, family: str) -> None:
    make = make_maker(patch, family=family)
    with (
        closing(training_batches(make, 4, CPU, workers=0)) as inline,
        closing(training_batches(make, 4, CPU, workers=3)) as threaded,
    ):
        for index in range(4, 8):
            wanted = _finished(make, index)
            assert wanted.images.shape == (3, 2, *patch)
            assert wanted.labels.shape == (3, *patch)
            assert wanted.images.dtype == torch.float32
            assert wanted.labels.dtype == torch.int16
            _assert_same(next(inline), wanted)
            _assert_same(next(threaded), wanted)
    assert not _finished(make, 4).images.equal(_finished(make, 5).images)
    other = _finished(replace(make, stream=VALIDATION_STREAM), 4)
    assert not other.images.equal(_finished(make, 4).images)


@pytest.mark.slow
@FAMILIES
def test_processes_make_the_same_batches(make_maker: Any, family: str) -> None:
    make = make_maker(family=family)
    with closing(training_batches(make, 2, CPU, workers=2, processes=True)) as stream:
        for index in range(2, 5):
            _assert_same(next(stream), _finished(make, index))


@FAMILIES
def test_parts_of_a_batch_are_its_parts(make_maker: Any, family: str) -> None:
    make = make_maker(family=family)
    whole = _finished(make, 0)
    for part in (range(0, 1), range(1, 3)):
        found = _finished(replace(make, samples=part), 0)
        where = slice(part.start, part.stop)
        _assert_same(found, Batch(whole.images[where], whole.labels[where]))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("patch", [(8, 12, 12), (12, 16)])
def test_both_families_make_the_same_batches(make_maker: Any, policy: str, patch: Any) -> None:
    make = make_maker(patch, augmentation=POLICIES[policy], previous_values=(4,))
    for index in range(4):
        in_loader = _finished(make, index)
        on_device = _finished(replace(make, family="device"), index)
        torch.testing.assert_close(in_loader.images, on_device.images, atol=1e-4, rtol=0)
        assert in_loader.labels.equal(on_device.labels)


@FAMILIES
def test_without_augmentation_patches_stay_as_they_are(make_maker: Any, family: str) -> None:
    make = make_maker(augmentation=None, family=family)
    batch = _finished(make, 0)
    stored = {float(v) for case in make.cases.sources for v in case.image.ravel()}
    assert {float(v) for v in batch.images.ravel() if v != 0} <= stored


@FAMILIES
def test_outside_the_mask_stays_zero(make_maker: Any, make_case: Any, family: str) -> None:
    everything = replace(FULL, noise=1.0, brightness=1.0, contrast=1.0, gamma=1.0)
    make = make_maker(augmentation=everything, family=family)
    case = make_case(0, channels=2)
    case.nonzero = np.zeros(case.shape, bool)
    case.nonzero[:, :10] = True
    make = replace(
        make,
        cases=CasesInMemory([case], 1e9),
        configuration=replace(make.configuration, normalise_in_mask=(True, False)),
    )
    images = torch.cat([_finished(make, i).images for i in range(4)])
    empty = (images == 0).float().mean(dim=(0, 2, 3, 4))
    assert 0.3 < empty[0] < 0.7
    assert empty[1] < 0.01


@FAMILIES
@pytest.mark.parametrize("patch", [(8, 12, 12), (12, 16)])
def test_cascade_input_comes_last_and_follows_the_labels(
    make_maker: Any, family: str, patch: Any
) -> None:
    unspoilt = replace(MILD, previous_morphology=0.0, previous_removal=0.0, rotation=1.0)
    make = make_maker(patch, augmentation=unspoilt, previous_values=(4, 9), family=family)
    for index in range(3):
        batch = _finished(make, index)
        assert batch.images.shape[1] == 4
        # Made of the labels themselves, so untouched by any change of intensities.
        assert batch.images[:, 2].equal((batch.labels == 1).float())
        assert float(batch.images[:, 3].abs().max()) == 0
    validation = _finished(replace(make, augmentation=None), 0)
    assert validation.images[:, 2].equal((validation.labels == 1).float())


@FAMILIES
def test_cascade_input_is_spoilt_at_random(make_maker: Any, family: str) -> None:
    spoilt = replace(FULL, previous_morphology=1.0, previous_per_label=1.0)
    make = make_maker(augmentation=spoilt, previous_values=(4,), family=family)
    wrong = 0
    for index in range(4):
        batch = _finished(make, index)
        heads = batch.images[:, 2]
        assert set(heads.unique().tolist()) <= {0.0, 1.0}
        wrong += int((heads != (batch.labels == 1)).sum())
    assert wrong > 0


def test_a_case_without_a_previous_stage_is_named(make_maker: Any) -> None:
    make = make_maker()
    with pytest.raises(TrainingError, match="previous stage"):
        replace(make, previous_values=(1,))(0)


@pytest.mark.parametrize("setting", ["loader", "device"])
def test_a_family_that_is_set_is_taken(make_maker: Any, setting: Any) -> None:
    choice = choose_family(setting, make_maker(), CPU, workers=1)
    assert choice.family == setting
    assert "as set" in choice.reason
    with pytest.raises(UsageError, match="augmentation"):
        choose_family("gpu", make_maker(), CPU, workers=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loader", "read", "device", "family"),
    [(0.3, 0.1, 0.1, "device"), (0.2, 0.1, 0.3, "loader"), (0.2, 0.1, 0.09, "loader")],
)
def test_the_clearly_faster_family_is_taken(
    make_maker: Any,
    loader: float,
    read: float,
    device: float,
    family: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    called, finish = BatchMaker.__call__, BatchMaker.finish

    def call(self: BatchMaker, index: int) -> Any:
        now[0] += loader if self.family == "loader" else read
        return called(self, index)

    def finished(self: BatchMaker, made: Any, where: torch.device) -> Batch:
        now[0] += device
        return finish(self, made, where)

    monkeypatch.setattr(BatchMaker, "__call__", call)
    monkeypatch.setattr(BatchMaker, "finish", finished)
    choice = choose_family("auto", make_maker(), CPU, workers=1, clock=lambda: now[0])
    assert choice.family == family
    assert f"{1e3 * loader:.3g} ms" in choice.reason
    assert f"{1e3 * (read + device):.3g} ms" in choice.reason
    assert now[0] < 3


def test_nothing_is_timed_without_augmentation(make_maker: Any) -> None:
    make = make_maker(augmentation=None)
    assert choose_family("auto", make, CPU, workers=1).family == "loader"


def test_timing_changes_no_batch(make_maker: Any) -> None:
    make = make_maker()
    before, threads = _finished(make, 0), torch.get_num_threads()
    choose_family("auto", make, CPU, workers=1)
    assert torch.get_num_threads() == threads
    _assert_same(_finished(make, 0), before)

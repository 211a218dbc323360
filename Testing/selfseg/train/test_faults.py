"""What can go wrong while training is made to go wrong."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfseg.domain.errors import Cancelled, ProjectError, TrainingError
from selfseg.domain.events import EpochFinished, Event, IterationFinished, Notice, silent
from selfseg.io.weights import read_weights
from selfseg.network.unet import UNet
from selfseg.train import loop as loop_module
from selfseg.train import step as step_module
from selfseg.train.log import TrainingLog
from selfseg.train.loop import BAD_STEPS, train
from selfseg.train.memory import MemoryNeed
from selfseg.train.task import TrainingTask


@pytest.fixture
def task(make_case: Any, make_training_plan: Any, tmp_path: Path) -> TrainingTask:
    cases = tuple(make_case(i) for i in range(4))
    plan = make_training_plan((8, 12, 12))
    return TrainingTask(
        plan, "3d", "0", cases[:3], cases[3:], tmp_path / "run", "cpu", seed=3, deterministic=True
    )


def _warnings(events: Sequence[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Notice) and e.level == "warning"]


def _disk_full() -> ProjectError:
    return ProjectError(
        "the file cannot be written",
        expected="a folder with enough free space",
        found="No space left on device",
        cure="free some space, or choose another folder",
    )


def _same_weights(first: Path, second: Path) -> bool:
    ours, theirs = read_weights(first)[0], read_weights(second)[0]
    return all((array == theirs[name]).all() for name, array in ours.items())


def test_a_disk_that_is_full_for_a_while_costs_no_training(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = train(replace(task, run_folder=task.run_folder / "through"), reporter=silent)
    real, calls = loop_module.write_checkpoint, [0]

    def full_at_first(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise _disk_full()
        real(*arguments)

    monkeypatch.setattr(loop_module, "write_checkpoint", full_at_first)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert _same_weights(result.weights_final, through.weights_final)
    assert any("No space left" in text and "goes on" in text for text in _warnings(events))


def test_a_log_that_cannot_be_written_is_said_once_and_comes_later(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = TrainingLog.flush, [0]

    def full_at_first(log: TrainingLog) -> None:
        calls[0] += 1
        if calls[0] < 3:
            raise _disk_full()
        real(log)

    monkeypatch.setattr(TrainingLog, "flush", full_at_first)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert result.log.read_text().count('"epoch_finished"') == 2
    assert len([text for text in _warnings(events) if "No space left" in text]) <= 2


def test_a_disk_without_room_is_noticed_before_the_first_step(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ProjectError, match="too full") as error:
        train(task, reporter=silent)
    assert "MB" in error.value.expected


def test_full_disk_at_the_very_end_keeps_the_checkpoint(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *arguments: Any) -> None:
        raise _disk_full()

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "write_network", full)
        with pytest.raises(ProjectError, match="cannot be written"):
            train(task, reporter=silent)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert result.weights_final.is_file()
    assert not any(isinstance(event, IterationFinished) for event in events)


def test_a_loss_that_is_no_number_is_left_out_once(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = step_module.segmentation_loss, [0]

    def bad_once(outputs: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        calls[0] += 1
        loss = real(outputs, *arguments, **options)
        return loss * math.nan if calls[0] == 2 else loss

    monkeypatch.setattr(step_module, "segmentation_loss", bad_once)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert any("left out" in text for text in _warnings(events))
    weights = read_weights(result.weights_final, check_finite=True)[0]
    assert weights
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert [math.isfinite(event.train_loss) for event in epochs] == [True, True]


def test_a_loss_that_stays_no_number_ends_the_training_and_keeps_the_checkpoint(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(
        task,
        plan=replace(
            task.plan, schedule=replace(task.plan.schedule, epochs=4, iterations_per_epoch=5)
        ),
    )
    through = train(replace(task, run_folder=task.run_folder / "through"), reporter=silent)
    real, calls = step_module.segmentation_loss, [0]

    def bad_from_the_second_epoch(outputs: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        calls[0] += 1
        loss = real(outputs, *arguments, **options)
        return loss * math.nan if calls[0] > 7 else loss

    with monkeypatch.context() as patch:
        patch.setattr(step_module, "segmentation_loss", bad_from_the_second_epoch)
        with pytest.raises(TrainingError, match="diverged") as error:
            train(task, reporter=silent)
    assert str(BAD_STEPS) in error.value.found
    result = train(task, reporter=silent)  # the fault is gone: on from the last good epoch
    assert _same_weights(result.weights_final, through.weights_final)


def test_gradients_that_are_no_numbers_do_not_reach_the_weights(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = torch.nn.utils.clip_grad_norm_, [0]

    def poisoned(parameters: Any, limit: float) -> Any:
        calls[0] += 1
        kept = list(parameters)
        if calls[0] == 2:
            kept[0].grad.fill_(math.nan)
        return real(kept, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", poisoned)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert read_weights(result.weights_final, check_finite=True)[0]
    assert any("left out" in text for text in _warnings(events))


def test_a_full_device_makes_smaller_micro_batches(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = train(
        replace(task, run_folder=task.run_folder / "parts", micro_batch=1), reporter=silent
    )
    real = UNet.forward

    def small_device(network: UNet, x: torch.Tensor) -> Any:
        if network.training and len(x) > 1:
            raise torch.OutOfMemoryError("out of memory: tried to allocate 20 MiB")
        return real(network, x)

    monkeypatch.setattr(UNet, "forward", small_device)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert any("parts of at most 1" in text for text in _warnings(events))
    assert _same_weights(result.weights_final, through.weights_final)


def test_a_device_without_room_for_one_sample_says_what_to_do(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiny_device(network: UNet, x: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError("out of memory: tried to allocate 20 MiB")

    monkeypatch.setattr(UNet, "forward", tiny_device)
    with pytest.raises(TrainingError, match="memory of this device is full") as error:
        train(task, reporter=silent)
    assert "--memory" in error.value.cure


def test_memory_is_predicted_on_the_processor(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = MemoryNeed(process=0.0, fixed=0.0, per_sample=1e9, waiting=0.0)
    monkeypatch.setattr(step_module, "predict_memory", lambda *a, **k: need)
    monkeypatch.setattr(step_module, "available_memory", lambda: 1.5e9)
    monkeypatch.setattr(loop_module.devices, "cache_limit", lambda: 0.0)
    events: list[Event] = []
    train(task, reporter=events.append)
    assert any("parts of at most 1" in text for text in _warnings(events))

    monkeypatch.setattr(step_module, "available_memory", lambda: 0.5e9)
    with pytest.raises(TrainingError, match="not enough memory"):
        train(replace(task, run_folder=task.run_folder / "none"), reporter=silent)


def test_parts_of_a_batch_give_the_gradients_of_the_whole(
    make_case: Any, make_training_plan: Any, tmp_path: Path
) -> None:
    # Without Dice over the batch the loss is a mean over samples, and nothing differs.
    plan = make_training_plan((8, 12, 12), batch_size=3, epochs=1)
    cases = tuple(make_case(i) for i in range(4))
    results = [
        train(
            TrainingTask(
                plan,
                "3d",
                "0",
                cases[:3],
                cases[3:],
                tmp_path / str(size),
                "cpu",
                deterministic=True,
                micro_batch=size,
            ),
            reporter=silent,
        )
        for size in (3, 2, 1)
    ]
    whole = read_weights(results[0].weights_final)[0]
    for result in results[1:]:
        for name, array in read_weights(result.weights_final)[0].items():
            np.testing.assert_allclose(array, whole[name], atol=1e-5)


class _BrokenCase:
    """A case whose file has become unreadable."""

    def __init__(self, case: Any) -> None:
        self._case = case

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    def read_image(self, start: Sequence[int], stop: Sequence[int]) -> Any:
        raise ValueError("block 7 of the file is damaged")


def test_a_worker_that_fails_shows_its_own_traceback(task: TrainingTask) -> None:
    broken = tuple(_BrokenCase(case) for case in task.training)
    with pytest.raises(TrainingError) as error:
        train(replace(task, training=broken), reporter=silent)
    told = f"{error.value} {error.value.__cause__!r}"
    assert "block 7 of the file is damaged" in told
    assert "read_image" in error.value.found


def test_stop_while_waiting_for_a_batch_saves(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = train(replace(task, run_folder=task.run_folder / "through"), reporter=silent)
    calls = [0]

    def should_stop() -> bool:
        calls[0] += 1
        return calls[0] % 3 == 0

    for _ in range(20):
        try:
            result = train(task, reporter=silent, should_stop=should_stop)
            break
        except Cancelled:
            assert (task.run_folder / "checkpoint_latest.pt").is_file()
    assert _same_weights(result.weights_final, through.weights_final)

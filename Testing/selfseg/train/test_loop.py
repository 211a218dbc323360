from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfseg.domain.errors import Cancelled, TrainingError
from selfseg.domain.events import EpochFinished, Event, IterationFinished, silent
from selfseg.io.weights import read_weights
from selfseg.network.unet import build_network
from selfseg.train.loop import train
from selfseg.train.task import TrainingTask


@pytest.fixture
def make_task(make_case: Any, make_training_plan: Any, tmp_path: Path) -> Any:
    def make(name: str = "run", patch: tuple[int, ...] = (8, 12, 12), **schedule: Any) -> Any:
        cases = tuple(make_case(i) for i in range(4))
        plan = make_training_plan(patch, **schedule)
        configuration = plan.recommended[0]
        return TrainingTask(
            plan,
            configuration,
            "0",
            cases[:3],
            cases[3:],
            tmp_path / name,
            "cpu",
            seed=3,
            deterministic=True,
        )

    return make


@pytest.mark.parametrize("patch", [(8, 12, 12), (12, 12)])
def test_learns_and_leaves_its_files(make_task: Any, patch: tuple[int, ...]) -> None:
    task = make_task(
        patch=patch, epochs=3, iterations_per_epoch=20, momentum=0.9, learning_rate=0.05
    )
    events: list[Event] = []
    result = train(task, reporter=events.append)
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert [event.epoch for event in epochs] == [0, 1, 2]
    assert result.epochs == 3
    assert result.iterations == 60
    assert sum(isinstance(event, IterationFinished) for event in events) == 60
    assert epochs[-1].mean_pseudo_dice is not None
    assert epochs[-1].mean_pseudo_dice > 0.8
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert epochs[-1].eta_seconds == 0

    lines = [
        json.loads(line) for line in result.log.read_text().splitlines() if "epoch_finished" in line
    ]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert lines[-1]["ema_pseudo_dice"] == result.ema
    assert result.weights_best.is_file()
    arrays, metadata = read_weights(result.weights_final)
    assert metadata["fold"] == "0"
    network = build_network(task.plan.configurations[task.configuration].network, 1, 2)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    settings = json.loads((task.run_folder / "settings.json").read_text())
    assert settings["training"] == ["case_0", "case_1", "case_2"]


def test_stopped_training_goes_on_exactly_where_it_was(make_task: Any) -> None:
    through = train(make_task("through"), reporter=silent)

    task, done = make_task("stopped"), []

    def stop_after_four() -> bool:
        done.append(1)
        return len(done) in (2, 4)

    for _ in range(2):
        with pytest.raises(Cancelled, match="iteration"):
            train(task, reporter=silent, should_stop=stop_after_four)
    resumed = train(task, reporter=silent)
    assert resumed.iterations == through.iterations == 6
    assert resumed.ema == through.ema
    first, second = (read_weights(result.weights_final)[0] for result in (through, resumed))
    for name, array in first.items():
        assert (array == second[name]).all(), name
    logs = [
        [json.loads(line) for line in r.log.read_text().splitlines() if "epoch_finished" in line]
        for r in (through, resumed)
    ]
    for a, b in zip(*logs, strict=True):
        assert a["train_loss"] == b["train_loss"]
        assert a["pseudo_dice"] == b["pseudo_dice"]


def test_seeds_differ_and_repeat(make_task: Any) -> None:
    def weights(name: str, seed: int) -> Any:
        result = train(replace(make_task(name), seed=seed), reporter=silent)
        return read_weights(result.weights_final)[0]["encoder.0.0.conv.weight"]

    one, same, other = weights("a", 1), weights("b", 1), weights("c", 2)
    assert (one == same).all()
    assert (one != other).any()


def test_a_finished_training_is_not_repeated(make_task: Any) -> None:
    task = make_task()
    train(task, reporter=silent)
    events: list[Event] = []
    result = train(task, reporter=events.append)
    assert result.iterations == 6
    assert not any(isinstance(event, IterationFinished) for event in events)


def test_the_clock_ends_the_training(make_task: Any) -> None:
    task = replace(make_task(epochs=1000, iterations_per_epoch=5), seconds=30.0)
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    events: list[Event] = []
    result = train(task, reporter=events.append, clock=clock)
    assert now[0] <= 30.0
    assert result.iterations > 20
    rates = [event.learning_rate for event in events if isinstance(event, IterationFinished)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


def test_a_network_that_diverges_is_reported(make_task: Any) -> None:
    task = make_task(learning_rate=1e30, gradient_clip=1e30, epochs=20)
    with pytest.raises(TrainingError, match="diverged") as error:
        train(task, reporter=silent)
    assert "learning_rate" in error.value.cure


def test_other_settings_do_not_continue_a_training(make_task: Any) -> None:
    task = make_task()
    train(task, reporter=silent)
    with pytest.raises(TrainingError, match="other settings"):
        train(replace(task, seed=99), reporter=silent)
    train(replace(task, seed=99, resume=False), reporter=silent)


def test_damaged_checkpoint_is_refused(make_task: Any) -> None:
    task = make_task()
    task.run_folder.mkdir()
    (task.run_folder / "checkpoint_latest.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be read"):
        train(task, reporter=silent)


def test_nothing_to_learn_from_is_refused(make_task: Any) -> None:
    with pytest.raises(TrainingError, match="no training case"):
        train(replace(make_task(), training=()), reporter=silent)


def test_without_validation_cases_the_training_cases_are_watched(make_task: Any) -> None:
    result = train(replace(make_task(), validation=()), reporter=silent)
    assert result.ema is not None

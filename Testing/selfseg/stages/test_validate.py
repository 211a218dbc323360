"""Whole cases while a network trains, on a real preprocessed data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled
from selfseg.domain.events import Event, Progress, ValidationFinished, silent
from selfseg.domain.labels import LabelScheme
from selfseg.evaluate.scores import score_case
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_label_map
from selfseg.io.project import Project
from selfseg.network.unet import UNet, build_network
from selfseg.plan.planner import make_plan
from selfseg.stages.fold import FoldRun
from selfseg.stages.measure import measure_dataset
from selfseg.stages.prepare import preprocess_project
from selfseg.stages.segment import segment_case
from selfseg.stages.validate import (
    _backend_of,
    held_out_cases,
    make_validator,
    score_structures,
)
from selfseg.train.watch import Validator

pytestmark = pytest.mark.usefixtures("one_thread")

MakeRun = Callable[..., FoldRun]


@pytest.fixture(scope="module", params=["labels", "regions and ignore"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FoldRun:
    """Fold 0 of a tiny data set with a tiny network."""
    folder: Path = tmp_path_factory.mktemp("validate")
    options: dict[str, Any] = {} if request.param == "labels" else {"regions": True, "ignore": True}
    data = open_dataset(make_small_dataset(folder / "data", cases=6, **options))
    project = Project.create(folder / "project", data)
    measured = measure_dataset(project, data, workers=1, reporter=silent)
    plan = make_plan(measured, data.description, "plain", None)
    name = "3d_fullres"
    configuration = plan.configuration(name)
    count = configuration.network.stage_count
    network = replace(configuration.network, features_per_stage=(4, 8, 8, 8, 8, 8)[:count])
    small = replace(configuration, network=network)
    plan = replace(plan, autocast="off", configurations={**plan.configurations, name: small})
    preprocess_project(project, data, plan, [name], workers=1, reporter=silent)
    return FoldRun(project, data, plan, name, "0", "cpu", silent, lambda: False)


def network_of(run: FoldRun) -> UNet:
    torch.manual_seed(1)
    return build_network(
        run.plan.configuration(run.configuration).network,
        run.plan.input_channels(run.configuration),
        run.plan.description.labels.head_count,
    )


def test_scores_are_those_of_judging(run: FoldRun) -> None:
    network = network_of(run)
    made = make_validator(run, 2)
    assert made is not None
    validator: Validator = made
    assert [validator.due(epoch) for epoch in range(4)] == [False, True, False, True]
    event = validator(network, 1)
    assert isinstance(event, ValidationFinished)
    assert event.cases == len(run.split.validation)
    assert event.epoch == 1
    assert event.seconds == validator.expected_seconds > 0

    scheme = run.plan.description.labels
    backend = _backend_of(network, run)
    by_name: dict[str, list[float]] = {label.name: [] for label in scheme.foreground}
    for case in run.stored(run.split.validation):
        reference = run.dataset.case(case.identifier).label
        assert reference is not None
        labels = segment_case(case.load(), backend, run.plan, run.configuration, mirror=False)
        metrics = score_case(read_label_map(reference)[0], labels, scheme)
        for label in scheme.foreground:
            dice = metrics[label.key]["Dice"]
            if dice is not None:
                by_name[label.name].append(dice)
    for name, values in by_name.items():
        assert event.dice[name] == pytest.approx(np.mean(values))
    assert event.mean_dice == pytest.approx(np.mean([np.mean(v) for v in by_name.values()]))
    assert event.composite is not None


def test_the_network_and_chance_stay_as_they_were(run: FoldRun) -> None:
    network = network_of(run)
    network.deep_supervision = True
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch_state, numpy_state = torch.random.get_rng_state(), _numpy_state()
    validator = make_validator(run, 1)
    assert validator is not None
    assert validator(network, 0) is not None
    assert network.training
    assert network.deep_supervision
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert numpy_state == _numpy_state()


def _numpy_state() -> str:
    return str(np.random.get_state(legacy=False))  # noqa: NPY002 - the global one is meant


def test_a_validation_keeps_to_its_time(run: FoldRun) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    validator = make_validator(replace(run, clock=clock), 1)
    assert validator is not None
    network = network_of(run)
    assert validator(network, 0, seconds_left=3.0) is None
    assert now[0] < 10
    asked = now[0]
    assert validator(network, 1, seconds_left=2.0) is None  # known to be too short: not begun
    assert now[0] - asked <= 1
    assert validator(network, 2) is not None


def test_a_wish_to_stop_ends_it_without_an_error(run: FoldRun) -> None:
    network = network_of(run)
    polled = make_validator(replace(run, should_stop=lambda: True), 1)
    assert polled is not None
    assert polled(network, 0) is None

    def stopping(event: Event) -> None:
        raise Cancelled("stop")

    reported = make_validator(replace(run, reporter=stopping), 1)
    assert reported is not None
    assert reported(network, 0) is None


def test_progress_is_told(run: FoldRun) -> None:
    events: list[Event] = []
    validator = make_validator(replace(run, reporter=events.append), 1)
    assert validator is not None
    validator(network_of(run), 4)
    assert events
    assert all(isinstance(event, Progress) for event in events)
    last = events[-1]
    assert isinstance(last, Progress)
    assert last.stage == "validate after epoch 5"
    assert last.done == last.total == len(run.split.validation)


def test_who_is_validated(run: FoldRun) -> None:
    assert make_validator(run, 0) is None
    assert make_validator(replace(run, fold="all"), 1) is None
    held_out = held_out_cases(run)
    assert held_out == held_out_cases(run)
    assert held_out
    assert set(held_out) < set(run.split.train)
    everything = replace(run, fold="all")
    validator = make_validator(everything, 1, held_out=held_out_cases(everything))
    assert validator is not None
    assert validator.cases == held_out_cases(everything)


SCHEME = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2, "c": 3, "d": 4, "ignore": 9})


def test_structures_that_one_map_or_both_lack() -> None:
    reference = np.zeros((4, 10, 10), np.uint8)
    prediction = reference.copy()
    reference[:, :4, :4] = prediction[:, :4, :4] = 1
    reference[1, 8, 8] = 2
    prediction[1, 1, 8] = 3
    spacing = (3.0, 0.4, 0.3)
    scores = score_structures(reference, prediction, spacing, SCHEME)
    assert scores["a"].dice == 1
    assert scores["a"].hd95_mm == 0
    assert scores["a"].surface_dice_2mm == 1
    assert scores["a"].composite == 0
    diagonal = math.hypot(12, 4, 3)
    for name in "bc":
        assert scores[name].dice == scores[name].surface_dice_2mm == 0
        assert scores[name].hd95_mm is None
        assert scores[name].composite == pytest.approx(0.7 + 0.3 * diagonal / 10)
    assert scores["d"] == type(scores["d"])(None, None, None, None)


def test_distances_are_millimetres_and_ignored_voxels_count_nowhere() -> None:
    reference = np.zeros((6, 12, 12), np.uint8)
    reference[1:4, 2:8, 2:8] = 1
    prediction = np.roll(reference, 2, axis=2)
    scores = score_structures(reference, prediction, (1.0, 1.0, 1.5), SCHEME)
    assert scores["a"].hd95_mm == pytest.approx(3.0)
    assert scores["a"].dice is not None
    assert scores["a"].composite == pytest.approx(0.7 * (1 - scores["a"].dice) + 0.09)
    ignored = reference.copy()
    ignored[prediction != reference] = 9
    scores = score_structures(ignored, prediction, (1.0, 1.0, 1.5), SCHEME)
    assert scores["a"].dice == 1
    assert scores["a"].hd95_mm == 0

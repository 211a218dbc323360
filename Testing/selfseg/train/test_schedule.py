from __future__ import annotations

import pytest
import torch

from selfseg.domain.plan import Schedule
from selfseg.train.schedule import Position, learning_rate, make_optimiser, progress


def test_the_recipes_learning_rate() -> None:
    schedule = Schedule()
    for epoch in (0, 1, 500, 999):
        expected = 0.01 * (1 - epoch / 1000) ** 0.9
        for within in (0, 249):
            assert learning_rate(schedule, Position(epoch * 250 + within)) == (
                pytest.approx(expected)
            )


def test_the_clock_rules_where_there_is_a_limit() -> None:
    schedule = Schedule(seconds=100.0)
    assert learning_rate(schedule, Position(5, 0.0)) == pytest.approx(0.01, rel=1e-3)
    assert learning_rate(schedule, Position(5, 50.0)) == pytest.approx(0.01 * 0.5**0.9)
    assert learning_rate(schedule, Position(5, 120.0)) == 0
    # Iterations count too: a machine faster than planned ends with a small rate as well.
    assert progress(schedule, Position(125_000, 1.0)) == 0.5


def test_warm_up_rises() -> None:
    schedule = Schedule(warmup_iterations=10)
    rates = [learning_rate(schedule, Position(i)) for i in range(12)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[:11] == sorted(rates[:11])
    assert rates[11] == pytest.approx(0.01)


def test_optimisers() -> None:
    network = torch.nn.Linear(2, 2)
    sgd = make_optimiser(network, Schedule())
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["nesterov"]
    assert sgd.param_groups[0]["momentum"] == 0.99
    assert sgd.param_groups[0]["weight_decay"] == 3e-5
    adamw = make_optimiser(network, Schedule(optimiser="adamw", momentum=0.9))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["betas"] == (0.9, 0.999)

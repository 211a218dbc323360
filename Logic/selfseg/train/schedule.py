"""Learning rate and length of a training, by iterations or by the clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..domain.plan import Schedule

WARMUP_START = 0.1
"""Share of the learning rate that a warm-up begins with."""


@dataclass(frozen=True)
class Position:
    """How far a training is: iterations done, and seconds of training used so far."""

    iteration: int = 0
    seconds: float = 0.0


def progress(schedule: Schedule, position: Position) -> float:
    """Share of the training that is over, 0 to 1: the larger of iterations and clock."""
    share = position.iteration / (schedule.epochs * schedule.iterations_per_epoch)
    if schedule.seconds is not None:
        share = max(share, position.seconds / schedule.seconds)
    return min(share, 1.0)


def learning_rate(schedule: Schedule, position: Position) -> float:
    """learning_rate * (1 - progress)^poly_exponent, after a linear warm-up.

    Without a time limit progress counts whole epochs, as RECIPE does; with one it follows the
    clock from step to step, so that it ends near zero however fast the machine turns out.
    """
    counted = position
    if schedule.seconds is None:
        whole = position.iteration - position.iteration % schedule.iterations_per_epoch
        counted = Position(whole, 0.0)
    remaining = 1 - progress(schedule, counted)
    rate = schedule.learning_rate * math.pow(remaining, schedule.poly_exponent)
    if position.iteration < schedule.warmup_iterations:
        rate *= WARMUP_START + (1 - WARMUP_START) * (
            position.iteration / schedule.warmup_iterations
        )
    return rate


def make_optimiser(
    network: torch.nn.Module,
    schedule: Schedule,
    groups: Sequence[Mapping[str, Any]] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser of the schedule: SGD with Nesterov momentum, or AdamW.

    Args:
        network: whose parameters it changes.
        schedule: its constants.
        groups: all parameters in groups, whose "scale" multiplies the learning rate.
    """
    parameters = network.parameters() if groups is None else [dict(group) for group in groups]
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(
            parameters,
            lr=schedule.learning_rate,
            betas=(schedule.momentum, 0.999),
            weight_decay=schedule.weight_decay,
        )
    return torch.optim.SGD(
        parameters,
        lr=schedule.learning_rate,
        momentum=schedule.momentum,
        nesterov=True,
        weight_decay=schedule.weight_decay,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Gives every parameter group this learning rate, times the group's own scale."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)

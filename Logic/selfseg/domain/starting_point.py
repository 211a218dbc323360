"""Trained weights that another training begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .labels import LabelScheme
from .plan import NetworkPlan, Plan

BACKGROUND = "background"


@dataclass(frozen=True)
class StartingPoint:
    """Weights, and what they were trained to do.

    Args:
        weights: safetensors.
        plan: of the training that left them.
        configuration: its name in that plan.
        source: what to call it in messages.

    Raises:
        PlanError: the plan has no such configuration.
    """

    weights: Path
    plan: Plan
    configuration: str
    source: str

    def __post_init__(self) -> None:
        self.plan.configuration(self.configuration)

    @property
    def network(self) -> NetworkPlan:
        """The network that the weights belong to."""
        return self.plan.configuration(self.configuration).network

    @property
    def labels(self) -> LabelScheme:
        """What its heads stand for."""
        return self.plan.description.labels


def head_names(labels: LabelScheme) -> tuple[str, ...]:
    """What each output channel of a network stands for, in order."""
    names = tuple(label.name for label in labels.foreground)
    return names if labels.has_regions else (BACKGROUND, *names)


def input_names(plan: Plan, configuration: str) -> tuple[str, ...]:
    """What each input channel of a network is, in order; names are in lower case.

    The second stage of a cascade sees the first one's structures after the image's channels.
    """
    names = tuple(name.casefold() for name in plan.description.channel_names)
    if plan.configuration(configuration).previous_stage is not None:
        foreground = plan.description.labels.foreground
        names += tuple(f"previous {label.name}".casefold() for label in foreground)
    return names


def known_inputs(channels: Sequence[str], known: Sequence[str]) -> tuple[int | None, ...]:
    """Which of the known channels each channel is, by name; None where it is new.

    Where no name agrees but the number does, they are taken in order: names are often free text.
    """
    found = same_inputs(channels, known)
    if len(channels) == len(known) and all(index is None for index in found):
        return tuple(range(len(known)))
    return found


def same_inputs(channels: Sequence[str], known: Sequence[str]) -> tuple[int | None, ...]:
    """As `known_inputs`, by name only. Two channels of one name are two channels."""
    left = list(enumerate(known))
    found: list[int | None] = []
    for channel in channels:
        match = next((pair for pair in left if pair[1] == channel), None)
        if match is not None:
            left.remove(match)
        found.append(None if match is None else match[0])
    return tuple(found)

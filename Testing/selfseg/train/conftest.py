"""Small preprocessed cases and plans for the tests of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import (
    ComputeTarget,
    ConfigurationPlan,
    NetworkPlan,
    Plan,
    Schedule,
)


@dataclass
class ArrayCase:
    """A case held in arrays."""

    identifier: str
    image: np.ndarray[Any, Any]  # (C, Z, Y, X)
    labels: np.ndarray[Any, Any]  # (Z, Y, X)
    nonzero: np.ndarray[Any, Any] | None = None
    foreground: dict[tuple[int, ...], Any] = field(default_factory=dict)
    previous: np.ndarray[Any, Any] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        z, y, x = self.labels.shape
        return z, y, x

    @property
    def channel_count(self) -> int:
        return len(self.image)

    def read_image(self, start: Sequence[int], stop: Sequence[int]) -> Any:
        return self.image[(slice(None), *_box(start, stop))]

    def read_labels(self, start: Sequence[int], stop: Sequence[int]) -> Any:
        return self.labels[_box(start, stop)]

    def read_nonzero(self, start: Sequence[int], stop: Sequence[int]) -> Any:
        return None if self.nonzero is None else self.nonzero[_box(start, stop)]

    def read_previous(self, start: Sequence[int], stop: Sequence[int]) -> Any:
        return None if self.previous is None else self.previous[_box(start, stop)]


def _box(start: Sequence[int], stop: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def make_ball_case(
    number: int = 0, shape: tuple[int, int, int] = (16, 20, 18), channels: int = 1
) -> ArrayCase:
    """A case with one bright rod of label 1 in noise."""
    rng = np.random.default_rng(number)
    centre = rng.uniform(0.35, 0.65, 3) * shape
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    # The flattest axis does not count: in a single slice the ball is a disc.
    long = sorted(range(3), key=lambda axis: shape[axis])[1:]
    inside = sum((axes[i] - centre[i]) ** 2 for i in long) <= (0.3 * shape[long[0]]) ** 2
    labels = np.broadcast_to(inside, shape).astype(np.int16)
    image = rng.normal(0, 0.3, (channels, *shape)) + 2 * labels
    return ArrayCase(
        f"case_{number}",
        image.astype(np.float32),
        labels,
        foreground={(1,): np.argwhere(labels == 1).astype(np.int32)},
    )


def make_small_plan(
    patch: tuple[int, ...] = (8, 12, 12),
    batch_size: int = 2,
    channels: int = 1,
    **schedule: Any,
) -> Plan:
    """A plan with one tiny network, of the dimension of the patch."""
    dimensions = len(patch)
    network = NetworkPlan(
        "plain",
        (4, 8),
        ((3,) * dimensions,) * 2,
        ((1,) * dimensions, (2,) * dimensions),
        (1, 1),
        (1,),
    )
    scheme = LabelScheme.from_mapping({"background": 0, "ball": 1})
    description = DatasetDescription("Balls", ("MR",) * channels, scheme)
    settings = {
        "epochs": 2,
        "iterations_per_epoch": 3,
        "validation_iterations": 2,
        **schedule,
    }
    name = f"{dimensions}d"
    configuration = ConfigurationPlan(
        name,
        (1.0,) * dimensions,
        patch,
        patch,
        batch_size,
        ("zscore",) * channels,
        (False,) * channels,
        dimensions == 2,
        network,
    )
    return Plan(
        name="small",
        planner="plain",
        description=description,
        original_median_spacing=(1.0, 1.0, 1.0),
        original_median_shape=(16, 20, 18),
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        configurations={name: configuration},
        foreground_intensities=(),
        target=ComputeTarget(8.0),
        schedule=Schedule(**settings),
        recommended=(name,),
        autocast="off",
    )


@pytest.fixture(scope="session")
def make_case() -> Callable[..., ArrayCase]:
    return make_ball_case


@pytest.fixture(scope="session")
def make_training_plan() -> Callable[..., Plan]:
    return make_small_plan

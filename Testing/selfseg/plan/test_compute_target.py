from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfseg.domain.dataset import DatasetDescription
from selfseg.domain.errors import PlanError
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import ComputeTarget, Plan, Schedule, SpeedProfile, SpeedSample
from selfseg.plan.compute_target import (
    DEFAULT_CPU_SECONDS,
    LEAST_PATCH_SHARE,
    expected_steps,
    fit_to_target,
)
from selfseg.plan.planner import make_plan

SHAPES: dict[str, Any] = {
    "small": ((36, 50, 35), (1.0, 1.0, 1.0)),
    "large": ((400, 512, 512), (1.0, 0.8, 0.8)),
    "anisotropic": ((10, 256, 256), (8.0, 1.25, 1.25)),
    "photographs": ((1, 256, 320), (999.0, 1.0, 1.0)),
}


def _plan(kind: str, planner: Any = "plain") -> Plan:
    shape, spacing = SHAPES[kind]
    statistics = IntensityProperties(0, 0, 1, -1, 1, -1, 1)
    description = DatasetDescription(
        kind, ("MR",), LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2}), case_count=100
    )
    fingerprint = Fingerprint((spacing,) * 100, (shape,) * 100, 1.0, (statistics,))
    return make_plan(fingerprint, description, planner)


def _profile(rate: float, autocast: str = "bfloat16") -> SpeedProfile:
    """A machine that does `rate` forward multiply-adds per second."""
    sample = SpeedSample((16, 32, 64), 3, (40, 40, 40), 2, 1.0, 1e7, rate, 10**8)
    return SpeedProfile("cpu", 2, autocast, (sample,))


def test_no_target_changes_nothing() -> None:
    plan = _plan("small")
    assert fit_to_target(plan, plan.target, None) == plan


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("planner", ["plain", "resenc_m"])
def test_with_enough_time_the_networks_are_the_standard_ones(kind: str, planner: Any) -> None:
    plan = _plan(kind, planner)
    fitted = fit_to_target(plan, ComputeTarget(8, "cuda", 7 * 86400), _profile(2e12))
    assert fitted.configurations == plan.configurations
    assert fitted.schedule.momentum == Schedule().momentum
    assert fitted.schedule.learning_rate == Schedule().learning_rate
    assert fitted.schedule.augmentation == "full"
    assert fitted.schedule.seconds == 7 * 86400


def test_ten_minutes_on_two_cores_take_a_narrow_network() -> None:
    fitted = fit_to_target(_plan("small"), ComputeTarget(8, "cpu", 480), _profile(45e9))
    configuration = fitted.configurations["3d_fullres"]
    assert configuration.network.features_per_stage == (16, 32, 64, 128)
    assert configuration.batch_size == 2
    assert fitted.autocast == "bfloat16"
    assert fitted.schedule.seconds == 480
    assert fitted.schedule.momentum < 0.99


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("planner", ["plain", "resenc_m"])
@given(
    seconds=st.floats(1, 1e7),
    rate=st.floats(1e8, 1e14),
)
@settings(max_examples=25, deadline=None)
def test_every_target_gives_a_valid_plan_that_says_why(
    kind: str, planner: Any, seconds: float, rate: float
) -> None:
    plan = _plan(kind, planner)
    profile = _profile(rate)
    fitted = fit_to_target(plan, ComputeTarget(8, "cpu", seconds), profile)
    assert fit_to_target(plan, ComputeTarget(8, "cpu", seconds), profile) == fitted
    new = [decision.what for decision in fitted.decisions[len(plan.decisions) :]]
    assert new == [*(f"{name}: network" for name in plan.configurations), "schedule", "speed"]
    assert fitted.schedule.iterations_per_epoch >= 10
    for name, configuration in fitted.configurations.items():
        standard = plan.configurations[name]
        network = configuration.network
        assert 2 <= configuration.batch_size <= standard.batch_size
        assert all(
            a <= b
            for a, b in zip(
                network.features_per_stage, standard.network.features_per_stage, strict=False
            )
        )
        strides = [math.prod(axis) for axis in zip(*network.strides, strict=True)]
        assert all(n % step == 0 for n, step in zip(configuration.patch_size, strides, strict=True))
        assert all(
            a >= LEAST_PATCH_SHARE * b
            for a, b in zip(configuration.patch_size, standard.patch_size, strict=True)
        )


@pytest.mark.parametrize("kind", SHAPES)
def test_more_time_never_means_a_smaller_network_or_fewer_steps(kind: str) -> None:
    plan = _plan(kind)
    name = plan.recommended[-1]
    sizes, voxels = [], []
    for seconds in (60, 600, 3600, 36_000, 360_000, 3_600_000):
        fitted = fit_to_target(plan, ComputeTarget(8, "cpu", seconds), _profile(45e9))
        configuration = fitted.configurations[name]
        sizes.append(configuration.network.features_per_stage[0])
        voxels.append(math.prod(configuration.patch_size))
    assert sizes == sorted(sizes)
    assert voxels == sorted(voxels)
    assert sizes[0] < sizes[-1]


def test_a_processor_without_a_limit_gets_a_default_and_says_so() -> None:
    fitted = fit_to_target(_plan("small"), ComputeTarget(8, "cpu"), None)
    assert fitted.schedule.seconds == DEFAULT_CPU_SECONDS
    assert fitted.target.seconds == DEFAULT_CPU_SECONDS
    text = " ".join(f"{d.what} {d.reason}" for d in fitted.decisions)
    assert "--time-budget" in text
    assert "assumed" in text


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), 0.5])
def test_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(PlanError, match="no time"):
        fit_to_target(_plan("small"), ComputeTarget(8, "cpu", seconds), None)


def test_expected_steps_follow_the_nearest_measured_width() -> None:
    plan = _plan("small")
    configuration = plan.configurations["3d_fullres"]
    narrow = SpeedSample((16, 32), 3, (40, 40, 40), 2, 1.0, 1e7, 1e9, 10**8)
    wide = SpeedSample((32, 64), 3, (40, 40, 40), 2, 1.0, 1e7, 4e9, 10**8)
    both = SpeedProfile("cpu", 2, "off", (narrow, wide))
    only = SpeedProfile("cpu", 2, "off", (narrow,))
    steps = [expected_steps(configuration, 1, 3, 100, p) for p in (both, only)]
    assert steps[0] == pytest.approx(4 * steps[1])


def test_the_words_speak_of_the_training_alone() -> None:
    plan, target = _plan("small"), ComputeTarget(8, "cpu", 200.0)
    whole = fit_to_target(plan, target, _profile(1e10))
    shared = fit_to_target(plan, target, _profile(1e10), training_share=0.9)
    assert shared.configurations == whole.configurations
    assert shared.schedule.seconds == pytest.approx(180)
    (reason,) = (d.reason for d in shared.decisions if d.what == "3d_fullres: network")
    assert "fit into 3 minutes" in reason

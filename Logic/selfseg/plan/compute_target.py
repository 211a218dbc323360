"""Fitting a plan to a processor or a time budget: a network and schedule that converge in time.

The standard plans are made for days on a graphics card. Minutes on a processor are better
spent on a small network that takes thousands of steps than on a large one that takes hundreds.
How much each network needs was measured; docs/decisions/0004-short-budgets.md has the tables.

    time and speed -> for each candidate, largest first: steps it could take
                   -> the first that can take as many as it needs
                   -> else the smallest, on smaller patches
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..domain.errors import PlanError
from ..domain.plan import (
    ComputeTarget,
    ConfigurationPlan,
    Decision,
    Plan,
    Schedule,
    SpeedProfile,
    SpeedSample,
)
from .cost import multiply_adds
from .topology import find_topology

DEFAULT_CPU_SECONDS = 3600.0
"""One training on a processor, where nobody said how long it may take."""

LEAST_SECONDS = 1.0

ASSUMED_RATE = {"cpu": 1e10, "other": 1e12}
"""Forward multiply-adds per second in training, where no speed was measured (conservative)."""

USABLE_SHARE = 0.9
"""Of the time; the rest goes into looking at validation patches and writing files."""


@dataclass(frozen=True)
class Candidate:
    """A network to consider, and the steps from which it is worth its cost.

    `features`: of the first stage, None for the plan's own network and batch. `light`: one
    convolution in place of two where the resolution is full, on the way down and up; these
    cost most and are missed least. `batch_size` by dimension.
    """

    features: int | None
    light: bool
    batch_size: dict[int, int]
    steps: int


SMALL_BATCH = {2: 6, 3: 2}

CANDIDATES = (
    Candidate(None, False, {}, 25_000),
    Candidate(32, False, SMALL_BATCH, 10_000),
    Candidate(32, True, SMALL_BATCH, 5_000),
    Candidate(16, True, SMALL_BATCH, 600),
)
"""Largest first; the last is taken where nothing fits."""

LEAST_PATCH_SHARE = 0.5
"""Of the standard patch's length that every axis keeps, however short the time: a network that
has seen only the neighbourhood of a structure finds it everywhere in a whole image."""

LONG_STEPS = 25_000
"""From here on RECIPE's optimiser settings are right."""

SHORT_SCHEDULE = {"learning_rate": 0.1, "momentum": 0.9}
"""For fewer steps: less inertia. A momentum of 0.99 forgets over hundreds of steps, which are
all there is."""

FULL_AUGMENTATION_STEPS = 4_000
"""With fewer steps the images are seen so rarely that mirroring alone does better."""

EPOCHS_WANTED = 40
ITERATIONS_PER_EPOCH = (10, 250)
VALIDATION_SHARE = 0.1
"""Validation iterations per training iteration; each costs a third of one."""


def fit_to_target(
    plan: Plan,
    target: ComputeTarget,
    profile: SpeedProfile | None,
    *,
    training_share: float = 1.0,
) -> Plan:
    """Changes network, batch, patch and schedule so that training converges in the time.

    Args:
        plan: a standard plan.
        target: device and seconds for one training; on a processor without a limit,
            `DEFAULT_CPU_SECONDS` are assumed.
        profile: how fast the machine is; None assumes a slow one.
        training_share: of the target's seconds, what is left for training where they include
            judging: told in the reasons and the schedule, while the network is chosen by all.

    Returns:
        A plan of the same name for that target, its reasons appended to `decisions`. With
        enough time the networks are the standard ones.

    Raises:
        PlanError: no time at all.
    """
    decisions = []
    seconds = target.seconds
    if seconds is None and target.device != "cpu":
        return replace(plan, target=target)
    if seconds is None:
        seconds = DEFAULT_CPU_SECONDS
        decisions.append(
            Decision(
                "time per training",
                _time_in_words(seconds),
                "the plan is for a processor and no --time-budget was given",
            )
        )
    if not math.isfinite(seconds) or seconds < LEAST_SECONDS:
        raise PlanError(
            "there is no time to train",
            expected=f"at least {LEAST_SECONDS:.0f} s per training",
            found=f"{max(seconds, 0):.0f} s left for each",
            cure="give a longer --time-budget, or fewer folds and configurations",
        )

    own = training_share * seconds
    configurations: dict[str, ConfigurationPlan] = {}
    steps: dict[str, float] = {}
    for name, configuration in plan.configurations.items():
        fitted, expected = _fit(plan, configuration, seconds, target, profile)
        configurations[name], steps[name] = fitted, expected
        decisions.append(_explain(name, configuration, fitted, training_share * expected, own))
    # One schedule serves all configurations; the one with the fewest steps needs it most.
    fewest = min(steps[name] for name in plan.recommended or plan.configurations)
    schedule = fitted_schedule(plan.schedule, own, fewest)
    decisions.append(_explain_schedule(schedule, fewest, own))
    return replace(
        plan,
        configurations=configurations,
        schedule=schedule,
        target=replace(target, seconds=seconds),
        decisions=(*plan.decisions, *decisions, _explain_speed(profile, target)),
        autocast=plan.autocast if profile is None else profile.autocast,
    )


def expected_steps(
    configuration: ConfigurationPlan,
    input_channels: int,
    output_channels: int,
    seconds: float,
    profile: SpeedProfile | None,
    device: str = "cpu",
) -> float:
    """Optimiser steps that fit into the time."""
    work = configuration.batch_size * multiply_adds(
        configuration.network, configuration.patch_size, input_channels, output_channels
    )
    rate = _rate(profile, configuration.network.features_per_stage[0], device)
    return USABLE_SHARE * seconds * rate / work


def fitted_schedule(standard: Schedule, seconds: float, steps: float) -> Schedule:
    """Optimiser settings and epochs for about that many steps in that time."""
    low, high = ITERATIONS_PER_EPOCH
    per_epoch = round(min(max(steps / EPOCHS_WANTED, low), high))
    schedule = replace(
        standard,
        seconds=seconds,
        iterations_per_epoch=per_epoch,
        validation_iterations=max(2, round(VALIDATION_SHARE * per_epoch)),
        augmentation="full" if steps >= FULL_AUGMENTATION_STEPS else "mirror",
    )
    if steps >= LONG_STEPS:
        return schedule
    return replace(
        schedule,
        learning_rate=SHORT_SCHEDULE["learning_rate"],
        momentum=SHORT_SCHEDULE["momentum"],
    )


def _fit(
    plan: Plan,
    configuration: ConfigurationPlan,
    seconds: float,
    target: ComputeTarget,
    profile: SpeedProfile | None,
) -> tuple[ConfigurationPlan, float]:
    """The largest candidate that can take its steps, and how many it will take."""
    channels = plan.input_channels(configuration.name)
    heads = plan.description.labels.head_count

    def steps_of(candidate: ConfigurationPlan) -> float:
        return expected_steps(candidate, channels, heads, seconds, profile, target.device)

    for candidate in CANDIDATES:
        fitted = _apply(candidate, configuration)
        if steps_of(fitted) >= candidate.steps:
            return fitted, steps_of(fitted)
    patch = configuration.patch_size
    while steps_of(fitted) < candidate.steps:
        smaller = _with_shorter_axis(configuration, patch)
        lengths = zip(smaller.patch_size, configuration.patch_size, strict=True)
        if any(short < LEAST_PATCH_SHARE * standard for short, standard in lengths):
            break
        patch = smaller.patch_size
        fitted = _apply(candidate, smaller)
    return fitted, steps_of(fitted)


def _apply(candidate: Candidate, configuration: ConfigurationPlan) -> ConfigurationPlan:
    """The configuration with the candidate's width, convolutions and batch."""
    if candidate.features is None:
        return configuration
    network = configuration.network
    features = tuple(
        min(candidate.features * 2**stage, standard)
        for stage, standard in enumerate(network.features_per_stage)
    )
    encoder, decoder = network.blocks_per_stage, network.convs_per_decoder_stage
    if candidate.light:
        encoder = (1, *(min(blocks, 2) for blocks in encoder[1:]))
        decoder = (*decoder[:-1], 1) if decoder else decoder
    return replace(
        configuration,
        batch_size=min(configuration.batch_size, candidate.batch_size[network.dimensions]),
        network=replace(
            network,
            features_per_stage=features,
            blocks_per_stage=encoder,
            convs_per_decoder_stage=decoder,
        ),
    )


def _with_shorter_axis(standard: ConfigurationPlan, patch_size: Sequence[int]) -> ConfigurationPlan:
    """The standard network for a patch whose longest axis is one pooling step shorter.

    As when planning for memory: topology and patch are redone for the shorter axis.
    """
    longest = max(range(len(patch_size)), key=lambda axis: patch_size[axis])
    topology = find_topology(standard.spacing, patch_size)
    wanted = list(patch_size)
    wanted[longest] -= topology.divisor[longest]
    topology = find_topology(standard.spacing, wanted)
    network, count = standard.network, topology.stage_count
    return replace(
        standard,
        patch_size=topology.patch_size,
        network=replace(
            network,
            features_per_stage=network.features_per_stage[:count],
            kernel_sizes=topology.kernel_sizes,
            strides=topology.strides,
            blocks_per_stage=network.blocks_per_stage[:count],
            # This list begins at the bottleneck.
            convs_per_decoder_stage=network.convs_per_decoder_stage[-(count - 1) :]
            if count > 1
            else (),
        ),
    )


def _rate(profile: SpeedProfile | None, features: int, device: str) -> float:
    """Forward multiply-adds per second while training a network of that width."""
    if profile is None or not profile.samples:
        return ASSUMED_RATE["cpu" if device == "cpu" else "other"]

    def distance(sample: SpeedSample) -> float:
        return abs(math.log(sample.features[0] / features))

    nearest = min(profile.samples, key=distance)
    return nearest.multiply_adds / nearest.seconds_per_step


def _explain(
    name: str,
    standard: ConfigurationPlan,
    fitted: ConfigurationPlan,
    steps: float,
    seconds: float,
) -> Decision:
    network = fitted.network
    value = (
        f"{network.features_per_stage[0]} features, {network.stage_count} stages, "
        f"batch {fitted.batch_size}, patch {' x '.join(map(str, fitted.patch_size))}"
    )
    expected = f"about {steps:.0f} steps fit into {_time_in_words(seconds)}"
    if fitted == standard:
        return Decision(f"{name}: network", value, f"{expected}: enough for the standard network")
    first = standard.network.features_per_stage[0]
    return Decision(
        f"{name}: network",
        value,
        f"{expected}; the standard network ({first} features, batch {standard.batch_size}, "
        f"patch {' x '.join(map(str, standard.patch_size))}) would not converge",
    )


def _explain_schedule(schedule: Schedule, steps: float, seconds: float) -> Decision:
    reason = f"the learning rate falls with the clock, to 0 after {_time_in_words(seconds)}"
    if steps < LONG_STEPS:
        reason += "; less momentum, as the steps are few"
    if schedule.augmentation != "full":
        reason += "; the images are seen too rarely for more augmentation than mirroring"
    return Decision(
        "schedule",
        f"learning rate {schedule.learning_rate:g}, momentum {schedule.momentum:g}, "
        f"{schedule.augmentation} augmentation",
        reason,
    )


def _explain_speed(profile: SpeedProfile | None, target: ComputeTarget) -> Decision:
    if profile is None or not profile.samples:
        rate = _rate(None, 0, target.device) / 1e9
        return Decision(
            "speed", f"{rate:.0f} G multiply-adds per second", "assumed: nothing was measured"
        )
    sample = profile.samples[0]
    rate = sample.multiply_adds / sample.seconds_per_step / 1e9
    return Decision(
        "speed",
        f"{rate:.1f} G multiply-adds per second, {profile.autocast} arithmetic",
        f"measured on {profile.device} with {profile.threads} threads",
    )


def _time_in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"

"""A plan for new data around a network that is trained already."""

from __future__ import annotations

from dataclasses import replace

from ..domain.dataset import DatasetDescription
from ..domain.fingerprint import Fingerprint, IntensityProperties
from ..domain.geometry import Shape3, Vector3
from ..domain.plan import ConfigurationPlan, Decision, Plan
from ..domain.starting_point import StartingPoint, same_inputs
from .configurations import Normalisation
from .planner import choose_normalisation
from .spacing import median_vector, resampled_shape


def plan_from(
    start: StartingPoint,
    fingerprint: Fingerprint,
    description: DatasetDescription,
    name: str | None = None,
) -> Plan:
    """Takes network, patch, batch, spacing and axis order of the starting point.

    Channels that the network knows by name are normalised as it learned them, with the
    intensities of the data it learned from; new ones by the rules and the new data.

    Args:
        start: the trained network, with its plan.
        fingerprint: of the new data.
        description: of the new data.
        name: of the plan; None: that of the source with "_finetuned".
    """
    source = start.plan
    known = same_inputs(
        [channel.casefold() for channel in description.channel_names],
        [channel.casefold() for channel in source.description.channel_names],
    )
    wanted: list[str] = []
    configuration: str | None = start.configuration
    while configuration is not None:  # a cascade brings its first stage along
        wanted.insert(0, configuration)
        configuration = source.configuration(configuration).previous_stage
    order = source.transpose_forward
    return replace(
        source,
        name=name or f"{source.name}_finetuned",
        description=description,
        original_median_spacing=_in_order(median_vector(fingerprint.spacings), order),
        original_median_shape=_rounded(
            _in_order(median_vector(fingerprint.shapes_after_crop), order)
        ),
        configurations={
            key: _for_data(source, source.configuration(key), fingerprint, description, known)
            for key in wanted
        },
        foreground_intensities=_intensities(source, fingerprint, known),
        schedule=replace(source.schedule, seconds=None),
        recommended=tuple(wanted),
        decisions=(
            Decision(
                "network, patch, batch and spacing",
                f"those of {start.source}",
                "training begins with its weights, which fit no other network and look at "
                "structures at this spacing",
            ),
            *_normalisation(description, known),
        ),
    )


def _for_data(
    source: Plan,
    configuration: ConfigurationPlan,
    fingerprint: Fingerprint,
    description: DatasetDescription,
    known: tuple[int | None, ...],
) -> ConfigurationPlan:
    by_rule = choose_normalisation(
        description.channel_names, fingerprint.median_relative_size_after_cropping
    )
    learned = Normalisation(configuration.normalisation, configuration.normalise_in_mask)

    back = source.transpose_backward
    through_plane = source.original_median_spacing[: 3 - len(configuration.spacing)]
    in_plan = (*through_plane, *configuration.spacing)
    native = (in_plan[back[0]], in_plan[back[1]], in_plan[back[2]])
    shapes = [
        resampled_shape(shape, spacing, native)
        for shape, spacing in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True)
    ]
    median = _in_order(median_vector(shapes), source.transpose_forward)
    return replace(
        configuration,
        median_shape=tuple(float(n) for n in median[3 - len(configuration.spacing) :]),
        normalisation=tuple(
            by_rule.schemes[i] if k is None else learned.schemes[k] for i, k in enumerate(known)
        ),
        normalise_in_mask=tuple(
            by_rule.in_mask[i] if k is None else learned.in_mask[k] for i, k in enumerate(known)
        ),
    )


def _intensities(
    source: Plan, fingerprint: Fingerprint, known: tuple[int | None, ...]
) -> tuple[IntensityProperties, ...]:
    learned, measured = source.foreground_intensities, fingerprint.foreground_intensities
    return tuple(measured[i] if k is None else learned[k] for i, k in enumerate(known))


def _normalisation(
    description: DatasetDescription, known: tuple[int | None, ...]
) -> list[Decision]:
    return [
        Decision(
            f"normalisation of channel {channel!r}",
            "by this data set" if index is None else "as the network learned it",
            "the network does not know the channel"
            if index is None
            else "the weights expect the intensities they were trained with",
        )
        for channel, index in zip(description.channel_names, known, strict=True)
    ]


def _in_order(values: Vector3, order: Shape3) -> Vector3:
    return values[order[0]], values[order[1]], values[order[2]]


def _rounded(values: Vector3) -> Shape3:
    return round(values[0]), round(values[1]), round(values[2])

"""A plan in plain words, with an estimate of the time and memory that training takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..crossvalidate.splits import splits_of
from ..domain.dataset import Dataset
from ..domain.events import PlanExplained, Reporter
from ..domain.fingerprint import Fingerprint
from ..domain.plan import ConfigurationPlan, Plan, SpeedProfile
from ..io.project import Project
from ..plan.compute_target import expected_steps
from ..plan.cost import training_memory_bytes
from ..report.story import data_in_words, decisions_in_words
from .measure import speed_profile

VOXEL_BYTES = 4
"""Of a preprocessed image; its label map adds about half as much, and compresses well."""


def explain_plan(
    project: Project, dataset: Dataset, plan: Plan, *, device: str, reporter: Reporter
) -> PlanExplained:
    """Tells what a plan does and what it costs; this machine is timed where it was not yet.

    Args:
        project: with a fingerprint.
        dataset: of the project.
        plan: of the project.
        device: where it will be trained.
        reporter: is told of the timing.
    """
    fingerprint = project.read_fingerprint()
    profile = speed_profile(project, plan, plan.target.device, reporter)
    topics = [(topic.title, topic.text) for topic in decisions_in_words(plan, fingerprint)]
    if fingerprint is not None:
        topics.insert(0, ("The data", " ".join(data_in_words(fingerprint))))
    names = plan.recommended or tuple(plan.configurations)
    return PlanExplained(
        plan=plan.name,
        topics=tuple(
            {"title": title, "text": text, "configuration": _concerned(title, names)}
            for title, text in topics
        ),
        configurations=tuple(
            {
                "name": name,
                "seconds_per_step": _seconds_per_step(plan, name, profile, device),
                "memory_bytes": _memory(plan, plan.configuration(name), device),
            }
            for name in names
        ),
        steps=plan.schedule.epochs * plan.schedule.iterations_per_epoch,
        folds=len(splits_of(dataset)),
        disk_bytes=sum(
            _disk(plan.configuration(name), fingerprint, len(dataset.cases)) for name in names
        ),
    )


def _concerned(title: str, names: Sequence[str]) -> str:
    """The one configuration that a topic is about, "" for all."""
    return next((name for name in names if name in title.split()), "")


def _seconds_per_step(plan: Plan, name: str, profile: SpeedProfile, device: str) -> float:
    heads = plan.description.labels.head_count
    steps_in_a_second = expected_steps(
        plan.configuration(name), plan.input_channels(name), heads, 1.0, profile, device
    )
    return 1.0 / steps_in_a_second


def _memory(plan: Plan, configuration: ConfigurationPlan, device: str) -> int:
    """Of the process on the processor, of the graphics card elsewhere."""
    from ..infer.torch_backend import pick_device

    channels = plan.input_channels(configuration.name)
    heads = plan.description.labels.head_count
    network, patch, batch = (
        configuration.network,
        configuration.patch_size,
        configuration.batch_size,
    )
    half = plan.autocast != "off"
    if str(pick_device(device)) == "cpu":
        from ..train.memory import predict_memory

        need = predict_memory(network, patch, channels, heads, half=half)
        return round(need.peak(batch, batch))
    element = 2 if half else 4
    return training_memory_bytes(network, patch, batch, channels, heads, bytes_per_element=element)


def _disk(configuration: ConfigurationPlan, fingerprint: Fingerprint | None, cases: int) -> int:
    """From the sizes measured; the 2D configuration keeps the distance of the slices."""
    channels = len(configuration.normalisation)
    if fingerprint is None:
        return round(math.prod(configuration.median_shape) * channels * VOXEL_BYTES * cases)
    voxels = 0.0
    for shape, spacing in zip(fingerprint.shapes_after_crop, fingerprint.spacings, strict=True):
        count = len(configuration.spacing)
        volume = math.prod(n * mm for n, mm in zip(shape[-count:], spacing[-count:], strict=True))
        slices = math.prod(shape[:-count])
        voxels += slices * volume / math.prod(configuration.spacing)
    return round(voxels * channels * VOXEL_BYTES)

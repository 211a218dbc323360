"""Trains one fold with other settings than the plan's, and scores its validation cases.

    selfseg plan DATASET -p PROJECT --device cpu --time-budget 8m
    selfseg preprocess -p PROJECT -c 3d_fullres
    python benchmarks/short_budgets.py PROJECT -c 3d_fullres --minutes 2 learning_rate=0.03 ...

Settings are `name=value`: any field of the schedule, `batch`, `patch`, `features`, `encoder` and
`decoder` (convolutions per stage, from full resolution and from the bottleneck), lists with commas.

With `--threads 1` the clock is half the processor time of this process: what two cores would
need that are used as well. Then several runs side by side, on a machine that does other things too,
give the same numbers as one on an idle machine. Prints one line of a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfseg.crossvalidate.splits import split_for_fold, splits_of
from selfseg.domain.events import EpochFinished, Event
from selfseg.domain.plan import ConfigurationPlan, Schedule
from selfseg.evaluate.scores import score_case
from selfseg.infer.torch_backend import TorchBackend
from selfseg.io.case_store import open_case
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_label_map
from selfseg.io.project import Project
from selfseg.io.weights import read_weights
from selfseg.plan.topology import find_topology
from selfseg.stages.segment import segment_case
from selfseg.train.loop import TrainingTask, train


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def changed_schedule(schedule: Schedule, settings: dict[str, str]) -> Schedule:
    changes: dict[str, Any] = {}
    for name in [name for name in settings if name in Schedule.__dataclass_fields__]:
        kind = type(getattr(schedule, name))
        changes[name] = kind(settings.pop(name))
    return replace(schedule, **changes)


def changed_configuration(
    configuration: ConfigurationPlan, settings: dict[str, str]
) -> ConfigurationPlan:
    batch = int(settings.pop("batch", configuration.batch_size))
    patch = numbers(settings.pop("patch", "")) if "patch" in settings else configuration.patch_size
    topology = find_topology(configuration.spacing, patch)
    count = topology.stage_count
    network = configuration.network

    def fitted(name: str, present: tuple[int, ...], length: int) -> tuple[int, ...]:
        given = numbers(settings.pop(name)) if name in settings else present
        return (given + given[-1:] * length)[:length]

    network = replace(
        network,
        strides=topology.strides,
        kernel_sizes=topology.kernel_sizes,
        features_per_stage=fitted("features", network.features_per_stage, count),
        blocks_per_stage=fitted("encoder", network.blocks_per_stage, count),
        convs_per_decoder_stage=fitted("decoder", network.convs_per_decoder_stage, count - 1),
    )
    return replace(configuration, batch_size=batch, patch_size=topology.patch_size, network=network)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("project", type=Path)
    parser.add_argument("-c", dest="configuration", default="3d_fullres")
    parser.add_argument("-f", dest="fold", default="0")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("settings", nargs="*")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(options.threads)

    project = Project.open(options.project)
    dataset = open_dataset(project.dataset_folder)
    plan = project.read_plan(project.plan_names[0])
    settings = dict(text.split("=", 1) for text in options.settings)
    configuration = changed_configuration(plan.configuration(options.configuration), settings)
    plan = replace(
        plan,
        schedule=changed_schedule(plan.schedule, settings),
        configurations={**plan.configurations, options.configuration: configuration},
    )
    if settings:
        parser.error(f"unknown settings: {', '.join(settings)}")
    identifiers = [case.identifier for case in dataset.cases]
    split = split_for_fold(splits_of(dataset), options.fold, identifiers)
    folder = project.preprocessed_folder(plan.name, options.configuration)
    training = tuple(open_case(folder, identifier) for identifier in split.train)
    validation = tuple(open_case(folder, identifier) for identifier in split.validation)

    def report(event: Event) -> None:
        if options.verbose and isinstance(event, EpochFinished):
            print(event.epoch, event.epochs, event.validation_loss, event.pseudo_dice, flush=True)

    def shared_clock() -> float:
        return time.process_time() / 2

    clock = shared_clock if options.threads == 1 else time.monotonic
    with tempfile.TemporaryDirectory() as folder:
        task = TrainingTask(
            plan,
            options.configuration,
            options.fold,
            training,
            validation,
            Path(folder),
            device="cpu",
            seed=options.seed,
            seconds=60 * options.minutes,
        )
        result = train(task, reporter=report, clock=clock)
        weights = read_weights(result.weights_final)[0]

    labels = plan.description.labels
    backend = TorchBackend(
        configuration.network,
        plan.input_channels(options.configuration),
        labels.head_count,
        [weights],
        device="cpu",
        autocast=plan.autocast,
    )
    scores: dict[bool, list[list[float]]] = {False: [], True: []}
    for case in validation:
        reference = read_label_map(dataset.case(case.identifier).label)[0]  # type: ignore[arg-type]
        for mirror, rows in scores.items():
            found = segment_case(case.load(), backend, plan, options.configuration, mirror=mirror)
            dice = [m["Dice"] for m in score_case(reference, found, labels).values()]
            rows.append([np.nan if value is None else value for value in dice])
    plain, mirrored = (float(np.nanmean(np.nanmean(rows, axis=0))) for rows in scores.values())
    print(
        f"| {' '.join(options.settings)} | {options.minutes:g} | {result.iterations} "
        f"| {plain:.4f} | {mirrored:.4f} |"
    )


if __name__ == "__main__":
    main()

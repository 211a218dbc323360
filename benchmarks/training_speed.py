"""Seconds per training iteration, ours beside nnunetv2's, in turn and several times.

    python benchmarks/training_speed.py DATASET FOLDER --peer-python PEER/bin/python

The standard plan of 3d_fullres (or, with `--small`, 16 features and batch 2) on the processor.
Counted is what happens once a batch is there: forward pass, loss, backward pass, clipping,
optimiser; the peer's is nnUNetTrainer.train_step. With `--loader` waiting for the next batch
(sampling, augmentation) counts as well; ours is then the real training. Every measurement
is a new process; its first two iterations do not count. Prints medians and ranges over all
counted iterations, and the ratio of the medians of each turn. FOLDER keeps both sides' plans
and preprocessed cases and may be that of training_accuracy.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from training_accuracy import (
    CONFIGURATION,
    PEER_SCRIPT,
    prepare_peer,
    selfseg,
    standard_plan,
    standard_project,
)

# The first import of selfseg sets how OpenMP's threads wait, and must come before torch's.
from selfseg.domain.plan import Plan

WARM_UP = 2


def prepare(options: argparse.Namespace) -> None:
    """Plans and preprocesses on both sides, where that is not done."""
    prepare_peer(options.dataset, options.folder, options.peer_python)
    project = standard_project(options.dataset, options.folder)
    if options.loader:
        selfseg("preprocess", "-p", project, "-c", CONFIGURATION, "--plan", "plain")


def our_plan(options: argparse.Namespace) -> Plan:
    plan = standard_plan(options.folder / "ours")
    configuration = plan.configuration(CONFIGURATION)
    if options.small:
        network = configuration.network
        features = tuple(
            n * 16 // network.features_per_stage[0] for n in network.features_per_stage
        )
        configuration = replace(
            configuration, batch_size=2, network=replace(network, features_per_stage=features)
        )
    schedule = replace(
        plan.schedule,
        epochs=1,
        iterations_per_epoch=WARM_UP + options.iterations,
        validation_iterations=1,
    )
    return replace(
        plan,
        configurations={CONFIGURATION: configuration},
        recommended=(CONFIGURATION,),
        schedule=schedule,
        autocast=options.autocast,
    )


def our_steps(options: argparse.Namespace) -> list[float]:
    """As train/loop.py takes them, on one made batch."""
    import torch

    from selfseg.network.channels_last import order_weights
    from selfseg.network.unet import build_network
    from selfseg.train import device as devices
    from selfseg.train.loss import segmentation_loss
    from selfseg.train.schedule import make_optimiser

    plan, device = our_plan(options), torch.device("cpu")
    configuration, scheme = plan.configuration(CONFIGURATION), plan.description.labels
    network = build_network(
        configuration.network, plan.input_channels(CONFIGURATION), scheme.head_count
    )
    network.deep_supervision = True
    half = devices.choose_autocast(plan.autocast, device)
    if half is torch.bfloat16:
        order_weights(network)
    optimiser = make_optimiser(network, plan.schedule)
    size = (configuration.batch_size, *configuration.patch_size)
    images = torch.randn((size[0], plan.input_channels(CONFIGURATION), *size[1:]))
    labels = torch.randint(0, scheme.head_count, size, dtype=torch.int16)
    seconds = []
    with devices.fast_arithmetic(device):
        for _ in range(WARM_UP + options.iterations):
            started = time.monotonic()
            optimiser.zero_grad(set_to_none=True)
            with devices.autocast(device, half):
                outputs = network(images)
            loss = segmentation_loss(outputs, labels, scheme, batch_dice=configuration.batch_dice)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), plan.schedule.gradient_clip)
            optimiser.step()
            float(loss.detach())
            seconds.append(time.monotonic() - started)
    return seconds[WARM_UP:]


def our_training(options: argparse.Namespace) -> list[float]:
    """The real loop on the fold's real cases, with its loader and full augmentation."""
    from selfseg.crossvalidate.splits import split_for_fold, splits_of
    from selfseg.domain.events import Event, IterationFinished
    from selfseg.io.case_store import open_case
    from selfseg.io.datasets import open_dataset
    from selfseg.train.loop import train
    from selfseg.train.task import TrainingTask

    plan, dataset = our_plan(options), open_dataset(options.dataset)
    folder = options.folder / "ours/preprocessed/plain" / CONFIGURATION
    names = [case.identifier for case in dataset.cases]
    split = split_for_fold(splits_of(dataset), "0", names)
    seconds: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, IterationFinished):
            seconds.append(event.seconds)

    with tempfile.TemporaryDirectory() as name:
        task = TrainingTask(
            plan=plan,
            configuration=CONFIGURATION,
            fold="0",
            training=tuple(open_case(folder, case) for case in split.train),
            validation=tuple(open_case(folder, case) for case in split.validation[:1]),
            run_folder=Path(name),
            device="cpu",
        )
        train(task, reporter=listen)
    return seconds[WARM_UP:]


def measure(options: argparse.Namespace, side: str) -> list[float]:
    """In a new process."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "seconds.json"
        if side == "peer":
            command = [options.peer_python, PEER_SCRIPT, "time", options.folder / "peer", out]
        else:
            command = [sys.executable, __file__, options.dataset, options.folder, "--child", out]
            command += ["--autocast", options.autocast]
        command += ["--iterations", options.iterations, "--threads", options.threads]
        command += ["--small"] * options.small + ["--loader"] * options.loader
        if side == "peer" and options.loader:
            command += ["--workers", min(12, os.cpu_count() or 1)]  # its own default
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        seconds: list[float] = json.loads(out.read_text())["seconds"]
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--autocast", default="auto", help="of ours: auto, bfloat16 or off")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--loader", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    if options.child is not None:
        import torch

        torch.set_num_threads(options.threads)
        seconds = our_training(options) if options.loader else our_steps(options)
        options.child.write_text(json.dumps({"seconds": seconds}))
        return
    if options.peer_python is None:
        parser.error("--peer-python is needed")
    prepare(options)
    found: dict[str, list[list[float]]] = {"ours": [], "peer": []}
    for turn in range(options.repetitions):
        for side, turns in found.items():
            turns.append(measure(options, side))
            listed = ", ".join(f"{value:.3f}" for value in turns[-1])
            print(f"turn {turn + 1}, {side}: {listed} s", flush=True)
    for side, turns in found.items():
        values = [value for turn in turns for value in turn]
        print(
            f"{side}: median {statistics.median(values):.3f} s, {min(values):.3f}-{max(values):.3f}"
        )
    ratios = [
        statistics.median(ours) / statistics.median(theirs)
        for ours, theirs in zip(found["ours"], found["peer"], strict=True)
    ]
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"ours / peer: median {statistics.median(ratios):.2f} (turns {listed})")


if __name__ == "__main__":
    main()

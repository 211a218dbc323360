"""Training iterations, ours beside nnunetv2's, in turn and several times.

    python benchmarks/training_speed.py DATASET FOLDER
    python benchmarks/training_speed.py DATASET FOLDER --loader

The standard plan of 3d_fullres (or, with `--small`, 16 features and batch 2) on all cores of
the processor. Counted is what happens once a batch is there: forward pass, loss, backward pass,
clipping, optimiser; the peer's is nnUNetTrainer.train_step. With `--loader` waiting for the next
batch (real cases, sampling, full augmentation) counts as well; ours is then the real training,
and the peer has as many loader processes as there are cores. Every measurement is a new process;
its first two iterations do not count. A repetition's value is the median of its iterations.

The rows are `training_step` and `training_with_loader`; with `--small`, `--autocast` or
`--threads` it only prints. FOLDER keeps both sides' plans and preprocessed cases and may be that
of training_accuracy.py.
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

from peer_environment import peer_python
from side_by_side import OURS, PEER, Quantity, Row, add_options, write_row
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

AT_LEAST_FASTER = 1.5
"""The target: so many times the peer's samples per second."""

ITERATIONS, ITERATIONS_WITH_LOADER = 5, 15
"""Counted in each process. The peer's loader has six batches ready before the first iteration,
which the further ones have to outlast."""

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
    """Seconds of the counted iterations of a new process."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "seconds.json"
        if side == PEER:
            command = [options.peer_python, PEER_SCRIPT, "time", options.folder / "peer", out]
        else:
            command = [sys.executable, __file__, options.dataset, options.folder, "--child", out]
            command += ["--autocast", options.autocast]
        command += ["--iterations", options.iterations, "--threads", options.threads]
        command += ["--small"] * options.small + ["--loader"] * options.loader
        if side == PEER and options.loader:
            command += ["--workers", min(12, os.cpu_count() or 1)]  # its own default
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
        seconds: list[float] = json.loads(out.read_text())["seconds"]
        return seconds


def row_of(options: argparse.Namespace, medians: dict[str, list[float]]) -> Row:
    """Seconds per iteration of each turn, as the table wants them."""
    plan = our_plan(options)
    configuration = plan.configuration(CONFIGURATION)
    features, batch = configuration.network.features_per_stage, configuration.batch_size
    milliseconds = {side: [1000 * value for value in turns] for side, turns in medians.items()}
    quantities = [
        Quantity(
            "per iteration",
            "ms",
            milliseconds[OURS],
            milliseconds[PEER],
            at_most=round(1 / AT_LEAST_FASTER, 2),
        )
    ]
    what = "training step: one ready batch, forward, loss, backward, optimiser"
    if options.loader:
        what = "training with sampling, full augmentation and loading of real cases"
        samples = {side: [batch / value for value in turns] for side, turns in medians.items()}
        quantities.append(
            Quantity(
                "throughput", "samples/s", samples[OURS], samples[PEER], at_least=AT_LEAST_FASTER
            )
        )
    from selfseg.network.devices import cpu_has_bfloat16

    half = "bfloat16" if cpu_has_bfloat16() else "float32"
    notes = [
        f"{options.dataset.name}, standard plan of 3d_fullres: {features[0]} to {features[-1]} "
        f"features, batch {batch}, patch {' x '.join(map(str, configuration.patch_size))}, "
        f"{options.threads} threads; median of {options.iterations} iterations per process",
        f"ours computes in {half} on this processor by default, nnunetv2 in float32 on every "
        "processor",
    ]
    if options.loader:
        notes.append(f"nnunetv2 loads in {min(12, os.cpu_count() or 1)} processes beside it")
    name, order = ("training_with_loader", 31) if options.loader else ("training_step", 30)
    return Row(name, order, what, quantities, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    add_options(parser)
    parser.add_argument("--iterations", type=int, help="counted in each process")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--autocast", default="auto", help="of ours: auto, bfloat16 or off")
    parser.add_argument("--small", action="store_true", help="16 features, batch 2")
    parser.add_argument("--loader", action="store_true", help="count waiting for batches as well")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    usual = not options.small and options.autocast == "auto" and options.threads is None
    options.folder = options.folder.resolve()
    options.threads = options.threads or os.cpu_count() or 1
    options.iterations = options.iterations or (
        ITERATIONS_WITH_LOADER if options.loader else ITERATIONS
    )
    if options.child is not None:
        import torch

        torch.set_num_threads(options.threads)
        seconds = our_training(options) if options.loader else our_steps(options)
        options.child.write_text(json.dumps({"seconds": seconds}))
        return
    options.peer_python = peer_python(options.peer_python)
    prepare(options)
    found: dict[str, list[list[float]]] = {OURS: [], PEER: []}
    for turn in range(options.repetitions):
        for side in (OURS, PEER) if turn % 2 == 0 else (PEER, OURS):
            found[side].append(measure(options, side))
            listed = ", ".join(f"{value:.3f}" for value in found[side][-1])
            print(f"turn {turn + 1}, {side}: {listed} s", flush=True)
    medians = {side: [statistics.median(turn) for turn in turns] for side, turns in found.items()}
    for side, turns in found.items():
        values = [value for turn in turns for value in turn]
        print(
            f"{side}: median {statistics.median(values):.3f} s, {min(values):.3f}-{max(values):.3f}"
        )
    ratios = [ours / theirs for ours, theirs in zip(medians[OURS], medians[PEER], strict=True)]
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"ours / peer: median {statistics.median(ratios):.2f} (turns {listed})")
    if usual:
        write_row(row_of(options, medians), options.results, options.peer_python)


if __name__ == "__main__":
    main()

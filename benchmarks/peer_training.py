"""The peer's half of the training benchmarks; runs where nnunetv2 2.8.1 is installed.

`training_speed.py`, `training_accuracy.py` and `time_to_dice.py` start it; alone:

    python benchmarks/peer_training.py prepare DATASET FOLDER
    python benchmarks/peer_training.py train FOLDER OUT --epochs 6 --iterations 100 [--small]
    python benchmarks/peer_training.py time FOLDER OUT --iterations 3 [--loader]
    python benchmarks/peer_training.py keep FOLDER OUT --epochs 20 --iterations 10 [--small]

FOLDER becomes nnU-Net's raw, preprocessed and results folder. Its own trainer trains and
validates; only lengths, seed and (with `--small`) features and batch size are set from here.
`keep` trains without validating and leaves the weights of every epoch's end in the folder OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

SMALL_PLANS, STANDARD_PLANS = "nnUNetPlansSmall", "nnUNetPlans"
SMALL_FEATURES, SMALL_BATCH = 16, 2
RESULTS, LOADER_WORKERS = "nnUNet_results", "nnUNet_n_proc_DA"
WARM_UP = 2
"""Iterations that no timing counts."""

EPOCHS_OF_A_BUDGET = 20
"""Steps in which the learning rate falls where the length comes from a time budget."""


def set_folders(folder: Path) -> None:
    """Before nnunetv2 is imported: where its data are."""
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(f"nnUNet_{name}", str(folder / name))
    os.environ.setdefault("nnUNet_def_n_proc", "2")


def dataset_folder(folder: Path) -> Path:
    (found,) = (folder / "raw").iterdir()
    return folder / "preprocessed" / found.name


def prepare(source: Path, folder: Path) -> None:
    """Plans and preprocesses 3d_fullres; the narrow plan is the standard one with less in it."""
    set_folders(folder)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    link = folder / "raw" / source.name
    if not link.exists():
        link.symlink_to(source.resolve(), target_is_directory=True)
    number = int(source.name.removeprefix("Dataset").split("_")[0])
    processes = os.cpu_count() or 1
    extract_fingerprints([number], num_processes=processes)
    plan_experiments([number])
    preprocess([number], configurations=["3d_fullres"], num_processes=[processes])
    plans = json.loads((dataset_folder(folder) / f"{STANDARD_PLANS}.json").read_text())
    plans["plans_name"] = SMALL_PLANS
    configuration = plans["configurations"]["3d_fullres"]
    configuration["batch_size"] = SMALL_BATCH
    arguments = configuration["architecture"]["arch_kwargs"]
    factor = arguments["features_per_stage"][0] // SMALL_FEATURES
    arguments["features_per_stage"] = [f // factor for f in arguments["features_per_stage"]]
    (dataset_folder(folder) / f"{SMALL_PLANS}.json").write_text(json.dumps(plans, indent=4))


def make_trainer(folder: Path, small: bool, threads: int) -> Any:
    """Its nnUNetTrainer on the processor, fold 0."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(threads)
    home = dataset_folder(folder)
    plans = json.loads((home / f"{SMALL_PLANS if small else STANDARD_PLANS}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((home / "dataset.json").read_text())
    return nnUNetTrainer(plans, "3d_fullres", 0, dataset, device=torch.device("cpu"))


def seed_everything(seed: int) -> None:
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - its loader draws from the global generator
    torch.manual_seed(seed)


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Trains, validates with mirroring, and returns its scores and seconds."""
    os.environ[LOADER_WORKERS] = str(options.workers)
    results = options.folder / f"results_{options.out.stem}"
    shutil.rmtree(results, ignore_errors=True)
    os.environ[RESULTS] = str(results)
    set_folders(options.folder)
    seed_everything(options.seed)
    trainer = make_trainer(options.folder, options.small, options.threads)
    trainer.num_val_iterations_per_epoch = 1
    seconds_per_iteration = None
    if options.seconds is not None:
        seconds_per_iteration = time_iterations(trainer, 5, loader=True)
        total = max(1, int(options.seconds / min(seconds_per_iteration)))
        trainer.num_iterations_per_epoch = max(1, round(total / EPOCHS_OF_A_BUDGET))
        trainer.num_epochs = max(1, total // trainer.num_iterations_per_epoch)
        # Those five were for the clock only; training starts from fresh weights.
        lengths = trainer.num_epochs, trainer.num_iterations_per_epoch
        trainer = make_trainer(options.folder, options.small, options.threads)
        trainer.num_epochs, trainer.num_iterations_per_epoch = lengths
        trainer.num_val_iterations_per_epoch = 1
    else:
        trainer.num_epochs = options.epochs
        trainer.num_iterations_per_epoch = options.iterations
    started = time.monotonic()
    trainer.run_training()
    trained = time.monotonic()
    trainer.perform_actual_validation()
    summary = json.loads((Path(trainer.output_folder) / "validation/summary.json").read_text())
    return {
        "seed": options.seed,
        "epochs": trainer.num_epochs,
        "iterations": trainer.num_epochs * trainer.num_iterations_per_epoch,
        "features": trainer.configuration_manager.network_arch_init_kwargs["features_per_stage"],
        "batch": trainer.configuration_manager.batch_size,
        "patch": list(trainer.configuration_manager.patch_size),
        "timed_iterations": seconds_per_iteration,
        "train_seconds": trained - started,
        "validation_seconds": time.monotonic() - trained,
        "cases": sorted(
            Path(case["prediction_file"]).name.split(".")[0] for case in summary["metric_per_case"]
        ),
        "mean_dice": summary["foreground_mean"]["Dice"],
        "dice": {key: value["Dice"] for key, value in summary["mean"].items()},
    }


def time_iterations(trainer: Any, count: int, *, loader: bool) -> list[float]:
    """Seconds of single iterations of its train_step; with `loader` waiting for data as well."""
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.dataloader_train, trainer.dataloader_val = trainer.get_dataloaders()
    trainer.network.train()
    batch = next(trainer.dataloader_train)
    seconds = []
    for _ in range(WARM_UP + count):
        started = time.monotonic()
        if loader:
            batch = next(trainer.dataloader_train)
        trainer.train_step(batch)
        seconds.append(time.monotonic() - started)
    finish_loaders(trainer)
    return seconds[WARM_UP:]


def finish_loaders(trainer: Any) -> None:
    """Ends their processes; the loader of a single process has none."""
    for stream in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(stream, "_finish"):
            stream._finish()


class TimeIsOver(Exception):
    """The training has used the time it was given."""


def train_and_keep(options: argparse.Namespace) -> None:
    """Trains, and keeps the weights of every epoch's end under the seconds that had gone by.

    Keeping them and the trainer's own checkpoints and picture at the end of an epoch, which
    short epochs make frequent, are not counted.
    """
    import torch

    os.environ[LOADER_WORKERS] = str(options.workers)
    results = options.folder / f"results_{options.out.name}"
    os.environ[RESULTS] = str(results)
    set_folders(options.folder)
    seed_everything(options.seed)
    trainer = make_trainer(options.folder, options.small, options.threads)
    trainer.num_epochs, trainer.num_iterations_per_epoch = options.epochs, options.iterations
    trainer.num_val_iterations_per_epoch = 1
    end_epoch, not_counted = trainer.on_epoch_end, 0.0

    def keep_and_end_epoch() -> None:
        nonlocal not_counted
        now = time.time()
        seconds = now - options.started - not_counted
        if options.seconds is not None and seconds > options.seconds:
            raise TimeIsOver
        torch.save(trainer.network.state_dict(), options.out / f"{seconds:09.2f}.pt")
        end_epoch()
        not_counted += time.time() - now

    trainer.on_epoch_end = keep_and_end_epoch
    try:
        trainer.run_training()
    except TimeIsOver:
        finish_loaders(trainer)
    shutil.rmtree(results, ignore_errors=True)


def time_it(options: argparse.Namespace) -> dict[str, Any]:
    os.environ[LOADER_WORKERS] = str(options.workers if options.loader else 0)
    os.environ[RESULTS] = str(options.folder / "results_timing")
    set_folders(options.folder)
    seed_everything(0)
    trainer = make_trainer(options.folder, options.small, options.threads)
    seconds = time_iterations(trainer, options.iterations, loader=options.loader)
    shutil.rmtree(options.folder / "results_timing", ignore_errors=True)
    return {"seconds": seconds, "batch": trainer.batch_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("dataset", type=Path)
    preparing.add_argument("folder", type=Path)
    for name in ("train", "time", "keep"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("out", type=Path)
        command.add_argument("--small", action="store_true", help="16 features, batch 2")
        command.add_argument("--iterations", type=int, default=100)
        command.add_argument("--threads", type=int, default=os.cpu_count() or 1)
        command.add_argument("--workers", type=int, default=0, help="of the data loader")
        if name == "time":
            command.add_argument("--loader", action="store_true", help="time its loader as well")
            continue
        command.add_argument("--epochs", type=int, default=6)
        command.add_argument("--seed", type=int, default=0)
        meaning = "of iterations; sets the length" if name == "train" else "when to stop at last"
        command.add_argument("--seconds", type=float, help=meaning)
        if name == "keep":
            command.add_argument(
                "--started", type=float, default=time.time(), help="when the clock began to run"
            )
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    if options.command == "prepare":
        prepare(options.dataset, options.folder)
        return
    if options.command == "keep":
        options.out.mkdir(parents=True, exist_ok=True)
        train_and_keep(options)
        return
    result = train(options) if options.command == "train" else time_it(options)
    options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""Accuracy after training, ours beside nnunetv2's, at equal settings or in equal time.

    python benchmarks/training_accuracy.py settings DATASET FOLDER
    python benchmarks/training_accuracy.py time DATASET FOLDER

Fold 0 of 3d_fullres on the processor, the same cases on both sides; the score is the mean
foreground Dice that each program's own validation (sliding window, mirroring) writes.

`settings`: 16 features, batch 2, 6 epochs of 100 iterations, otherwise the standard plan and
schedule of both (SGD 0.01, momentum 0.99, full augmentation), one training per seed.
`time`: --minutes of wall clock. Ours is `selfseg run --time-budget`: everything from the raw
images to the scores. The peer gets its standard plan and trainer, a schedule that fills the
minutes with training iterations alone (their number from the fastest of five timed ones) and
its planning, preprocessing, loss on unseen patches and validation for nothing. Run it on a
machine that does nothing else.

FOLDER keeps both sides' files; what is there already is not done again. Every training leaves
FOLDER/<kind>_<side>_<seed>.json; `--only ours` or `--only peer` does one side. The summary is
printed and goes to FOLDER/<kind>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from peer_environment import peer_python

from selfseg.domain.plan import Plan, Schedule
from selfseg.io.project import Project

PEER_SCRIPT = Path(__file__).with_name("peer_training.py")
CONFIGURATION, FOLD = "3d_fullres", "0"
EPOCHS, ITERATIONS = 6, 100
FEATURES, BATCH = 16, 2


def selfseg(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "selfseg", *map(str, words)], check=True)


def prepare_peer(dataset: Path, folder: Path, peer_python: Path) -> Path:
    """Its raw, preprocessed and results folder with both plans; done once."""
    home = folder / "peer"
    if not list((home / "preprocessed").glob("*/nnUNetPlansSmall.json")):
        command = [peer_python, PEER_SCRIPT, "prepare", dataset, home]
        subprocess.run([str(word) for word in command], check=True)
    return home


def standard_project(dataset: Path, folder: Path) -> Path:
    """Our project with the standard plan, which no device or time budget has changed."""
    project = folder / "ours"
    if not (project / "plans" / "plain.json").is_file():
        selfseg("plan", dataset, "-p", project)
    return project


def standard_plan(project: Path) -> Plan:
    plan = Project.open(project).read_plan("plain")
    if plan.schedule != Schedule():
        raise SystemExit(f"{project} does not hold the standard plan: delete it")
    return plan


def write_small_plan(
    project: Path,
    name: str,
    autocast: str,
    *,
    epochs: int = EPOCHS,
    iterations: int = ITERATIONS,
) -> Plan:
    """The standard plan with less in it."""
    plan = standard_plan(project)
    configuration = plan.configuration(CONFIGURATION)
    features = configuration.network.features_per_stage
    small = replace(
        configuration,
        batch_size=BATCH,
        network=replace(
            configuration.network,
            features_per_stage=tuple(n * FEATURES // features[0] for n in features),
        ),
    )
    schedule = replace(
        plan.schedule, epochs=epochs, iterations_per_epoch=iterations, validation_iterations=1
    )
    made = replace(
        plan,
        name=name,
        configurations={CONFIGURATION: small},
        recommended=(CONFIGURATION,),
        schedule=schedule,
        autocast=autocast,
    )
    Project.open(project).write_plan(made)
    return made


def ours_at_equal_settings(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    project = standard_project(options.dataset, options.folder)
    name = f"small_{options.autocast}_{seed}"
    if not (project / "plans" / f"{name}.json").is_file():
        write_small_plan(project, name, options.autocast)
    started = time.monotonic()
    chosen = ("-c", CONFIGURATION, "-f", FOLD, "--plan", name)
    selfseg("run", options.dataset, "-p", project, *chosen, "--seed", seed, "--device", "cpu")
    return our_result(project, name, time.monotonic() - started) | {"seed": seed}


def ours_in_equal_time(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """A new project each time: the budget is for everything."""
    project = options.folder / f"ours_in_time_{seed}_{os.getpid()}"
    started = time.monotonic()
    budget = f"{round(60 * options.minutes)}s"
    chosen = ("-c", CONFIGURATION, "-f", FOLD, "--time-budget", budget)
    selfseg("run", options.dataset, "-p", project, *chosen, "--seed", seed, "--device", "cpu")
    seconds = time.monotonic() - started
    (name,) = (path.name for path in (project / "runs").iterdir())
    return our_result(project, name, seconds) | {"seed": seed}


def our_result(project: Path, plan: str, seconds: float) -> dict[str, Any]:
    run = project / "runs" / plan / CONFIGURATION / f"fold_{FOLD}"
    scores = json.loads((run / "validation.json").read_text())
    configuration = json.loads((project / "plans" / f"{plan}.json").read_text())
    configuration = configuration["configurations"][CONFIGURATION]
    return {
        "features": configuration["network"]["features_per_stage"],
        "batch": configuration["batch_size"],
        "patch": configuration["patch_size"],
        "wall_seconds": seconds,
        "cases": sorted(
            Path(case["prediction_file"]).name.split(".")[0] for case in scores["metric_per_case"]
        ),
        "mean_dice": scores["foreground_mean"]["Dice"],
        "dice": {key: value["Dice"] for key, value in scores["mean"].items()},
    }


def peer(options: argparse.Namespace, kind: str, seed: int, out: Path) -> None:
    home = prepare_peer(options.dataset, options.folder, options.peer_python)
    command = [str(options.peer_python), str(PEER_SCRIPT), "train", str(home), str(out)]
    command += ["--seed", str(seed)]
    if kind == "settings":
        # Its loader in the same process, so that the seed decides everything.
        lengths = ["--epochs", str(EPOCHS), "--iterations", str(ITERATIONS)]
        command += ["--small", "--workers", "0", *lengths]
    else:
        workers = str(min(12, os.cpu_count() or 1))  # its own default
        command += ["--workers", workers, "--seconds", str(60 * options.minutes)]
    command += ["--threads", str(options.threads)]
    subprocess.run(command, check=True)


def summarise(results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean and standard error per side, and what is between them."""
    summary: dict[str, Any] = {}
    for side, runs in results.items():
        values = [run["mean_dice"] for run in runs]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        summary[side] = {"mean": statistics.mean(values), "standard_error": error, "runs": runs}
        within = "" if error is None else f" +- {error:.4f} (standard error)"
        listed = ", ".join(f"{value:.4f}" for value in values)
        print(f"{side}: {listed}; mean {statistics.mean(values):.4f}{within}")
    if len(results) == 2:
        ours, theirs = summary["ours"], summary["peer"]
        cases = {tuple(run["cases"]) for runs in results.values() for run in runs}
        if len(cases) != 1:
            raise SystemExit("the two sides validated different cases")
        gap = ours["mean"] - theirs["mean"]
        summary["difference"] = gap
        print(f"ours - peer: {gap:+.4f}", end="")
        if ours["standard_error"] is not None and theirs["standard_error"] is not None:
            error = (ours["standard_error"] ** 2 + theirs["standard_error"] ** 2) ** 0.5
            summary["standard_error_of_difference"] = error
            print(f" +- {error:.4f}", end="")
        print()
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("kind", choices=("settings", "time"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--peer-python", type=Path, help="one that has nnunetv2 2.8.1 (default: set up in .peer)"
    )
    parser.add_argument("--only", choices=("ours", "peer"))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--autocast", default="auto", help="of ours: auto, bfloat16 or off")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the peer")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.only != "ours":
        options.peer_python = peer_python(options.peer_python)
    seeds = options.seeds or ([0, 1, 2] if options.kind == "settings" else [0])
    train_ours = ours_at_equal_settings if options.kind == "settings" else ours_in_equal_time
    results: dict[str, list[dict[str, Any]]] = {}
    for side in ("peer", "ours") if options.only is None else (options.only,):
        for seed in seeds:
            out = options.folder / f"{options.kind}_{side}_{seed}.json"
            if not out.is_file() and side == "peer":
                peer(options, options.kind, seed, out)
            elif not out.is_file():
                out.write_text(json.dumps(train_ours(options, seed), indent=1))
            results.setdefault(side, []).append(json.loads(out.read_text()))
    summary = summarise(results)
    (options.folder / f"{options.kind}.json").write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()

"""Time to a mean foreground Dice of 0.80 and 0.85, ours beside nnunetv2's.

    python benchmarks/time_to_dice.py DATASET FOLDER
    python benchmarks/time_to_dice.py DATASET FOLDER --plan small

Fold 0 of 3d_fullres on all cores of the processor. The clock of both sides starts with the raw
images: fingerprint, plan, preprocessing and the start of every process count.

`--plan own`: what each program does in --minutes. Ours is `selfseg run --time-budget`, which
fits plan and schedule to the processor and the time. The peer's planner knows neither; it gets
its standard plan and trainer, a schedule whose learning rate falls within the minutes (its
length from timed iterations, which do not count), and nothing that it saves or draws counts.
`--plan small`: the same on both sides, 16 features and batch 2, the standard schedule of
--iterations, the learning rate falling in 25 steps, however long that takes.

The weights at the end of every epoch (about every 10 to 30 s) are kept with the seconds that had
gone by. Afterwards they are judged in order and in one way for both sides: our predictor in
float32, without mirroring, on the validation cases' native grids; mean over cases, then
labels. The first that reaches a threshold says the time.

FOLDER keeps what is done (FOLDER/time_to_dice*_<side>_<repetition>.json), so that a stopped
benchmark goes on; `--only` and `--repetition` do a part. The row is written once all of it is
there. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from peer_environment import peer_python
from side_by_side import OURS, PEER, Quantity, Row, add_options, write_row
from training_accuracy import (
    CONFIGURATION,
    FOLD,
    PEER_SCRIPT,
    selfseg,
    standard_plan,
    standard_project,
    write_small_plan,
)

from selfseg.crossvalidate.splits import split_for_fold, splits_of
from selfseg.domain.plan import Plan
from selfseg.io.datasets import open_dataset
from selfseg.io.project import Project

THRESHOLDS = (0.80, 0.85)
EPOCHS_OF_SMALL, EPOCHS_OF_OWN = 25, 20
"""Steps in which the peer's learning rate falls, and moments at which its weights are kept."""

START_SECONDS = 10.0
"""Kept back from the peer's minutes for its imports and its first batch."""

TIMED_ITERATIONS = 8
SIDES = (OURS, PEER)
NAMES = {"own": "time_to_dice", "small": "time_to_dice_small"}
ORDERS = {"own": 32, "small": 33}


def train_ours(options: argparse.Namespace, turn: int, kept: Path) -> dict[str, Any]:
    """As a user does, from raw images in a new project."""
    project = options.folder / f"ours_{options.plan}_{turn}"
    shutil.rmtree(project, ignore_errors=True)
    command = [sys.executable, "-m", "selfseg", "run", options.dataset, "-p", project]
    command += ["-c", CONFIGURATION, "-f", FOLD, "--device", "cpu", "--seed", turn]
    before = 0.0
    if options.plan == "own":
        command += ["--time-budget", f"{round(60 * options.minutes)}s"]
    else:
        began = time.monotonic()
        selfseg("plan", options.dataset, "-p", project)
        before = time.monotonic() - began
        lengths = {"epochs": EPOCHS_OF_SMALL, "iterations": options.iterations // EPOCHS_OF_SMALL}
        write_small_plan(project, "small", "auto", **lengths)
        command += ["--plan", "small"]
    keep_states(command, project / "runs", kept, before)
    (run,) = (project / "runs").glob(f"*/{CONFIGURATION}/fold_{FOLD}")
    plan = run.parents[1].name
    schedule = Project.open(project).read_plan(plan).schedule
    done = f"{schedule.learning_rate:g} learning rate, {schedule.augmentation} augmentation"
    return {"project": project.name, "plan": plan, "schedule": done}


def keep_states(command: Sequence[object], runs: Path, kept: Path, before: float) -> None:
    """Runs a training, and keeps each of its checkpoints as a second link to the same file.

    Ends it once the last weights are written: judging is done later, for both sides alike.

    Args:
        command: of the training.
        runs: where it will make its folder.
        kept: receives <seconds>.pt.
        before: seconds that count but are over.

    Raises:
        SystemExit: it failed.
    """
    log, started, last = kept / "log.txt", time.time() - before, -1
    with log.open("w") as stream:
        process = subprocess.Popen([str(w) for w in command], stdout=stream, stderr=stream)
        finished = False
        while not finished:
            finished = process.poll() is not None
            finished |= bool(list(runs.glob(f"*/*/fold_{FOLD}/weights_final.safetensors")))
            for path in runs.glob(f"*/*/fold_{FOLD}/checkpoint_latest.pt"):
                if path.stat().st_ino != last:
                    link = kept / "link"
                    os.link(path, link)  # stays when the next checkpoint takes the name
                    about = link.stat()
                    last = about.st_ino
                    link.rename(kept / f"{about.st_mtime - started:09.2f}.pt")
            time.sleep(0.1)
        if process.poll() is None:
            process.terminate()
            process.wait()
        elif process.returncode:
            raise SystemExit(f"the training failed:\n{log.read_text()[-3000:]}")


def train_peer(options: argparse.Namespace, turn: int, kept: Path) -> dict[str, Any]:
    """Its trainer, after its planning and preprocessing in a process of their own."""
    home = options.folder / f"peer_{turn}"
    prepared = home / "prepared.json"
    if not prepared.is_file():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        began = time.monotonic()
        run_peer(options, "prepare", options.dataset, home)
        prepared.write_text(json.dumps({"seconds": time.monotonic() - began}))
    before = json.loads(prepared.read_text())["seconds"]
    words: list[object] = ["--workers", min(12, os.cpu_count() or 1)]  # its own default
    epochs, total = EPOCHS_OF_SMALL, options.iterations
    if options.plan == "small":
        words += ["--small"]
    else:
        seconds = 60 * options.minutes
        words += ["--seconds", seconds]
        left = seconds - before - START_SECONDS
        total = max(1, int(left / peer_step_seconds(options, home)))
        epochs = max(1, total // max(1, round(total / EPOCHS_OF_OWN)))
    words += ["--epochs", epochs, "--iterations", total // epochs, "--seed", turn]
    run_peer(options, "keep", home, kept, *words, "--started", time.time() - before)
    done = f"{epochs} epochs of {total // epochs} iterations planned"
    return {"preparation_seconds": before, "schedule": done}


def peer_step_seconds(options: argparse.Namespace, home: Path) -> float:
    """Median of some iterations with its loader; timed once for all repetitions."""
    out = options.folder / "peer_step.json"
    if not out.is_file():
        words = ("--iterations", TIMED_ITERATIONS, "--workers", min(12, os.cpu_count() or 1))
        run_peer(options, "time", home, out, "--loader", *words)
    return statistics.median(json.loads(out.read_text())["seconds"])


def run_peer(options: argparse.Namespace, *words: object) -> None:
    """One command of peer_training.py."""
    command = [str(word) for word in (options.peer_python, PEER_SCRIPT, *words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def plan_of(options: argparse.Namespace, side: str, training: Mapping[str, Any]) -> Plan:
    """What the training's networks look like, in float32."""
    standard = options.folder / "ours"
    if side == OURS:
        plan = Project.open(options.folder / training["project"]).read_plan(training["plan"])
    elif options.plan == "small":
        plan = write_small_plan(standard, "small", "off")
    else:
        plan = standard_plan(standard)
    return replace(plan, autocast="off")


class Judge:
    """Scores states of either side on the fold's validation cases."""

    def __init__(self, options: argparse.Namespace) -> None:
        from selfseg.io.case_store import open_case
        from selfseg.io.images import read_label_map

        project = standard_project(options.dataset, options.folder)
        selfseg("preprocess", "-p", project, "-c", CONFIGURATION, "--plan", "plain")
        self.standard = standard_plan(project)
        dataset = open_dataset(options.dataset)
        names = [case.identifier for case in dataset.cases]
        split = split_for_fold(splits_of(dataset), FOLD, names)
        folder = Project.open(project).preprocessed_folder("plain", CONFIGURATION)
        self.names = split.validation[: options.cases]
        self.cases = [open_case(folder, name).load() for name in self.names]
        self.references = []
        for name in self.names:
            path = dataset.case(name).label
            assert path is not None, "validation cases have references"
            self.references.append(read_label_map(path)[0])

    def curve(self, plan: Plan, side: str, kept: Path) -> Iterator[tuple[float, float]]:
        """Seconds and Dice of the kept states in order, to the last threshold, and of the last."""
        ours, theirs = (p.configuration(CONFIGURATION) for p in (plan, self.standard))
        same = ("spacing", "normalisation", "normalise_in_mask")
        if any(getattr(ours, name) != getattr(theirs, name) for name in same):
            raise SystemExit("the plan preprocesses otherwise than the standard plan")
        states = sorted(kept.glob("*.pt"), key=lambda path: float(path.stem))
        for path in states:
            dice = self.dice(plan, weights_of(path, side))
            yield float(path.stem), dice
            if dice >= THRESHOLDS[-1]:
                break
        else:
            return
        if path != states[-1]:
            yield float(states[-1].stem), self.dice(plan, weights_of(states[-1], side))

    def dice(self, plan: Plan, weights: Mapping[str, Any]) -> float:
        """Mean over cases, then labels; a label that is in neither map does not count."""
        from selfseg.arrays.metrics import count_pairs
        from selfseg.stages.models import torch_backend
        from selfseg.stages.segment import segment_case

        backend = torch_backend(plan, CONFIGURATION, [weights], "cpu")
        labels = plan.description.labels
        found: dict[str, list[float]] = {label.name: [] for label in labels.foreground}
        for case, reference in zip(self.cases, self.references, strict=True):
            predicted = segment_case(case, backend, plan, CONFIGURATION, mirror=False)
            counts = count_pairs(reference, predicted)
            for label in labels.foreground:
                value = counts.overlap(label.values, labels.ignore).dice
                found[label.name] += [] if value is None else [value]
        return statistics.mean(statistics.mean(values) for values in found.values())


def weights_of(path: Path, side: str) -> dict[str, Any]:
    """A kept state's weights by our names."""
    import torch

    from selfseg.network.peer_names import from_peer_names

    state = torch.load(path, map_location="cpu", weights_only=True)
    state = state["network"] if side == OURS else from_peer_names(state)
    return {name: tensor.contiguous().numpy() for name, tensor in state.items()}


def seconds_to(curve: Sequence[Sequence[float]], threshold: float, limit: float) -> float | None:
    """Of the first state that is good enough; None where none is within the limit."""
    reached = [s for s, dice in curve if dice >= threshold and s <= limit]
    return min(reached, default=None)


def row_of(options: argparse.Namespace, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Row:
    """The times, and in words what was not reached."""
    limit = 60 * options.minutes if options.plan == "own" else math.inf
    quantities = []
    for threshold in THRESHOLDS:
        values = {
            side: [seconds_to(one["curve"], threshold, limit) for one in found[side]]
            for side in SIDES
        }
        name = f"to Dice {threshold:.2f}"
        quantities.append(Quantity(name, "s", values[OURS], values[PEER], at_most=1.0))
    within = f"within {options.minutes:g} minutes" if limit < math.inf else "to its end"
    notes = [
        f"{options.dataset.name}, fold 0, {options.cases} validation cases; from raw images: "
        "planning, preprocessing and start-up count on both sides; nnunetv2's saving and drawing "
        "does not",
        "weights of every epoch's end, judged alike: our predictor in float32, no mirroring",
    ]
    words = {OURS: "selfseg", PEER: "nnunetv2"}
    for side in SIDES:
        shapes = {json.dumps(one["network"]) + ", " + one["schedule"] for one in found[side]}
        notes += [f"{words[side]}: {shape}".replace('"', "") for shape in sorted(shapes)]
        for quantity, threshold in zip(quantities, THRESHOLDS, strict=True):
            values = quantity.ours if side == OURS else quantity.peer
            missed = [one for one, value in zip(found[side], values, strict=True) if value is None]
            if missed:
                best = [max(dice for s, dice in one["curve"] if s <= limit) for one in missed]
                text = ", ".join(f"{dice:.3f}" for dice in best)
                notes.append(
                    f"{words[side]} did not reach {threshold:.2f} {within} in {len(missed)} of "
                    f"{len(values)} trainings (best: {text})"
                )
    what = "time to a mean foreground Dice, each with the plan it makes for itself"
    if options.plan == "small":
        what = f"time to a mean foreground Dice, the same small plan, {options.iterations} steps"
    return Row(NAMES[options.plan], ORDERS[options.plan], what, quantities, notes)


def record_path(options: argparse.Namespace, side: str, turn: int) -> Path:
    return options.folder / f"{NAMES[options.plan]}_{side}_{turn}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    add_options(parser)
    parser.add_argument("--plan", choices=tuple(NAMES), default="own")
    parser.add_argument("--minutes", type=float, default=10, help="with --plan own")
    parser.add_argument("--iterations", type=int, default=1000, help="with --plan small")
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--repetition", type=int, help="only this one, counted from 1")
    parser.add_argument("--cases", type=int, default=40, help="validation cases to judge on")
    options = parser.parse_args()
    options.folder, options.dataset = options.folder.resolve(), options.dataset.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.peer_python = None if options.only == OURS else peer_python(options.peer_python)
    turns = range(1, options.repetitions + 1)
    length = f"{options.minutes:g} minutes"
    if options.plan == "small":
        length = f"{options.iterations} iterations"
    todo = []
    for turn in turns if options.repetition is None else (options.repetition,):
        for side in SIDES if turn % 2 else SIDES[::-1]:
            if options.only in (None, side):
                todo.append((side, turn))
    for side, turn in todo:
        path = record_path(options, side, turn)
        if not path.is_file():
            print(f"training {turn} of {side}", flush=True)
            kept = options.folder / path.stem
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir()
            train = train_ours if side == OURS else train_peer
            training = train(options, turn, kept) | {"length": length}
            path.write_text(json.dumps(training, indent=1))
    judge = None
    for side, turn in todo:
        path = record_path(options, side, turn)
        training = json.loads(path.read_text())
        if training["length"] != length:
            raise SystemExit(f"{path} is of another length than {length}: delete it")
        if "curve" in training:
            continue
        judge = judge or Judge(options)
        plan = plan_of(options, side, training)
        curve = []
        for seconds, dice in judge.curve(plan, side, options.folder / path.stem):
            print(f"{side}, training {turn}: {seconds:.1f} s, Dice {dice:.4f}", flush=True)
            curve.append((seconds, dice))
        shape = plan.configuration(CONFIGURATION)
        training["network"] = {
            "features": shape.network.features_per_stage[0],
            "stages": shape.network.stage_count,
            "batch": shape.batch_size,
            "patch": shape.patch_size,
        }
        path.write_text(json.dumps(training | {"curve": curve}, indent=1))
    missing = [
        record_path(options, s, t).name
        for s in SIDES
        for t in turns
        if not record_path(options, s, t).is_file()
    ]
    if missing:
        print(f"no row yet, to be done: {', '.join(missing)}")
        return
    found = {s: [json.loads(record_path(options, s, t).read_text()) for t in turns] for s in SIDES}
    row = write_row(row_of(options, found), options.results, peer_python(options.peer_python))
    content = json.loads(row.read_text())
    content["curves"] = {s: [one["curve"] for one in records] for s, records in found.items()}
    row.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

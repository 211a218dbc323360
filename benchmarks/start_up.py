"""Until a command line answers, the code is imported, and one tiny image is segmented.

    python benchmarks/start_up.py FOLDER [--peer-python PEER/bin/python]

What every call costs however small its work is: `selfseg predict --help`, the import of what
predicts, and the prediction of one image of 16 x 32 x 32 voxels with a network of 4 to 32
features, mirroring included. The peer runs the same weights; the labels are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from inference_sides import (
    CONFIGURATION,
    Task,
    agreement_of,
    compare,
    selfseg,
    train_briefly,
    write_peer_model,
)
from peer_environment import peer_python
from side_by_side import (
    OURS,
    PEER,
    Quantity,
    Row,
    Run,
    add_options,
    alternate,
    write_row,
)

from selfseg.demo.synthetic import make_small_dataset
from selfseg.io.project import Project

DATASET = "Dataset900_Tiny"
SHAPE = (16, 32, 32)
NARROWER = 8
"""Every stage has so many times fewer features than planned."""

ITERATIONS = 300
"""Of the brief training: labels that are no chance of rounding."""

TURNS = 7
LAUNCHER = """
import json, os, sys, time
devnull = os.open(os.devnull, os.O_WRONLY)
began = time.monotonic()
pid = os.posix_spawnp(
    sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, devnull, 1)]
)
_, status, usage = os.wait4(pid, 0)
seconds = time.monotonic() - began
print(json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss]))
"""
"""A small process in between: the kernel counts what a process held before it became another."""


def tiny_task(folder: Path, peer: Path) -> Task:
    """One tiny image, and the same weights for both sides."""
    dataset, project = folder / DATASET, folder / "project"
    if not (dataset / "dataset.json").is_file():
        make_small_dataset(dataset, cases=5, test_cases=1, shape=SHAPE)
    if not (project / "plans" / "plain.json").is_file():
        selfseg("plan", dataset, "-p", project)
    plan = Project.open(project).read_plan("plain")
    configuration = plan.configuration(CONFIGURATION)
    features = tuple(n // NARROWER for n in configuration.network.features_per_stage)
    network = replace(configuration.network, features_per_stage=features)
    plan = replace(
        plan,
        name="tiny",
        configurations={CONFIGURATION: replace(configuration, network=network)},
        recommended=(CONFIGURATION,),
    )
    train_briefly(project, plan, ITERATIONS)
    model = write_peer_model(project, plan, folder, peer)
    return Task(project, plan, model, dataset / "imagesTs", folder, tta=True)


def measure_one_process(side: str, command: Sequence[object]) -> Run:
    """To the millisecond, with the kernel's own count of the peak memory.

    For what is over before `measure` has looked a second time, and starts no process itself.

    Raises:
        SystemExit: it failed.
    """
    environment = dict(os.environ)
    for name in ("raw", "preprocessed", "results"):  # the peer wants them named
        environment.setdefault(f"nnUNet_{name}", tempfile.gettempdir())
    words = [sys.executable, "-S", "-E", "-c", LAUNCHER, *map(str, command)]
    answer = subprocess.run(words, capture_output=True, text=True, env=environment)
    code, seconds, peak = json.loads(answer.stdout) if answer.stdout else (1, 0.0, 0)
    if code:
        raise SystemExit(f"{side} failed:\n{answer.stderr[-3000:]}")
    peak *= 1 if sys.platform == "darwin" else 1024
    return Run(side, seconds, peak, peak)


def quantities(
    name: str, runs: Mapping[str, Sequence[Run]], *, started: bool = False
) -> list[Quantity]:
    """Time and memory of `name`; `started`: also until the prediction itself begins."""
    parts = [
        (f"{name}, wall clock", "s", lambda run: run.seconds),
        (f"{name}, peak memory", "GB", lambda run: run.pss_bytes / 1e9),
    ]
    if started:
        parts.insert(0, (f"{name}, until it begins", "s", lambda run: run.stages.get("start")))
    return [
        Quantity(
            what,
            unit,
            [value(run) for run in runs[OURS]],
            [value(run) for run in runs[PEER]],
            at_most=1.0,
        )
        for what, unit, value in parts
    ]


def main() -> int:
    """Measures the three and writes the row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add_options(parser)
    parser.set_defaults(repetitions=TURNS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    peer = peer_python(options.peer_python)
    commands = {
        "help of predict": {
            OURS: [sys.executable, "-m", "selfseg", "predict", "--help"],
            PEER: [peer.parent / "nnUNetv2_predict", "-h"],
        },
        "import": {
            OURS: [sys.executable, "-c", "import selfseg.pipeline, selfseg.infer.torch_backend"],
            PEER: [peer, "-c", "import nnunetv2.inference.predict_from_raw_data"],
        },
    }
    found: list[Quantity] = []
    for name, sides in commands.items():
        print(name, flush=True)
        found += quantities(
            name,
            alternate(
                {
                    side: lambda side=side, words=words: measure_one_process(side, words)
                    for side, words in sides.items()
                },
                options.repetitions,
            ),
        )
    print("tiny prediction", flush=True)
    compared = compare(tiny_task(options.folder, peer), peer, options.repetitions)
    found += quantities("tiny prediction", compared.runs, started=True)
    found += agreement_of(compared.agreement)
    notes = [
        "Help: `selfseg predict --help` and `nnUNetv2_predict -h`. Import: what predicts, torch "
        "included on both sides. Memory of these two is what the kernel counts as resident at "
        "most.",
        "Tiny prediction: one image of 16 x 32 x 32 voxels, 3d_fullres with 4 to 32 features, the "
        "same weights on both sides.",
    ]
    row = Row("start_up", 60, "start-up", found, notes)
    write_row(row, options.results, peer)
    return 0 if compared.agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())

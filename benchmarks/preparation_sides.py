"""What `planning.py` and `preprocessing.py` share: the commands of both sides, and their folders.

The peer is run by its own console scripts, as its users run it: its worker processes import
the script's module once more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfseg.domain.plan import Plan
from selfseg.io.project import Project

PLAN = "plain"
PEER_PLAN = "nnUNetPlans"
LIKE_OURS = "peer, processes as ours"
"""A third side: the peer told to use one process per core, as we do by ourselves."""


def add_side_options(parser: argparse.ArgumentParser) -> None:
    """Options that both benchmarks have beside the common ones."""
    parser.add_argument(
        "--defaults-only",
        action="store_true",
        help="leave out the turns in which the peer uses as many processes as we do",
    )


def our_command(*words: object) -> list[object]:
    """One verb of our command line."""
    return [sys.executable, "-m", "selfseg", *words]


def peer_command(python: Path, script: str, *words: object) -> list[object]:
    """One of the peer's console scripts, which lie beside its interpreter."""
    return [python.parent / script, *words]


def peer_folders(dataset: Path, folder: Path) -> dict[str, str]:
    """The environment in which the peer reads `dataset` and writes below `folder`."""
    names = {"raw": dataset.resolve().parent, "preprocessed": folder, "results": folder}
    return {f"nnUNet_{name}": str(path.resolve()) for name, path in names.items()}


def peer_number(dataset: Path) -> int:
    """4 for Dataset004_Hippocampus."""
    return int(dataset.name.removeprefix("Dataset")[:3])


def cores() -> int:
    """Those this process may use, which is also how many processes we choose at most."""
    return len(os.sched_getaffinity(0))


def quietly(command: Iterable[object], environment: Mapping[str, str] | None = None) -> None:
    """Runs what is not measured."""
    words = [str(word) for word in command]
    merged = {**os.environ, **(environment or {})}
    done = subprocess.run(words, env=merged, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stderr[-3000:]}")


def emptied(folder: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def our_plan(project: Path) -> Plan:
    """The plan that `selfseg plan` left in a project."""
    return Project.open(project).read_plan(PLAN)


def peer_plan(preprocessed: Path, dataset: Path) -> dict[str, Any]:
    """The peer's plans.json."""
    text = (preprocessed / dataset.name / f"{PEER_PLAN}.json").read_text()
    plan: dict[str, Any] = json.loads(text)
    return plan


def different_decisions(ours: Plan, peer: Mapping[str, Any]) -> list[str]:
    """Where patch, spacing, batch or the configurations themselves are not the same."""
    theirs = {n: c for n, c in peer["configurations"].items() if "patch_size" in c}
    mine = {n: c for n, c in ours.configurations.items() if c.previous_stage is None}
    found = []
    if set(mine) != set(theirs):
        found.append(f"configurations: ours {sorted(mine)}, the peer's {sorted(theirs)}")
    for name in sorted(set(mine) & set(theirs)):
        chosen, other = mine[name], theirs[name]
        for what, one, two in (
            ("patch", list(chosen.patch_size), list(other["patch_size"])),
            ("spacing", [round(v, 6) for v in chosen.spacing], _rounded(other["spacing"])),
            ("batch", chosen.batch_size, other["batch_size"]),
        ):
            if one != two:
                found.append(f"{name}, {what}: ours {one}, the peer's {two}")
    return found


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 6) for value in values]

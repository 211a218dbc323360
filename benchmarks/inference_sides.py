"""What the inference benchmarks share: one model on both sides, its stages, what comes out.

Both sides segment the same files with the same weights, each with its own command line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from inference_peer import COMMAND
from side_by_side import (
    OURS,
    PEER,
    Quantity,
    Row,
    Run,
    alternate,
    measure,
    memory_of,
    seconds_of,
    stage_medians,
)
from side_by_side import add_options as add_common_options

from selfseg.domain.plan import Plan
from selfseg.io.images import read_label_map
from selfseg.io.json_files import write_plain_json
from selfseg.io.nnunet_json import description_to_nnunet
from selfseg.io.nnunet_plans import plan_to_nnunet
from selfseg.io.project import Project
from selfseg.io.weights import read_weights, write_weights

PEER_HALF = Path(__file__).resolve().parent / "inference_peer.py"
FOLD, CONFIGURATION = "all", "3d_fullres"
MOST_TIME, MOST_MEMORY = 0.25, 0.35
"""Targets: ours / peer."""

LEAST_AGREEMENT = 0.999


@dataclass(frozen=True)
class Task:
    """What both sides are given.

    Args:
        project: holds our model.
        plan: of the model.
        peer_model: the same model as a folder of the peer's.
        images: folder with the cases.
        outputs: folder for the label maps; one folder per side is made in it.
        tta: test-time augmentation.
    """

    project: Path
    plan: Plan
    peer_model: Path
    images: Path
    outputs: Path
    tta: bool

    def output(self, side: str) -> Path:
        """Folder for the label maps of a side."""
        return self.outputs / f"out_{side}"


@dataclass(frozen=True)
class Compared:
    """What the turns gave; `agreement` is of the cases that both sides finished."""

    runs: Mapping[str, Sequence[Run]]
    agreement: Mapping[str, float]

    @property
    def agrees(self) -> bool:
        """Whether the labels agree where they can be compared."""
        return not self.agreement or min(self.agreement.values()) >= LEAST_AGREEMENT


def add_options(parser: argparse.ArgumentParser, *, tta: bool = True) -> None:
    """Options of the benchmarks that predict."""
    add_common_options(parser)
    parser.add_argument("--iterations", type=int, default=60, help="of the brief training")
    parser.add_argument("--tta", action=argparse.BooleanOptionalAction, default=tta)


def selfseg(*words: object) -> None:
    """Runs one verb of our command line."""
    subprocess.run([sys.executable, "-m", "selfseg", *map(str, words)], check=True)


def train_briefly(project: Path, plan: Plan, iterations: int) -> None:
    """Weights whose predictions look like segmentations; skipped where they are there."""
    Project.open(project).write_plan(plan)
    words = ("-p", project, "-c", CONFIGURATION, "-f", FOLD, "--plan", plan.name)
    selfseg("train", *words, "--epochs", 1, "--iterations", iterations, "--device", "cpu")


def with_fewer_classes(project: Path, plan: Plan, classes: int) -> Plan:
    """The same weights without the last heads, as a plan and a trained fold of their own."""
    scheme = plan.description.labels
    if classes >= len(scheme.foreground):
        return plan
    labels = replace(scheme, foreground=scheme.foreground[:classes])
    name = f"{plan.name}_{classes}"
    fewer = replace(plan, name=name, description=replace(plan.description, labels=labels))
    home = Project.open(project)
    home.write_plan(fewer)
    source, target = (home.run_folder(p, CONFIGURATION, FOLD) for p in (plan.name, name))
    weights, about = read_weights(source / "weights_final.safetensors")
    kept = {k: v[: classes + 1] if k.startswith("heads.") else v for k, v in weights.items()}
    target.mkdir(parents=True, exist_ok=True)
    write_weights(target / "weights_final.safetensors", kept, about)
    return fewer


def write_peer_plans(project: Path, plan: Plan, folder: Path) -> Path:
    """The peer's dataset.json and plans.json and our settings.json, in the model's folder."""
    model = folder / f"peer_{plan.name}"
    model.mkdir(parents=True, exist_ok=True)
    fingerprint = Project.open(project).read_fingerprint()
    write_plain_json(model / "dataset.json", description_to_nnunet(plan.description))
    write_plain_json(model / "plans.json", plan_to_nnunet(plan, fingerprint))
    settings = {
        "configuration": CONFIGURATION,
        "input_channels": plan.input_channels(CONFIGURATION),
    }
    write_plain_json(model / "settings.json", settings)
    return model


def write_peer_model(project: Path, plan: Plan, folder: Path, peer_python: Path) -> Path:
    """The same model as a folder that nnunetv2 predicts with."""
    model = write_peer_plans(project, plan, folder)
    run = Project.open(project).run_folder(plan.name, CONFIGURATION, FOLD)
    weights = read_weights(run / "weights_final.safetensors")[0]
    np.savez(model / "weights.npz", **weights)
    subprocess.run([peer_python, PEER_HALF, "model", model], check=True)
    return model


def compare(task: Task, peer_python: Path, repetitions: int, *, alone: int = 0) -> Compared:
    """Both sides in turn, each with its own command; then `alone` turns of ours."""
    ours = [sys.executable, "-m", "selfseg", "predict", "--progress", "json"]
    ours += ["-m", str(task.project), "--plan", task.plan.name, "-c", CONFIGURATION]
    ours += ["--folds", FOLD, "-i", str(task.images), "-o", str(task.output(OURS))]
    ours += ["--device", "cpu", *([] if task.tta else ["--no-tta"])]
    peer = [str(peer_python), "-c", COMMAND, "-i", str(task.images), "-o", str(task.output(PEER))]
    peer += ["-m", str(task.peer_model), "-f", "0", "-device", "cpu", "--disable_progress_bar"]
    peer += [] if task.tta else ["--disable_tta"]

    def turn(side: str, command: Sequence[str], stages: Callable[..., dict[str, float]]) -> Run:
        shutil.rmtree(task.output(side), ignore_errors=True)
        task.output(side).mkdir(parents=True)
        return measure(side, command, stages=stages)

    sides = {
        OURS: lambda: turn(OURS, ours, our_stages),
        PEER: lambda: turn(PEER, peer, peer_stages),
    }
    runs = alternate(sides, repetitions)
    runs[OURS] += alternate({OURS: sides[OURS]}, alone)[OURS]
    both = repetitions > 0
    agreement = label_agreement(task.output(OURS), task.output(PEER)) if both else {}
    return Compared(runs, agreement)


def row_of(name: str, order: int, what: str, found: Compared, notes: Sequence[str] = ()) -> Row:
    """Time, memory and agreement, with the targets of inference; stages in the notes."""
    quantities = [
        seconds_of(found.runs, at_most=MOST_TIME),
        memory_of(found.runs, at_most=MOST_MEMORY),
    ]
    quantities += agreement_of(found.agreement)
    return Row(name, order, what, quantities, (*notes, *stage_medians(found.runs)))


def agreement_of(agreement: Mapping[str, float]) -> list[Quantity]:
    """The least share of equal labels over the cases; nothing where none could be compared."""
    if not agreement:
        print("no case in which either side found a structure: train for more --iterations")
        return []
    least = min(agreement.values())
    return [Quantity("least label agreement", "", [round(least, 6)], least=LEAST_AGREEMENT)]


def our_stages(lines: Sequence[tuple[float, str]], seconds: float) -> dict[str, float]:
    """Seconds from the progress events: slices are restored while tiles are predicted."""
    events = [(when, json.loads(text)) for when, text in lines if text.startswith("{")]
    tiles = [when for when, event in events if "eta_seconds" in event]
    begun = [when for when, event in events if event.get("unit") == "case"]
    if not tiles or not begun:
        return {}
    return {
        "start": begun[0],
        "read, preprocess": tiles[0] - begun[0],
        "predict, restore": tiles[-1] - tiles[0],
        "last slices, write, end": seconds - tiles[-1],
    }


def peer_stages(lines: Sequence[tuple[float, str]], seconds: float) -> dict[str, float]:
    """Seconds from its messages; export goes on beside the prediction of further cases."""
    begun = [when for when, text in lines if text.startswith("There are")]
    predicting = [when for when, text in lines if text.startswith("Predicting")]
    sent = [when for when, text in lines if text.startswith("sending off")]
    if not begun or not predicting or not sent:
        return {}
    return {
        "start": begun[0],
        "read, preprocess": predicting[0] - begun[0],
        "predict": sent[-1] - predicting[0],
        "restore, write, end": seconds - sent[-1],
    }


def label_agreement(ours: Path, theirs: Path) -> dict[str, float]:
    """Share of voxels with the same label, case by case, of cases that both have.

    Without those in which neither found anything: equal emptiness says nothing.
    """
    shares = {}
    for path in sorted(ours.glob("*.nii.gz")):
        if (theirs / path.name).is_file():
            first, second = read_label_map(path)[0], read_label_map(theirs / path.name)[0]
            share = float((first == second).mean())
            structures = len(np.unique(first)) - 1, len(np.unique(second)) - 1
            print(f"{path.name}: agreement {share:.5f}, structures {structures}")
            if max(structures) > 0:
                shares[path.name] = share
    return shares

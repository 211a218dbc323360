"""What the inference benchmarks share: one model on both sides, runs with time and memory.

Both sides segment the same files with the same weights, each with its own command line, in turn
and in alternating order. Memory is that of the whole process tree, sampled every tenth of a
second: `rss` counts what processes share once for each, `pss` once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from inference_peer import COMMAND

from selfseg.domain.plan import Plan
from selfseg.io.images import read_label_map
from selfseg.io.json_files import write_plain_json
from selfseg.io.nnunet_json import description_to_nnunet
from selfseg.io.nnunet_plans import plan_to_nnunet
from selfseg.io.project import Project
from selfseg.io.weights import read_weights, write_weights

HERE = Path(__file__).resolve().parent
FOLD, CONFIGURATION = "all", "3d_fullres"
SAMPLING_SECONDS = 0.1


@dataclass(frozen=True)
class Run:
    """One measured command; bytes are the peak over the process tree."""

    side: str
    seconds: float
    rss_bytes: int
    pss_bytes: int
    stages: dict[str, float]
    survived: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of both benchmarks."""
    parser.add_argument("folder", type=Path, help="keeps data and models for the next run")
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60, help="of the brief training")
    parser.add_argument("--tta", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only", choices=("ours", "peer"))
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--most-gb", type=float, help="stop a side that takes more (default: what is free now)"
    )


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


def write_peer_model(project: Path, plan: Plan, folder: Path, peer_python: Path) -> Path:
    """The same model as a folder that nnunetv2 predicts with."""
    model = folder / f"peer_{plan.name}"
    model.mkdir(parents=True, exist_ok=True)
    home = Project.open(project)
    run = home.run_folder(plan.name, CONFIGURATION, FOLD)
    weights = read_weights(run / "weights_final.safetensors")[0]
    np.savez(model / "weights.npz", **weights)
    write_plain_json(model / "dataset.json", description_to_nnunet(plan.description))
    write_plain_json(model / "plans.json", plan_to_nnunet(plan, home.read_fingerprint()))
    settings = {
        "configuration": CONFIGURATION,
        "input_channels": plan.input_channels(CONFIGURATION),
    }
    write_plain_json(model / "settings.json", settings)
    subprocess.run([str(peer_python), str(HERE / "inference_peer.py"), str(model)], check=True)
    return model


def compare(
    options: argparse.Namespace, project: Path, plan: Plan, images: Path, peer_model: Path
) -> bool:
    """Runs both sides in turn, prints the table; True where the labels agree."""
    outputs = {side: options.folder / f"out_{side}" for side in ("ours", "peer")}
    ours = [sys.executable, "-m", "selfseg", "predict", "--progress", "json"]
    ours += ["-m", str(project), "--plan", plan.name, "-c", CONFIGURATION, "--folds", FOLD]
    ours += ["-i", str(images), "-o", str(outputs["ours"]), "--device", "cpu"]
    ours += [] if options.tta else ["--no-tta"]
    peer = [str(options.peer_python), "-c", COMMAND, "-i", str(images), "-o", str(outputs["peer"])]
    peer += ["-m", str(peer_model), "-f", "0", "-device", "cpu", "--disable_progress_bar"]
    peer += [] if options.tta else ["--disable_tta"]
    sides: dict[str, tuple[list[str], Callable[..., dict[str, float]]]] = {
        "ours": (ours, our_stages),
        "peer": (peer, peer_stages),
    }
    limit = options.most_gb * 1e9 if options.most_gb else psutil.virtual_memory().available - 1e9
    runs: list[Run] = []
    for turn in range(options.repetitions):
        order = ("ours", "peer") if turn % 2 == 0 else ("peer", "ours")
        for side in order:
            if options.only not in (None, side):
                continue
            command, stages = sides[side]
            shutil.rmtree(outputs[side], ignore_errors=True)
            outputs[side].mkdir(parents=True)
            run = measure(side, command, stages, limit)
            runs.append(run)
            print(line_of(run), flush=True)
    agreement = label_agreement(outputs["ours"], outputs["peer"]) if options.only is None else {}
    summary = summarise(runs, agreement)
    if options.json:
        content = {"summary": summary, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return not agreement or min(agreement.values()) >= 0.999


def measure(
    side: str, command: Sequence[str], stages: Callable[..., dict[str, float]], limit: float
) -> Run:
    """Runs a command to its end, or to the limit of memory."""
    lines: list[tuple[float, str]] = []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for name in ("raw", "preprocessed", "results"):  # the peer wants them named
        environment.setdefault(f"nnUNet_{name}", tempfile.gettempdir())
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    errors: list[str] = []
    readers = [
        threading.Thread(target=_collect, args=(process.stdout, lines, started)),
        threading.Thread(target=lambda: errors.extend(process.stderr or [])),
    ]
    for reader in readers:
        reader.start()
    rss = pss = 0
    survived = True
    while process.poll() is None:
        now_rss, now_pss = tree_memory(process.pid)
        rss, pss = max(rss, now_rss), max(pss, now_pss)
        if now_pss > limit and survived:
            survived = False
            _stop(process.pid)
        time.sleep(SAMPLING_SECONDS)
    seconds = time.monotonic() - started
    for reader in readers:
        reader.join()
    if process.returncode != 0 and survived:
        text = "".join(errors)
        survived = "memory" not in text
        if survived:
            raise SystemExit(f"{side} failed:\n{text[-3000:]}")
    return Run(side, seconds, rss, pss, stages(lines, seconds), survived)


def tree_memory(root: int) -> tuple[int, int]:
    """Bytes of a process and all below it: resident, and shared pages counted once."""
    rss = pss = 0
    try:
        parent = psutil.Process(root)
        for process in (parent, *parent.children(recursive=True)):
            try:
                memory = process.memory_full_info()
            except psutil.Error:
                continue
            rss, pss = rss + memory.rss, pss + getattr(memory, "pss", memory.rss)
    except psutil.Error:
        pass
    return rss, pss


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
        "write, end": seconds - tiles[-1],
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
    """Share of voxels with the same label, case by case, of cases that both have."""
    shares = {}
    for path in sorted(ours.glob("*.nii.gz")):
        if (theirs / path.name).is_file():
            first, second = read_label_map(path)[0], read_label_map(theirs / path.name)[0]
            shares[path.name] = float((first == second).mean())
            structures = len(np.unique(first)) - 1, len(np.unique(second)) - 1
            print(f"{path.name}: agreement {shares[path.name]:.5f}, structures {structures}")
    return shares


def summarise(runs: Sequence[Run], agreement: dict[str, float]) -> dict[str, Any]:
    """Prints medians and ratios."""
    of = {side: [run for run in runs if run.side == side] for side in ("ours", "peer")}
    summary: dict[str, Any] = {}
    for name in ("seconds", "rss_bytes", "pss_bytes"):
        values = {s: statistics.median(getattr(r, name) for r in rs) for s, rs in of.items() if rs}
        summary[name] = values
        if len(values) == 2:
            summary[f"{name}_ratio"] = values["ours"] / values["peer"]
    for side, some in of.items():
        if some:
            names = list(some[-1].stages)
            stages = {n: statistics.median(r.stages.get(n, 0.0) for r in some) for n in names}
            summary[f"stages_{side}"] = stages
            print(f"{side}: " + ", ".join(f"{n} {s:.1f} s" for n, s in stages.items()))
        if not all(run.survived for run in some):
            print(f"{side} died of memory: its time and memory are those until then")
    if agreement:
        summary["agreement_least"] = min(agreement.values())
        print(f"label agreement: least {min(agreement.values()):.5f} of {len(agreement)} cases")
    for name, unit, scale in (
        ("seconds", "s", 1),
        ("rss_bytes", "GB", 1e9),
        ("pss_bytes", "GB", 1e9),
    ):
        values = summary[name]
        text = ", ".join(f"{s} {v / scale:.2f} {unit}" for s, v in values.items())
        ratio = summary.get(f"{name}_ratio")
        print(f"{name}: {text}" + (f", ratio {ratio:.3f}" if ratio is not None else ""))
    return summary


def line_of(run: Run) -> str:
    """One run on one line."""
    memory = f"{run.rss_bytes / 1e9:.2f} GB rss, {run.pss_bytes / 1e9:.2f} GB pss"
    return f"{run.side}: {run.seconds:.1f} s, {memory}" + ("" if run.survived else ", DIED")


def _collect(stream: Any, lines: list[tuple[float, str]], started: float) -> None:
    for text in stream:
        lines.append((time.monotonic() - started, text.strip()))


def _stop(root: int) -> None:
    parent = psutil.Process(root)
    for process in (*parent.children(recursive=True), parent):
        try:
            process.kill()
        except psutil.Error:
            continue

"""Hundreds of requests through one warm worker, many of them cancelled, and the worker killed.

    python benchmarks/soak.py FOLDER --requests 500

A tiny model, as one fold and as two (which is another model to the worker), segments a small and
a larger image, as files and as plain arrays, in random order. Four of ten requests are cancelled at
a random moment. In the last fifth of the requests the worker is killed (signal 9) at a random
moment of every fourth. FOLDER must not exist.

After each request the memory, threads and open files of the worker are read, and those of this
process, its client. Printed is how the worker's memory grows per 100 requests: the slope of a
straight line through the samples of its first life without the first tenth, with the interval
that holds 95% of the slopes of 2000 moving-block bootstrap samples (blocks of 20 requests, as
neighbouring samples are alike).

Everything must be answered as it should: whoever was not cancelled or killed has the label map
that an undisturbed request gave, to the last bit. No process may be left, no file in the worker's
temporary folder, none in the folder of the outputs but these; and neither threads nor open files
may grow, in worker or client. The last line is JSON; the exit status is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled
from selfseg.domain.geometry import Geometry
from selfseg.io.images import read_image, read_label_map, write_label_map
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.network.unet import build_network
from selfseg.serve.client import WorkerClient, worker_command
from selfseg.serve.messages import Grid, ModelKey
from selfseg.serve.restarts import Patience
from selfseg.serve.tasks import WorkerFailed, WorkerTask

CANCELLED, KILLED_EVERY, KILLING_FROM = 0.4, 4, 0.8
BLOCK, RESAMPLED = 20, 2000


@dataclass(frozen=True)
class Sample:
    """What a process holds after a request."""

    life: int
    memory: int
    threads: int
    files: int


@dataclass
class Soak:
    """The requests, what they gave, and what was seen of worker and client."""

    folder: Path
    client: WorkerClient
    models: tuple[ModelKey, ...]
    images: tuple[tuple[Path, Grid | None], ...]
    chance: random.Random
    expected: dict[tuple[int, int], np.ndarray[Any, Any]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    worker: list[Sample] = field(default_factory=list)
    own: list[Sample] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)
    seconds: dict[tuple[int, int], float] = field(default_factory=dict)
    """Of undisturbed requests, by model and image."""

    @property
    def output(self) -> Path:
        """Folder of the label maps."""
        return self.folder / "out"

    def undisturbed(self) -> None:
        """Every model on every image, for the label maps to compare with."""
        for model in range(len(self.models)):
            for image in range(len(self.images)):
                for _ in range(2):  # the first has to load the model
                    began = time.monotonic()
                    task, path = self.ask(model, image, f"expected_{model}_{image}")
                    self.client.wait(task, interval=0.002)
                    task.result()
                    self.seconds[model, image] = time.monotonic() - began
                self.expected[model, image] = labels_of(path)
                path.unlink()

    def ask(self, model: int, image: int, name: str) -> tuple[WorkerTask, Path]:
        """Asks for a label map of that name."""
        source, grid = self.images[image]
        path = self.output / f"{name}{'.nii.gz' if grid is None else '.npy'}"
        task = self.client.segment(
            self.models[model], [source], path, grid=grid, mirror=image == 0, step=0.5
        )
        return task, path

    def request(self, number: int, *, killing: bool) -> None:
        """One request with its fate, and the samples after it."""
        model, image = self.chance.randrange(len(self.models)), self.chance.randrange(3)
        task, path = self.ask(model, image, f"case_{number:04d}")
        killed = killing and number % KILLED_EVERY == 0
        cancelled = not killed and self.chance.random() < CANCELLED
        share = 0.5 if killed else 1.0  # later it may be too late
        moment = time.monotonic() + self.chance.uniform(0, share * self.seconds[model, image])
        if killed or cancelled:
            while time.monotonic() < moment and not task.done:
                self.client.poll()
                time.sleep(0.002)
        if cancelled:
            self.client.cancel(task)
        process = self.client.process_id
        if killed and process is not None and not task.done:
            os.kill(process, signal.SIGKILL)
        self.client.wait(task, interval=0.002)
        self.judge(task, path, model, image, was_killed=killed)
        self.sample()

    def judge(
        self, task: WorkerTask, path: Path, model: int, image: int, *, was_killed: bool
    ) -> None:
        """Whether the answer is one that this request may have."""
        if task.error is None:
            self.counts["finished"] += 1
            if not np.array_equal(labels_of(path), self.expected[model, image]):
                self.wrong.append(f"{path.name} differs")
            path.unlink()
        elif isinstance(task.error, Cancelled):
            self.counts["cancelled"] += 1
        elif isinstance(task.error, WorkerFailed) and was_killed:
            self.counts["killed"] += 1
        else:
            self.wrong.append(f"{path.name}: {task.error}")

    def sample(self) -> None:
        """Looks at worker and client."""
        number = self.client.process_id
        if number is not None:
            if number not in self.lives:
                self.lives.append(number)
            life = self.lives.index(number)
            try:
                self.worker.append(look_at(psutil.Process(number), life))
            except psutil.Error:  # it was killed this moment
                return
        self.own.append(look_at(psutil.Process(), 0))
        children = psutil.Process().children(recursive=True)
        more = [child.pid for child in children if child.pid != self.client.process_id]
        if more:
            self.wrong.append(f"processes {more} beside the worker")


def look_at(process: psutil.Process, life: int) -> Sample:
    with process.oneshot():
        files = process.num_fds() if os.name == "posix" else process.num_handles()
        return Sample(life, process.memory_info().rss, process.num_threads(), files)


def labels_of(path: Path) -> np.ndarray[Any, Any]:
    return np.load(path) if path.suffix == ".npy" else np.array(read_label_map(path)[0])


def make_project(folder: Path) -> Path:
    """A project with two folds of a fresh network of 4 features that count as trained."""
    data = make_small_dataset(folder / "data", cases=3)
    home = folder / "project"
    plan = pipeline.plan(data, home, workers=1)
    full = plan.configuration("3d_fullres")
    features = tuple(4 * 2**stage for stage in range(full.network.stage_count))
    network = replace(full.network, features_per_stage=features)
    configurations = {"3d_fullres": replace(full, network=network)}
    plan = replace(plan, configurations=configurations, recommended=("3d_fullres",))
    project = Project.open(home)
    project.write_plan(plan)
    for fold in ("0", "1"):
        torch.manual_seed(int(fold))
        module = build_network(network, 1, plan.description.labels.head_count)
        weights = {name: value.numpy() for name, value in module.state_dict().items()}
        path = project.run_folder(plan.name, "3d_fullres", fold) / "weights_final.safetensors"
        write_weights(path, weights, {})
    return home


def make_images(folder: Path) -> tuple[tuple[Path, Grid | None], ...]:
    """A small image file, a larger one, and the larger one as a plain array."""
    small = next((folder / "data" / "imagesTr").iterdir())
    large = folder / "large.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 200, (24, 72, 72), dtype=np.int32)
    write_label_map(large, voxels, Geometry(voxels.shape, (1.6, 1.0, 1.0)))
    array, geometry = read_image(large)
    np.save(folder / "large.npy", array)
    grid = Grid(geometry.spacing, geometry.origin, geometry.direction)
    return (small, None), (large, None), (folder / "large.npy", grid)


def slope(memory: list[int], seed: int = 0) -> tuple[float, float, float]:
    """MB per 100 requests: of the line through all samples, and its 95% interval."""
    values = np.array(memory) / 1e6
    steps = np.arange(len(values))
    fitted = np.polyfit(steps, values, 1)
    left, chance = values - np.polyval(fitted, steps), np.random.default_rng(seed)
    width = min(BLOCK, len(values) // 2)
    found = []
    for _ in range(RESAMPLED):
        firsts = chance.integers(0, len(values) - width + 1, -(-len(values) // width))
        noise = np.concatenate([left[first : first + width] for first in firsts])[: len(values)]
        found.append(np.polyfit(steps, np.polyval(fitted, steps) + noise, 1)[0])
    low, high = np.quantile(found, (0.025, 0.975))
    return float(100 * fitted[0]), float(100 * low), float(100 * high)


def growth(samples: list[Sample], name: str) -> int:
    """By how much the most of the second half is above the most of the first."""
    values = [getattr(sample, name) for sample in samples]
    half = len(values) // 2
    return int(max(values[half:]) - max(values[:half]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    folder = options.folder.resolve()
    temporary = folder / "tmp"
    for place in (temporary, folder / "out"):
        place.mkdir()
    project = str(make_project(folder))
    models = tuple(ModelKey(project, folds=folds, device="cpu") for folds in (("0",), ("0", "1")))
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    images = make_images(folder)
    before = look_at(psutil.Process(), 0)
    client = WorkerClient(
        worker_command(sys.executable, "--cache", "200MB"),
        environment={**os.environ, **threads},
        patience=Patience(restart=0.01),
    )
    began = time.monotonic()
    with client:
        soak = Soak(folder, client, models, images, random.Random(options.seed))  # noqa: S311
        soak.undisturbed()
        for number in range(options.requests):
            soak.request(number, killing=number >= KILLING_FROM * options.requests)
            if (number + 1) % 100 == 0:
                print(f"{number + 1}: {dict(soak.counts)}, {soak.worker[-1]}", flush=True)
    wrong = soak.wrong
    after = look_at(psutil.Process(), 0)
    until = time.monotonic() + 3
    while after.threads > before.threads and time.monotonic() < until:  # the last may be ending
        time.sleep(0.1)
        after = look_at(psutil.Process(), 0)
    first = [sample for sample in soak.worker if sample.life == 0]
    steady = first[len(first) // 10 :]
    wrong += [f"worker's {name} grow" for name in ("threads", "files") if growth(first, name) > 0]
    wrong += [
        f"the client's {name} grow" for name in ("threads", "files") if growth(soak.own, name) > 0
    ]
    wrong += [f"left: process {child.pid}" for child in psutil.Process().children(recursive=True)]
    wrong += [f"left: {path.name}" for path in (*temporary.iterdir(), *soak.output.iterdir())]
    if after.threads > before.threads or after.files > before.files:
        wrong.append(f"the client had {before}, and has {after}")
    mean, low, high = slope([sample.memory for sample in steady])
    print(
        f"worker's memory: {mean:+.2f} MB per 100 requests (95%: {low:+.2f} to {high:+.2f}), from "
        f"{steady[0].memory / 1e6:.0f} to {steady[-1].memory / 1e6:.0f} MB over {len(steady)} "
        f"requests; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    print(
        json.dumps(
            {
                "requests": options.requests,
                **soak.counts,
                "workers": len(soak.lives),
                "minutes": round((time.monotonic() - began) / 60, 1),
                "mb_per_100_requests": [round(value, 3) for value in (mean, low, high)],
                "worker_mb": [round(s.memory / 1e6, 1) for s in (steady[0], steady[-1])],
                "worker_threads": [first[len(first) // 10].threads, first[-1].threads],
                "worker_files": [first[len(first) // 10].files, first[-1].files],
                "client_mb": [round(s.memory / 1e6, 1) for s in (soak.own[0], soak.own[-1])],
                "client_threads": [before.threads, after.threads],
                "client_files": [before.files, after.files],
                "wrong": wrong,
            }
        )
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

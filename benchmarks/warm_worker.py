"""How soon a warm worker predicts, how soon it stops, and what a new process costs beside it.

    python benchmarks/warm_worker.py DATASET FOLDER

The standard plan of 3d_fullres with a fresh network, which is as fast as a trained one, on the
processor; the first training image. Printed are, each as median and range,

- new process: `selfseg predict`, start to end;
- first request: of a new worker, to the first batch of tiles, the import of torch included;
- further requests: to the first batch of tiles as the client hears of it (reading and
  preprocessing included), and to the end;
- the same image as a plain array, read from a folder in memory where there is one;
- cancel: from the call to the answer, at random moments of a request with mirroring; and of those
  the ones that came while the network ran;
- memory of the worker before and after the cancels;
- calls: the longest that each method of the client has held up its caller.

FOLDER keeps the project. The machine's load is printed, as other programs slow everything down.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from selfseg import pipeline
from selfseg.io.images import read_image
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.network.unet import build_network
from selfseg.serve.client import WorkerClient, worker_command
from selfseg.serve.messages import Grid, ModelKey, StatusReport
from selfseg.serve.tasks import WorkerTask

CONFIGURATION, FOLD = "3d_fullres", "0"


def prepare(dataset: Path, folder: Path) -> Path:
    """A project whose fold 0 counts as trained."""
    project = folder / "project"
    if not (project / "plans").is_dir():
        pipeline.plan(dataset, project)
    home = Project.open(project)
    plan = home.read_plan()
    path = home.run_folder(plan.name, CONFIGURATION, FOLD) / "weights_final.safetensors"
    if not path.is_file():
        network = build_network(
            plan.configuration(CONFIGURATION).network,
            plan.input_channels(CONFIGURATION),
            plan.description.labels.head_count,
        )
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
        write_weights(path, weights, {})
    return project


def timed(client: WorkerClient, ask: Callable[[Any], WorkerTask]) -> tuple[float, float]:
    """Seconds to the first batch of tiles, and to the answer."""
    began = time.perf_counter()
    predicting: list[float] = []

    def on_event(event: Any) -> None:
        if event["event"] == "stage_started" and event["stage"] == "predict":
            predicting.append(time.perf_counter() - began)

    task = ask(on_event)
    client.wait(task, interval=0.001)
    task.result()
    return predicting[0], time.perf_counter() - began


def show(title: str, values: list[float]) -> None:
    middle = statistics.median(values)
    print(f"{title:42} {middle:7.3f} s  ({min(values):.3f} to {max(values):.3f})", flush=True)


class Timed:
    """A client whose calls are timed: none may hold up a user interface."""

    METHODS = ("start", "submit", "poll", "cancel", "end_now")

    def __init__(self, client: WorkerClient) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in self.METHODS}
        for name in self.METHODS:
            setattr(client, name, self._timed(name, getattr(client, name)))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **more)
            finally:
                self.seconds[name].append(time.perf_counter() - began)

        return call

    def show(self) -> None:
        """Prints the longest and the usual time of each method."""
        print("longest calls:", end="")
        for name, found in self.seconds.items():
            if found:
                most, usual = max(found) * 1000, statistics.median(found) * 1000
                print(f"  {name} {most:.1f} ms (median {usual:.3f} of {len(found)})", end="")
        print()


def memory_of(client: WorkerClient) -> float:
    status = client.status()
    client.wait(status)
    report = status.result()
    assert isinstance(report, StatusReport)
    return report.memory_bytes / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--cancels", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1, help="runs of `selfseg predict`")
    options = parser.parse_args()
    project = prepare(options.dataset, options.folder)
    image = next(path for path in sorted((options.dataset / "imagesTr").iterdir()))
    output = options.folder / "out"
    key = ModelKey(os.path.abspath(project), configurations=(CONFIGURATION,), device="cpu")
    print(f"{image.name}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")

    seconds = []
    words = ["predict", "-m", str(project), "-i", str(image), "-o", str(output), "--no-tta"]
    words += ["-c", CONFIGURATION, "--device", "cpu"]
    for _ in range(options.processes):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "selfseg", *words], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    if seconds:
        show("new process, start to end", seconds)

    with WorkerClient(worker_command(sys.executable)) as client:
        timed_calls = Timed(client)
        client.start()

        def ask(on_event: Any) -> WorkerTask:
            return client.segment(
                key, [image], output / "case.nii.gz", mirror=False, on_event=on_event
            )

        predicting, end = timed(client, ask)
        show("first request, to the first tiles", [predicting])
        show("first request, to the end", [end])
        both = [timed(client, ask) for _ in range(options.requests)]
        show("further requests, to the first tiles", [first for first, _ in both])
        show("further requests, to the end", [end for _, end in both])

        voxels, geometry = read_image(image)
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108
        with tempfile.TemporaryDirectory(dir=memory) as exchange:
            np.save(f"{exchange}/image.npy", voxels)
            grid = Grid(geometry.spacing, geometry.origin, geometry.direction)
            both = [
                timed(
                    client,
                    lambda on_event: client.segment(
                        key,
                        [f"{exchange}/image.npy"],
                        f"{exchange}/labels.npy",
                        grid=grid,
                        mirror=False,
                        on_event=on_event,
                    ),
                )
                for _ in range(options.requests)
            ]
        show("plain arrays, to the first tiles", [first for first, _ in both])
        show("plain arrays, to the end", [end for _, end in both])

        chance = random.Random(0)  # noqa: S311
        before = memory_of(client)
        waited, computing = [], []
        for _ in range(options.cancels):
            told: list[Any] = []
            task = client.segment(key, [image], output / "cancelled.nii.gz", on_event=told.append)
            until = time.perf_counter() + chance.uniform(0, both[0][1] * 4)
            while time.perf_counter() < until and not task.done:
                client.poll()
                time.sleep(0.001)
            began = time.perf_counter()
            client.cancel(task)
            client.wait(task, interval=0.001)
            if task.error is not None:
                waited.append(time.perf_counter() - began)
                if any(event["event"] == "progress" for event in told):
                    computing.append(waited[-1])
        show(f"cancel, {len(waited)} times", waited)
        if computing:
            show(f"of these while the network ran, {len(computing)}", computing)
        print(f"memory {before:.0f} MB before, {memory_of(client):.0f} MB after the cancels")
        client.end_now()
        timed_calls.show()


if __name__ == "__main__":
    main()

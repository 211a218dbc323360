"""Samples per second of both families of augmentation, and of nnunetv2's transforms.

    python benchmarks/augmentation.py [--peer-python PEER/bin/python] [--device cuda] [--json FILE]

Samples are read from made cases in memory and changed by the full policy. Everything has one
thread; rounds of all take turns, and the best round counts. Times are processor time, so that
other work on the machine hardly disturbs them; on a graphics card the device's part is wall
clock. `read` is what a worker still does for the device. `--peer-python` is the interpreter of an
environment with nnunetv2 2.8.1; its loader's crops and transforms are timed, without the copies of
the labels at lower resolution that our loss makes itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.train.augment import POLICIES
from selfseg.train.augment.choose import choose_family
from selfseg.train.batches import BatchMaker
from selfseg.train.sampling import CasesInMemory

BATCH_SIZE, BATCHES = 2, 24

SETUPS: Mapping[str, dict[str, Any]] = {
    "hippocampus": {"patch": (40, 56, 40), "spacing": (1.0, 1.0, 1.0), "channels": 1, "labels": 2},
    "3D, 4 channels": {"patch": (96, 96, 96), "spacing": (1.0,) * 3, "channels": 4, "labels": 3},
    "slice-wise": {"patch": (16, 160, 160), "spacing": (5.0, 1.0, 1.0), "channels": 1, "labels": 1},
    "2D": {"patch": (256, 256), "spacing": (1.0, 1.0), "channels": 1, "labels": 3},
}

PEER = """
import sys, time
from types import SimpleNamespace
import numpy as np, torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
folder, patch, count = sys.argv[1], [int(n) for n in sys.argv[2].split(",")], int(sys.argv[3])
torch.set_num_threads(1)
image, labels = np.load(folder + "/image.npy"), np.load(folder + "/labels.npy")[None]
trainer = SimpleNamespace(
    configuration_manager=SimpleNamespace(patch_size=patch), print_to_log_file=lambda *_: None
)
rotation, flat, wide, axes = (
    nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(trainer)
)
transforms = nnUNetTrainer.get_training_transforms(
    patch, rotation, None, axes, flat, use_mask_for_norm=[False] * len(image)
)
wide = [1] * (3 - len(patch)) + [int(n) for n in wide]
def sample():
    start = [np.random.randint(-max(0, w - n) // 2, max(n - w, 0) + 1)
             for n, w in zip(image.shape[1:], wide)]
    box = [[a, a + w] for a, w in zip(start, wide)]
    data = torch.from_numpy(crop_and_pad_nd(image, box, 0)).float()
    target = torch.from_numpy(crop_and_pad_nd(labels, box, -1)).to(torch.int16)
    if len(patch) == 2:
        data, target = data[:, 0], target[:, 0]
    with torch.no_grad():
        return transforms(image=data, segmentation=target)
for _ in range(20):
    sample()
print("ready", flush=True)
for _ in sys.stdin:
    began = time.process_time()
    for _ in range(count):
        sample()
    print((time.process_time() - began) / count, flush=True)
"""


@dataclass
class MadeCase:
    """Balls of several labels in noise, in memory."""

    identifier: str
    image: np.ndarray
    labels: np.ndarray
    foreground: dict[tuple[int, ...], np.ndarray]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (Z, Y, X)."""
        z, y, x = self.labels.shape
        return z, y, x

    @property
    def channel_count(self) -> int:
        """C."""
        return len(self.image)

    def read_image(self, start: Any, stop: Any) -> Any:
        """(C, z, y, x)."""
        return self.image[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]

    def read_labels(self, start: Any, stop: Any) -> Any:
        """(z, y, x)."""
        return self.labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]

    def read_nonzero(self, start: Any, stop: Any) -> None:
        """No mask."""
        return

    def read_previous(self, start: Any, stop: Any) -> None:
        """No cascade."""
        return


def made_case(setup: Mapping[str, Any]) -> MadeCase:
    patch = setup["patch"]
    shape = (8,) * (3 - len(patch)) + tuple(int(1.25 * n) for n in patch)
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    labels = np.zeros(shape, np.int16)
    for label in range(1, setup["labels"] + 1):
        centre = [n * rng.uniform(0.3, 0.7) for n in shape]
        distance = sum(
            ((axis - c) / n) ** 2 for axis, c, n in zip(axes, centre, shape, strict=True)
        )
        labels[distance < 0.03] = label
    image = rng.standard_normal((setup["channels"], *shape), np.float32) + labels
    foreground = {
        (label,): np.argwhere(labels == label).astype(np.int32)
        for label in range(1, setup["labels"] + 1)
    }
    return MadeCase("made", image, labels, foreground)


def maker(setup: Mapping[str, Any], case: MadeCase) -> BatchMaker:
    k = len(setup["patch"])
    network = NetworkPlan("plain", (4,), ((3,) * k,), ((1,) * k,), (1,), ())
    configuration = ConfigurationPlan(
        "made",
        setup["spacing"],
        setup["patch"],
        setup["patch"],
        BATCH_SIZE,
        ("zscore",) * setup["channels"],
        (False,) * setup["channels"],
        False,
        network,
    )
    return BatchMaker(CasesInMemory([case], 1e12), configuration, 0.33, POLICIES["full"], 0, 0)


def per_sample(action: Callable[[int], Any], clock: Callable[[], float]) -> float:
    """Seconds of one sample."""
    began = clock()
    for index in range(BATCHES):
        action(index)
    return (clock() - began) / (BATCHES * BATCH_SIZE)


def measure(
    name: str, device: torch.device, rounds: int, peer_python: str | None
) -> dict[str, Any]:
    setup = SETUPS[name]
    case = made_case(setup)
    loader = maker(setup, case)
    on_device = replace(loader, family="device")
    raw = [on_device(index) for index in range(BATCHES)]

    def synchronised_wall_clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    clock = synchronised_wall_clock if device.type == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {"loader": [], "read": [], "device": []}
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if peer_python is not None:
            np.save(f"{folder}/image.npy", case.image)
            np.save(f"{folder}/labels.npy", case.labels)
            Path(folder, "peer.py").write_text(PEER)
            patch = ",".join(str(n) for n in setup["patch"])
            peer = subprocess.Popen(
                [peer_python, f"{folder}/peer.py", folder, patch, str(BATCHES * BATCH_SIZE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            while (line := answer(peer)) != "ready":
                print(line)
            seconds["peer"] = []
        on_device.finish(raw[0], device)
        for _ in range(rounds):
            seconds["loader"].append(per_sample(loader, time.process_time))
            seconds["read"].append(per_sample(on_device, time.process_time))
            seconds["device"].append(
                per_sample(lambda index: on_device.finish(raw[index], device), clock)
            )
            if peer is not None:
                assert peer.stdin is not None
                print("go", file=peer.stdin, flush=True)
                seconds["peer"].append(float(answer(peer)))
        if peer is not None:
            peer.communicate()
    best = {where: min(found) for where, found in seconds.items()}
    return {
        "setup": name,
        "samples_per_second": {where: 1 / value for where, value in best.items()},
        "choice": choose_family("auto", loader, device, workers=1).reason,
    }


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the peer's process ended with {process.wait()}")
    return line.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--setup", choices=tuple(SETUPS), action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    peer = options.peer_python is not None
    print("| samples/s | loader | read for device | device |" + (" peer | loader / peer |" * peer))
    print("|---|---|---|---|" + "---|---|" * peer)
    for name in options.setup or SETUPS:
        result = measure(name, torch.device(options.device), options.rounds, options.peer_python)
        results.append(result)
        speed = result["samples_per_second"]
        cells = [f"{speed[where]:.3g}" for where in speed]
        if peer:
            cells.append(f"{speed['loader'] / speed['peer']:.2f}")
        print(f"| {name} {SETUPS[name]['patch']} | " + " | ".join(cells) + " |", flush=True)
    for result in results:
        print(f"{result['setup']}: {result['choice']}")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

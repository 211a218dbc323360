"""Images of any size and models of any size for benchmarks/scaling.py, and one measured command.

Weights are random and the images noise: what a prediction costs does not depend on them, as long
as no tile is empty. Nothing here says anything about quality.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from side_by_side import OURS, Run

from selfseg.domain.labels import Label
from selfseg.domain.plan import NetworkPlan, Plan
from selfseg.io.json_files import write_plain_json
from selfseg.io.project import Project
from selfseg.io.weights import write_weights

CONFIGURATION = "3d_fullres"
CHANNELS = {"0": "CT"}
SEED = 7


@dataclass(frozen=True)
class Setting:
    """One prediction.

    Args:
        shape: of the image (Z, Y, X).
        zoom: voxels of the network's grid per voxel of the image, along each axis.
        patch: of the network.
        features: of the first of its stages; doubled below, at most 320.
        stages: of the network.
        classes: structures and background.
        folds: of the ensemble.
        mirror: averages over mirrored images.
        threads: of the processor.
        cases: images in the folder, all the same.
        step: distance of neighbouring tiles as a share of the patch.
    """

    shape: tuple[int, int, int]
    zoom: float = 1.0
    patch: tuple[int, int, int] = (64, 64, 64)
    features: int = 8
    stages: int = 4
    classes: int = 2
    folds: int = 1
    mirror: bool = False
    threads: int = 2
    cases: int = 1
    step: float = 0.5

    @property
    def voxels(self) -> int:
        """Of the image."""
        return math.prod(self.shape)


def predict(setting: Setting, folder: Path) -> Run:
    """Runs `selfseg predict` once on the processor, as a user would.

    It is one process, so that the system itself keeps its peak: tiles may be too short to sample.

    Raises:
        SystemExit: it failed.
    """
    project, plan = write_model(setting, folder)
    images = write_images(setting.shape, setting.cases, folder)
    output = folder / "predicted"
    shutil.rmtree(output, ignore_errors=True)
    command: list[object] = [sys.executable, "-m", "selfseg", "predict", "-m", project]
    command += ["--plan", plan.name, "-c", CONFIGURATION, "-i", images, "-o", output]
    command += ["--device", "cpu", "--progress", "json", "--tta" if setting.mirror else "--no-tta"]
    command += ["--step", setting.step, "--folds", *range(setting.folds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads)}
    with (folder / "predict.log").open("w") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=log, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # waited for already
    if process.returncode:
        raise SystemExit(f"{setting} failed:\n{(folder / 'predict.log').read_text()[-3000:]}")
    peak = usage.ru_maxrss * 1024
    return Run(OURS, seconds, peak, peak)


def point_of(setting: Setting, run: Run) -> dict[str, Any]:
    """A measured prediction as it is written down."""
    return asdict(setting) | {"seconds": round(run.seconds, 2), "bytes": run.rss_bytes}


def network_of(setting: Setting) -> NetworkPlan:
    """A plain U-Net with two convolutions per stage."""
    stages = setting.stages
    features = tuple(min(320, setting.features * 2**i) for i in range(stages))
    strides = ((1, 1, 1), *((2, 2, 2),) * (stages - 1))
    kernels = ((3, 3, 3),) * stages
    return NetworkPlan("plain", features, kernels, strides, (2,) * stages, (2,) * (stages - 1))


def write_model(setting: Setting, folder: Path) -> tuple[Path, Plan]:
    """The project that holds the model, and its plan; made where they are missing."""
    project = folder / "project"
    if not (project / "plans" / "plain.json").is_file():
        dataset = write_dataset(folder / "Dataset900_Scaling", 5, (40, 40, 40))
        words = ("plan", dataset, "-p", project)
        subprocess.run([sys.executable, "-m", "selfseg", *map(str, words)], check=True)
    home = Project.open(project)
    plan = home.read_plan("plain")
    scheme = plan.description.labels
    names = [Label(f"structure {i}", (i,)) for i in range(1, setting.classes)]
    labels = replace(scheme, foreground=tuple(names))
    spacing = (1 / setting.zoom,) * 3
    chosen = replace(
        next(iter(plan.configurations.values())),
        name=CONFIGURATION,
        spacing=spacing,
        patch_size=setting.patch,
        median_shape=tuple(float(n) for n in setting.shape),
        network=network_of(setting),
    )
    size = "x".join(map(str, setting.patch))
    plan = replace(
        plan,
        name=f"f{setting.features}_s{setting.stages}_p{size}_k{setting.classes}_z{setting.zoom:g}",
        description=replace(plan.description, labels=labels),
        configurations={CONFIGURATION: chosen},
        recommended=(CONFIGURATION,),
    )
    home.write_plan(plan)
    for fold in range(setting.folds):
        _write_random_weights(home, plan, fold)
    return project, plan


def _write_random_weights(home: Project, plan: Plan, fold: int) -> None:
    path = home.run_folder(plan.name, CONFIGURATION, fold) / "weights_final.safetensors"
    if path.is_file():
        return
    import torch

    from selfseg.network.unet import build_network

    torch.manual_seed(SEED + fold)
    heads = plan.description.labels.head_count
    network = build_network(plan.configuration(CONFIGURATION).network, len(CHANNELS), heads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, {name: v.numpy() for name, v in network.state_dict().items()}, {})


def write_images(shape: tuple[int, int, int], cases: int, folder: Path) -> Path:
    """A folder with one image of noise under several names; made where it is missing."""
    images = folder / f"images_{'x'.join(map(str, shape))}_{cases}"
    first = images / "case_0000.nii"
    if not first.is_file():
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        draft = images / "draft.nii"
        _write_noise(draft, shape)
        os.replace(draft, first)
    for i in range(1, cases):
        path = images / f"case{i}_0000.nii"
        if not path.exists():
            path.symlink_to(first.name)
    return images


def write_dataset(folder: Path, cases: int, shape: tuple[int, int, int]) -> Path:
    """A data set with one image and one label map under as many names as asked for."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    image, label = folder / "image.nii.gz", folder / "label.nii.gz"
    if not label.is_file():
        _write_noise(image, shape)
        values = np.zeros(shape, np.uint8)
        values[tuple(slice(n // 4, n // 2) for n in shape)] = 1
        sitk.WriteImage(sitk.GetImageFromArray(values), str(label), True)
    for i in range(cases):
        links = (
            (folder / "imagesTr" / f"case{i:06d}_0000.nii.gz", image),
            (folder / "labelsTr" / f"case{i:06d}.nii.gz", label),
        )
        for path, target in links:
            if not path.is_symlink():
                path.symlink_to(Path("..") / target.name)
    content = {
        "channel_names": CHANNELS,
        "labels": {"background": 0, "structure 1": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    write_plain_json(folder / "dataset.json", content)
    return folder


def _write_noise(path: Path, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(SEED)
    voxels = np.empty(shape, np.int16)
    for plane in voxels:
        plane[...] = random.integers(1, 1000, plane.shape, np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), path.suffix == ".gz")

"""Sound things that bad input is made of: a data set, images, models, a project, Slicer files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from collect_examples import standard_case
from model_examples import a_bundle, made_weights
from nnunet_models import tiny_plan, write_model
from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.geometry import Geometry
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import write_label_map
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.network.unet import build_network

SHAPE = (10, 14, 12)
"""Of the volumes, (Z, Y, X)."""

FULL = "3d_fullres"


def make_kit(folder: Path) -> Path:
    """Writes all of them.

    ```
    data/                 nnU-Net folder of case_000, case_001, case_002: one channel, labels 1, 2
    images/a_0000.nii.gz  what model.selfseg can segment
    model.selfseg         structures liver 1, kidney_left 2, thing 5; one channel
    project/              planned for data and preprocessed; fold 0 counts as trained
    nnunet/               results of nnU-Net
    scans/                a.nrrd, a.seg.nrrd, b.nrrd, b.seg.nrrd
    labels/, found/       label maps of the same two cases
    ```
    """
    make_small_dataset(folder / "data", cases=3, test_cases=0, shape=SHAPE)
    rng = np.random.default_rng(0)
    grid = Geometry((12, 18, 14), (1.0, 1.0, 1.0))
    write_label_map(folder / "images/a_0000.nii.gz", rng.integers(1, 200, grid.shape), grid)
    for place, seed in (("labels", 1), ("found", 2)):
        for name in "ab":
            values = np.random.default_rng(seed).integers(0, 3, grid.shape)
            write_label_map(folder / place / f"{name}.nii.gz", values, grid)
    bundle = a_bundle()
    write_bundle(folder / "model.selfseg", bundle, made_weights(bundle))
    write_model(folder / "nnunet", tiny_plan())
    standard_case(folder / "scans", "a")
    standard_case(folder / "scans", "b")
    _make_project(folder / "data", folder / "project")
    return folder


def _make_project(data: Path, folder: Path) -> None:
    plan = pipeline.plan(data, folder, workers=1)
    full = plan.configuration(FULL)
    network = replace(
        full.network,
        features_per_stage=tuple(4 * 2**stage for stage in range(full.network.stage_count)),
    )
    plan = replace(
        plan,
        configurations={FULL: replace(full, network=network)},
        recommended=(FULL,),
    )
    home = Project.open(folder)
    home.write_plan(plan)
    pipeline.preprocess(folder, workers=1)
    module = build_network(network, 1, plan.description.labels.head_count)
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    write_weights(home.run_folder(plan.name, FULL, "0") / "weights_final.safetensors", weights, {})


def take(kit: Path, place: Path, command: str) -> None:
    """Copies what a command names."""
    for path in kit.iterdir():
        if path.name in command:
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, place / path.name)

"""A model so small that it predicts in no time, images, and the command of a real worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.geometry import Geometry
from selfseg.io.images import write_label_map
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.network.unet import build_network
from selfseg.serve.client import worker_command

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

ProjectMaker = Callable[[str], Path]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_dataset(tmp_path_factory.mktemp("data") / "Dataset901_Balls", cases=3)


@pytest.fixture(scope="session")
def make_project(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> ProjectMaker:
    """Makes projects with a fresh network of 4 features that counts as trained."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("projects") / name
        plan = pipeline.plan(dataset, folder, workers=1)
        full = plan.configuration("3d_fullres")
        features = tuple(4 * 2**stage for stage in range(full.network.stage_count))
        network = replace(full.network, features_per_stage=features)
        plan = replace(
            plan,
            configurations={"3d_fullres": replace(full, network=network)},
            recommended=("3d_fullres",),
        )
        home = Project.open(folder)
        home.write_plan(plan)
        torch.manual_seed(len(name))
        module = build_network(network, 1, plan.description.labels.head_count)
        weights = {key: value.numpy() for key, value in module.state_dict().items()}
        for fold in ("0", "1"):
            path = home.run_folder(plan.name, "3d_fullres", fold) / "weights_final.safetensors"
            write_weights(path, weights, {})
        return folder

    return make


@pytest.fixture(scope="session")
def project(make_project: ProjectMaker) -> Path:
    return make_project("balls")


@pytest.fixture(scope="session")
def image(dataset: Path) -> Path:
    return next((dataset / "imagesTs").iterdir())


@pytest.fixture(scope="session")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that the small network needs many seconds for."""
    path = tmp_path_factory.mktemp("large") / "large.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 200, (60, 220, 220), dtype=np.int32)
    write_label_map(path, voxels, Geometry(voxels.shape, (1.6, 1.0, 1.0)))
    return path


@pytest.fixture
def command() -> list[str]:
    return worker_command(sys.executable, "--cache", "200MB")

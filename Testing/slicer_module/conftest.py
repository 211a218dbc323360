"""The scene for tests of the Slicer side.

This folder must not be called `slicer`: the package of that name takes every folder `slicer` on
`sys.path` for a part of itself and imports all files in it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "SelfConfiguringSegmentation"
if str(MODULE_FOLDER) not in sys.path:
    sys.path.insert(0, str(MODULE_FOLDER))

if importlib.util.find_spec("slicer") is None:
    warnings.warn("slicer-core is not installed: the Slicer side was NOT tested", stacklevel=1)
    collect_ignore_glob = ["test_*.py"]
else:
    # The library's files import these when the tests are collected.
    from slicer_module.stand_ins import packaging, scripted_loadable_module

    scripted_loadable_module.install()
    packaging.install()

OBLIQUE = np.array(
    [
        [0.36, 0.48, -0.8, 12.5],
        [-0.8, 0.60, 0.0, -31.25],
        [0.48, 0.64, 0.60, 7.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
) @ np.diag([0.7, 0.9, 2.5, 1.0])
"""IJK to RAS of a tilted volume with three different spacings."""


@pytest.fixture(scope="session", autouse=True)
def _slicer(tmp_path_factory: pytest.TempPathFactory) -> None:
    from slicer_module.stand_ins.application import bind_scene

    bind_scene(tmp_path_factory.mktemp("slicer-cache"))


@pytest.fixture
def scene() -> Iterator[Any]:
    """The scene, empty before and after."""
    import slicer

    slicer.mrmlScene.Clear(False)
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(False)


@pytest.fixture
def node_ids(scene: Any) -> Callable[[], set[str]]:
    """Gives the ids of all nodes, to compare before and after."""
    return lambda: {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


@pytest.fixture
def volume(scene: Any) -> Any:
    """A tilted volume of 12 x 20 x 16 voxels (Z, Y, X) without any symmetry."""
    import slicer

    return slicer.util.addVolumeFromArray(asymmetric_voxels(), OBLIQUE, "scan")


def asymmetric_voxels() -> np.ndarray:
    """Every voxel has another value, so that each flip and each swap of axes shows."""
    return np.arange(12 * 20 * 16, dtype=np.int16).reshape(12, 20, 16)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small nnU-Net data set of balls and buds. Read only: every test sees the same folder."""
    from selfseg.demo.synthetic import make_small_dataset

    return _made_once(tmp_path_factory, "Dataset901_Balls", make_small_dataset)


@pytest.fixture(scope="session")
def project(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one fold of a narrow network, trained until it finds something.

    Read only: every test sees the same folder, copy it to change it.
    """
    return _made_once(tmp_path_factory, "project", lambda folder: _train(dataset, folder))


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The same folder in every process of a test run; the first that needs it makes it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "made_once" / name
    ready = folder.with_name(f"{name}.ready")
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if not ready.exists():
            make(folder)
            ready.touch()
    return folder


def _train(dataset: Path, folder: Path) -> None:
    from selfseg import pipeline  # imports torch: only where something is trained
    from selfseg.io.project import Project

    plan = pipeline.plan(dataset, folder)
    full = plan.configuration("3d_fullres")
    narrow = tuple(min(8 * 2**stage, 32) for stage in range(full.network.stage_count))
    network = replace(full.network, features_per_stage=narrow)
    Project.open(folder).write_plan(
        replace(
            plan,
            name="narrow",
            configurations={"3d_fullres": replace(full, network=network)},
            recommended=("3d_fullres",),
        )
    )
    pipeline.train(
        folder,
        plan_name="narrow",
        configuration="3d_fullres",
        fold="0",
        epochs=1,
        iterations=40,
        device="cpu",
    )

"""The scene for tests of the Slicer side.

This folder must not be called `slicer`: the package of that name takes every folder `slicer` on
`sys.path` for a part of itself and imports all files in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "SelfConfiguringSegmentation"
if str(MODULE_FOLDER) not in sys.path:
    sys.path.insert(0, str(MODULE_FOLDER))

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
def _slicer() -> None:
    pytest.importorskip(
        "slicer", reason="slicer-core is not installed: the Slicer side was NOT tested"
    )
    from slicer_module.stand_ins.application import bind_scene

    bind_scene()


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

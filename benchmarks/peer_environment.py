"""Sets up nnunetv2 2.8.1 in an environment of its own, beside this file in `.peer`.

    python benchmarks/peer_environment.py [FOLDER]

Every benchmark that compares does this by itself where no `--peer-python` is given; the first
time takes some minutes. torch is the CPU build of the version we are measured with. The peer's
trainer variants import names of `timm` for architectures that nothing here uses; timm needs
torchvision, whose wheel needs CUDA, so a stand-in that holds these names and cannot compute
takes its place.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT = HERE / ".peer"
TORCH = "torch==2.13.0"
PEER = "nnunetv2==2.8.1"
WITHOUT_DEPENDENCIES = (
    PEER,
    "dynamic-network-architectures==0.4.4",
    "batchgenerators==0.25.5",
    "batchgeneratorsv2==0.3.6",
    "acvl-utils",
)
"""These ask for torchvision or timm, or for one another."""

DEPENDENCIES = (
    "numpy",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "SimpleITK",
    "pandas",
    "matplotlib",
    "seaborn",
    "nibabel",
    "tifffile",
    "imagecodecs",
    "graphviz",
    "tqdm",
    "requests",
    "einops",
    "yacs",
    "blosc2",
    "threadpoolctl",
    "pyyaml",
    "future",
    "unittest2",
    "fft-conv-pytorch",
    "connected-components-3d",
    "python-gdcm",
    "safetensors",
    "huggingface_hub",
)
STAND_IN = '''"""Stand-in for timm: holds any name, computes nothing."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)

    class Missing:
        def __init__(self, *words, **named):
            raise NotImplementedError(f"timm's {name} is not here")

    Missing.__name__ = name
    return Missing
'''


def peer_python(given: Path | None = None) -> Path:
    """The interpreter that has nnunetv2: `given`, or one of our making.

    Raises:
        SystemExit: `given` has no nnunetv2 2.8.1, or setting up failed.
    """
    if given is not None:
        if not _has_peer(given):
            raise SystemExit(f"{given} cannot import {PEER}; leave the option out to have one made")
        return given
    python = DEFAULT / "bin" / "python"
    return python if _has_peer(python) else set_up(DEFAULT)


def set_up(folder: Path) -> Path:
    """Makes the environment and returns its interpreter."""
    print(f"setting up {PEER} in {folder}", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet"]
    for words in ((TORCH,), ("--no-deps", *WITHOUT_DEPENDENCIES), DEPENDENCIES):
        if subprocess.run([*install, *words]).returncode:
            raise SystemExit(f"could not install {' '.join(words)}")
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    for name in ("__init__", "layers", "models/__init__", "models/eva"):
        path = packages / "timm" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
    if not _has_peer(python):
        raise SystemExit(f"{python} was set up but cannot import nnunetv2")
    return python


def _has_peer(python: Path) -> bool:
    code = "import nnunetv2, importlib.metadata as m; assert m.version('nnunetv2') == '2.8.1'"
    return python.is_file() and not subprocess.run([python, "-c", code]).returncode


if __name__ == "__main__":
    print(set_up(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))

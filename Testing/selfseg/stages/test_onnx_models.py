"""Whole images through ONNX Runtime: the labels of PyTorch, and no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from model_examples import CASCADE, a_bundle, a_plan, made_weights
from selfseg.domain.bundle import Member, ModelBundle
from selfseg.domain.labels import LabelScheme
from selfseg.infer.torch_backend import TorchBackend
from selfseg.io.bundle_layout import WeightsKey
from selfseg.registry.onnx_export import export_onnx
from selfseg.stages.model import open_model
from selfseg.stages.models import LoadedModel
from selfseg.stages.segment import segment_image
from synthetic_preprocessing import GOLDEN, made_case

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("one_thread")

REGIONS = LabelScheme.from_mapping(
    {"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2]
)


def weights_of(bundle: ModelBundle) -> Iterator[tuple[WeightsKey, Mapping[str, np.ndarray]]]:
    """Without biases, so that every label wins somewhere."""
    for key, weights in made_weights(bundle):
        yield key, {n: w * 0 if n.endswith("bias") else w for n, w in weights.items()}


def with_pytorch(bundle: ModelBundle, configuration: str) -> LoadedModel:
    plan = bundle.plans["plain"]
    previous = plan.configuration(configuration).previous_stage
    folds = [weights for key, weights in weights_of(bundle) if key.configuration == configuration]
    backend = TorchBackend(
        plan.configuration(configuration).network,
        plan.input_channels(configuration),
        plan.description.labels.head_count,
        folds,
        device="cpu",
        autocast="off",
    )
    first = None if previous is None else with_pytorch(bundle, previous)
    return LoadedModel(plan, configuration, backend, first)


@pytest.mark.parametrize("kind", ["labels", "regions", "cascade"])
@pytest.mark.parametrize("mirror", [False, True])
def test_labels_agree_with_pytorch(tmp_path: Path, kind: str, mirror: bool) -> None:
    name = CASCADE if kind == "cascade" else "3d_fullres"
    plan = a_plan(REGIONS) if kind == "regions" else a_plan()
    folds = ("0",) if kind == "cascade" else ("0", "1")
    bundle = a_bundle(members=(Member("plain", name, folds),), plan=plan, scores=None)
    raw = made_case(GOLDEN["thick_target"])
    wanted = segment_image(raw, with_pytorch(bundle, name), mirror=mirror)
    folder = export_onnx(tmp_path / "model", bundle, weights_of(bundle))
    with open_model(folder) as model:
        graphs = model.load(model.bundle.members[0], "cpu")
    found = segment_image(raw, graphs, mirror=mirror)
    assert len(np.unique(wanted)) > 1
    assert found.dtype == wanted.dtype
    assert (found == wanted).mean() >= 0.9999


BARRED = "import sys; sys.modules['torch'] = None  # importing it raises from here on\n"

COMMAND = """
from selfseg.cli import main

model, image, target = sys.argv[1:]
words = ["predict", "-m", model, "-i", image, "-o", target, "--backend", "onnx"]
assert main([*words, "--device", "cpu", "--progress", "json"]) == 0
"""

UNTOUCHED = """
assert [name for name in sys.modules if name.split(".")[0] == "torch"] == ["torch"]
"""


def test_an_image_is_segmented_without_pytorch(tmp_path: Path, project_folder: Path) -> None:
    raw = made_case(GOLDEN["thick_target"])
    image = sitk.GetImageFromArray(raw.channels[0])
    image.SetSpacing(raw.geometry.spacing[::-1])
    sitk.WriteImage(image, str(tmp_path / "case_0000.nii.gz"))
    bundle = a_bundle()
    model = export_onnx(tmp_path / "model", bundle, weights_of(bundle))
    target = tmp_path / "labels"
    target.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", BARRED + COMMAND + UNTOUCHED, model, tmp_path / "case_0000.nii.gz",
         target],
        cwd=project_folder / "Logic",
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(target / "case.nii.gz")))
    wanted = segment_image(raw, with_pytorch(bundle, "3d_fullres"))
    assert (found == wanted).mean() >= 0.9999

"""Real scans in the scene: trained on segmentation nodes, then one click on scans not seen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic
from SelfConfiguringSegmentationLib.segment.settings import SegmentationSettings
from SelfConfiguringSegmentationLib.train import training_folder

from slicer_module.children import real_starter
from slicer_module.train_scenes import add_cropped, add_segmentation
from slicer_module.windows import qt_application
from slicer_module.workers import library, real_segmenting

__all__ = ["library", "qt_application"]

CASES, UNSEEN, SECONDS = 24, 3, 150.0


def launch(arguments: Sequence[str], output: Path) -> Any:
    return training_folder.launch_process(arguments, output, python=sys.executable, environment={})


def add_case(dataset: Path, label_file: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """A scan of the data set in the scene, and its structures."""
    image = sitk.ReadImage(str(dataset / "imagesTr" / label_file.name.replace(".", "_0000.", 1)))
    to_ras = np.eye(4)
    to_ras[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    to_ras[:3, 3] = image.GetOrigin()
    voxels = sitk.GetArrayFromImage(image)
    volume = slicer.util.addVolumeFromArray(
        voxels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_ras, label_file.name.partition(".")[0]
    )
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(label_file)))
    return volume, {"anterior": labels == 1, "posterior": labels == 2}


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.timeout(900)
def test_a_scene_of_hippocampi_becomes_a_model_that_segments_others(
    shared_folder: Path,
    scene: Any,
    library: Path,
    qt_application: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "SelfConfiguringSegmentationLib.train.logic.default_path",
        lambda: tmp_path / "settings" / "trainings.json",
    )
    dataset = shared_folder / "data" / "Dataset004_Hippocampus"
    files = sorted((dataset / "labelsTr").glob("*.nii.gz"))[: CASES + UNSEEN]
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = slicer.util.vtkMatrixFromArray(
        np.array([[0, -1, 0, 9], [1, 0, 0, -4], [0, 0, 1, 2], [0, 0, 0, 1.0]])
    )
    transform.SetMatrixTransformToParent(matrix)
    for number, path in enumerate(files[:CASES]):
        volume, masks = add_case(dataset, path)
        if number % 3 == 0:
            volume.SetAndObserveTransformNodeID(transform.GetID())
        if number % 2:  # other label values in every other case: the names count
            masks = dict(reversed(masks.items()))
        (add_cropped if number % 4 == 1 else add_segmentation)(volume, masks)

    logic = SelfConfiguringSegmentationLogic(
        real_starter, launch, segmenting=real_segmenting(library)
    )
    try:
        finished = logic.train(
            None,
            tmp_path / "training",
            name="Hippocampus",
            timeBudget=SECONDS,
            channels=("MRI",),
            device="cpu",
            library=library,
        )
        print(f"Dice on held-out cases of the scene: {finished.dice:.3f}")
        found = []
        for path in files[CASES:]:
            volume, masks = add_case(dataset, path)
            volume.SetAndObserveTransformNodeID(transform.GetID())
            node = logic.segment(
                volume, finished.folder, settings=SegmentationSettings(device="cpu")
            )
            for name, mask in masks.items():
                identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name)
                segment = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
                found.append(dice(segment > 0, mask))
        print("Dice on scans not seen:", np.round(found, 3))
        assert np.mean(found) > 0.6
    finally:
        logic.close()

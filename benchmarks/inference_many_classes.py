"""A CT with 61 structures at 1 mm: time and memory of the whole prediction, beside nnunetv2.

    python benchmarks/inference_many_classes.py CT_FOLDER FOLDER --peer-python PEER/bin/python

CT_FOLDER holds ct.nii.gz and labels.nii.gz (shared/data/ct_61_structures, 3 mm); the image is
upsampled to 1 mm (336 x 303 x 366), the labels are numbered 1 to 61. A small network
(16 features, five stages) is trained briefly by us; the peer gets the same weights.
`--spacing` is the model's, in mm: the published models for whole-body CT work at 1.5.
`--classes` leaves heads out on both sides, where the peer does not survive all of them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from inference_sides import (
    CONFIGURATION,
    add_options,
    compare,
    selfseg,
    train_briefly,
    with_fewer_classes,
    write_peer_model,
)

from selfseg.domain.plan import NetworkPlan, Plan
from selfseg.io.json_files import write_plain_json
from selfseg.io.project import Project

DATASET = "Dataset061_Structures"
PATCH = (96, 96, 96)
FEATURES = (16, 32, 64, 128, 160)


def make_dataset(source: Path, folder: Path) -> Path:
    """The case at 1 mm, in the peer's layout."""
    home = folder / DATASET
    if (home / "dataset.json").is_file():
        return home
    for name in ("imagesTr", "labelsTr"):
        (home / name).mkdir(parents=True, exist_ok=True)
    image = _upsampled(sitk.ReadImage(str(source / "ct.nii.gz")), sitk.sitkBSpline)
    labels = _upsampled(sitk.ReadImage(str(source / "labels.nii.gz")), sitk.sitkNearestNeighbor)
    values = sitk.GetArrayFromImage(labels)
    present = [int(value) for value in np.unique(values) if value]
    numbers = np.zeros(max(present) + 1, np.uint8)
    numbers[present] = np.arange(1, len(present) + 1)
    renumbered = sitk.GetImageFromArray(numbers[values])
    renumbered.CopyInformation(labels)
    sitk.WriteImage(
        sitk.Cast(image, sitk.sitkInt16), str(home / "imagesTr" / "ct_0000.nii.gz"), True
    )
    sitk.WriteImage(renumbered, str(home / "labelsTr" / "ct.nii.gz"), True)
    # A data set has at least two cases; only the first is predicted.
    (home / "imagesTr" / "again_0000.nii.gz").symlink_to("ct_0000.nii.gz")
    (home / "labelsTr" / "again.nii.gz").symlink_to("ct.nii.gz")
    content = {
        "channel_names": {"0": "CT"},
        "labels": {
            "background": 0,
            **{f"structure_{value}": i for i, value in enumerate(present, 1)},
        },
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    write_plain_json(home / "dataset.json", content)
    return home


def _upsampled(image: sitk.Image, interpolator: int) -> sitk.Image:
    size = [round(n * s) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return sitk.Resample(
        image, size, sitk.Transform(), interpolator, image.GetOrigin(), (1.0, 1.0, 1.0),
        image.GetDirection(), 0.0, image.GetPixelID(),
    )  # fmt: skip


def make_plan(project: Path, spacing: float) -> Plan:
    """The standard plan with a small network at the model's spacing."""
    plan = Project.open(project).read_plan("plain")
    configuration = plan.configuration(CONFIGURATION)
    stages = len(FEATURES)
    network = NetworkPlan(
        "plain",
        FEATURES,
        ((3, 3, 3),) * stages,
        ((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        (2,) * stages,
        (2,) * (stages - 1),
    )
    chosen = replace(
        configuration,
        spacing=(spacing,) * 3,
        patch_size=PATCH,
        median_shape=tuple(n / spacing for n in plan.original_median_shape),
        batch_size=2,
        network=network,
    )
    return replace(
        plan,
        name=f"small_{spacing:g}mm",
        configurations={CONFIGURATION: chosen},
        recommended=(CONFIGURATION,),
    )


def main() -> int:
    """Prepares what is missing and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("source", type=Path)
    add_options(parser)
    parser.add_argument("--spacing", type=float, default=1.5)
    parser.add_argument("--classes", type=int, default=61)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    dataset = make_dataset(options.source, options.folder)
    project = options.folder / "project"
    if not (project / "plans" / "plain.json").is_file():
        selfseg("plan", dataset, "-p", project)
    plan = make_plan(project, options.spacing)
    train_briefly(project, plan, options.iterations)
    plan = with_fewer_classes(project, plan, options.classes)
    peer = write_peer_model(project, plan, options.folder, options.peer_python)
    images = options.folder / "images"
    images.mkdir(exist_ok=True)
    if not (images / "ct_0000.nii.gz").exists():
        (images / "ct_0000.nii.gz").symlink_to((dataset / "imagesTr/ct_0000.nii.gz").resolve())
    return 0 if compare(options, project, plan, images, peer) else 1


if __name__ == "__main__":
    raise SystemExit(main())

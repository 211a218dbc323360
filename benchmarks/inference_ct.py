"""The CT with 61 structures and a small network for it, as several benchmarks use them.

The source (shared/data/ct_61_structures: ct.nii.gz, labels.nii.gz) is at 3 mm and is upsampled.
`Dataset061_Structures` and the project lie in a folder per native spacing, so that benchmarks
given the same folder prepare and train only once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from inference_sides import CONFIGURATION, selfseg, train_briefly

from selfseg.domain.plan import NetworkPlan, Plan
from selfseg.io.json_files import write_plain_json
from selfseg.io.project import Project

DATASET = "Dataset061_Structures"
CASE = "ct"
PATCH = (96, 96, 96)
FEATURES = (16, 32, 64, 128, 160)
AIR = -1024


@dataclass(frozen=True)
class CtModel:
    """The data set and a project that has planned it.

    Args:
        dataset: in the peer's layout; its first case is `CASE`.
        project: ours.
        plan: of the small network.
    """

    dataset: Path
    project: Path
    plan: Plan

    @property
    def image(self) -> Path:
        """The CT."""
        return self.dataset / "imagesTr" / f"{CASE}_0000.nii.gz"

    @property
    def labels(self) -> Path:
        """Its label map, values 0 to 61."""
        return self.dataset / "labelsTr" / f"{CASE}.nii.gz"


def planned(source: Path, folder: Path, spacing: float, native: float = 1.0) -> CtModel:
    """Makes what is missing: the CT at `native` mm, and the plan at `spacing` mm."""
    home = folder / f"ct_{native:g}mm"
    dataset = _make_dataset(source, home, native)
    project = home / "project"
    if not (project / "plans" / "plain.json").is_file():
        selfseg("plan", dataset, "-p", project)
    plan = _make_plan(project, spacing)
    Project.open(project).write_plan(plan)
    return CtModel(dataset, project, plan)


def trained(source: Path, folder: Path, spacing: float, iterations: int) -> CtModel:
    """As `planned`, and briefly trained."""
    model = planned(source, folder, spacing)
    train_briefly(model.project, model.plan, iterations)
    return model


def large_image(source: Path, size: tuple[int, int, int], path: Path) -> Path:
    """The CT on a grid of `size` (X, Y, Z) voxels that covers it, square in the plane, as int16."""
    if path.is_file():
        return path
    image = sitk.ReadImage(str(source / "ct.nii.gz"))
    extent = [n * s for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    in_plane = max(extent[0] / size[0], extent[1] / size[1])
    spacing = (in_plane, in_plane, extent[2] / size[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(_resampled(image, size, spacing, sitk.sitkBSpline), str(path), True)
    return path


def _make_dataset(source: Path, folder: Path, native: float) -> Path:
    """The case at `native` mm, labels numbered from 1, in the peer's layout."""
    home = folder / DATASET
    if (home / "dataset.json").is_file():
        return home
    for name in ("imagesTr", "labelsTr"):
        (home / name).mkdir(parents=True, exist_ok=True)
    image = _at(sitk.ReadImage(str(source / "ct.nii.gz")), native, sitk.sitkBSpline)
    labels = _at(sitk.ReadImage(str(source / "labels.nii.gz")), native, sitk.sitkNearestNeighbor)
    values = sitk.GetArrayFromImage(labels)
    present = [int(value) for value in np.unique(values) if value]
    numbers = np.zeros(max(present) + 1, np.uint8)
    numbers[present] = np.arange(1, len(present) + 1)
    renumbered = sitk.GetImageFromArray(numbers[values])
    renumbered.CopyInformation(labels)
    sitk.WriteImage(image, str(home / "imagesTr" / f"{CASE}_0000.nii.gz"), True)
    sitk.WriteImage(renumbered, str(home / "labelsTr" / f"{CASE}.nii.gz"), True)
    # A data set has at least two cases; only the first is predicted.
    (home / "imagesTr" / "again_0000.nii.gz").symlink_to(f"{CASE}_0000.nii.gz")
    (home / "labelsTr" / "again.nii.gz").symlink_to(f"{CASE}.nii.gz")
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


def _at(image: sitk.Image, spacing: float, interpolator: int) -> sitk.Image:
    extent = [n * s for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    size = tuple(round(length / spacing) for length in extent)
    return _resampled(image, size, (spacing,) * 3, interpolator)


def _resampled(
    image: sitk.Image, size: tuple[int, ...], spacing: tuple[float, ...], interpolator: int
) -> sitk.Image:
    """Air lies around a CT, background around labels; whole numbers of 16 bits come out."""
    outside = AIR if interpolator == sitk.sitkBSpline else 0
    result = sitk.Resample(
        image, size, sitk.Transform(), interpolator, image.GetOrigin(), spacing,
        image.GetDirection(), float(outside), image.GetPixelID(),
    )  # fmt: skip
    return sitk.Cast(result, sitk.sitkInt16)


def _make_plan(project: Path, spacing: float) -> Plan:
    """The standard plan with a small network (16 features, five stages) at `spacing` mm."""
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
        median_shape=tuple(
            n * native / spacing
            for n, native in zip(
                plan.original_median_shape, plan.original_median_spacing, strict=True
            )
        ),
        batch_size=2,
        network=network,
    )
    return replace(
        plan,
        name=f"small_{spacing:g}mm",
        configurations={CONFIGURATION: chosen},
        recommended=(CONFIGURATION,),
    )

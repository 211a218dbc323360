"""nnU-Net's trained models, imported: do they give the same labels?

    python benchmarks/import_parity.py --peer-python PEER/bin/python [--folder F] [--json OUT]

`--peer-python` is the interpreter of an environment with nnunetv2 2.8.1. It plans, trains and
predicts (`import_peer.py`: narrow networks on made-up data, a minute or two each on a processor);
then every model is imported and the same images are segmented from the bundle, with and without
mirroring. One line per model and way: the share of voxels with the same label, case by case.
Exits with 1 where a case agrees in less than 0.999 of its voxels, or a structure is never found.

`--folder` keeps what was trained, so that a second run only imports and predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from import_peer import model_folder, prediction_folder

from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.bundle import Member
from selfseg.domain.case import IntArray, RawCase
from selfseg.domain.plan import Plan
from selfseg.infer.cascade import previous_on_grid
from selfseg.infer.engine import TileOptions, predict_logits
from selfseg.infer.restore import restore
from selfseg.infer.torch_backend import TorchBackend
from selfseg.io.bundle_files import StoredBundle, read_bundle
from selfseg.io.datasets import find_cases
from selfseg.io.images import read_case, read_label_map
from selfseg.preprocess.case import preprocess_case
from selfseg.registry.nnunet_choice import NnunetOptions
from selfseg.registry.nnunet_import import import_nnunet

HERE = Path(__file__).resolve().parent
LIMIT = 0.999
LABELS, REGIONS, TURNED = "Dataset801_Labels", "Dataset802_Regions", "Dataset803_Turned"
ORIENTATIONS = ("LPS", "RAS", "PIR", "SAL", "RPI", "ASR")
CASES, TEST_CASES = 5, 3
SHAPE = (26, 40, 36)

JOBS: tuple[dict[str, Any], ...] = (
    {
        "dataset": LABELS,
        "trainer": "nnUNetTrainer",
        "plans": "nnUNetPlans",
        "configurations": ["3d_fullres", "2d"],
        "folds": [0, 1],
    },
    {
        "dataset": LABELS,
        "trainer": "nnUNetTrainer",
        "plans": "nnUNetResEncUNetMPlans",
        "configurations": ["3d_fullres"],
        "folds": [0],
    },
    {
        "dataset": LABELS,
        "trainer": "nnUNetTrainer_250epochs",
        "plans": "nnUNetPlans",
        "configurations": ["3d_lowres", "3d_cascade_fullres"],
        "folds": ["all"],
    },
    {
        "dataset": REGIONS,
        "trainer": "nnUNetTrainer",
        "plans": "nnUNetPlans",
        "configurations": ["3d_fullres", "2d"],
        "folds": [0],
        "older_plans": True,
    },
    {
        "dataset": REGIONS,
        "trainer": "nnUNetTrainerNoMirroring",
        "plans": "nnUNetPlans",
        "configurations": ["3d_lowres", "3d_cascade_fullres"],
        "folds": ["all"],
    },
    {
        "dataset": TURNED,
        "trainer": "nnUNetTrainer_onlyMirror01",
        "plans": "nnUNetPlans",
        "configurations": ["3d_fullres", "2d"],
        "folds": [0],
    },
    {
        "dataset": TURNED,
        "trainer": "nnUNetTrainer_onlyMirror01",
        "plans": "nnUNetPlans",
        "configurations": ["3d_lowres", "3d_cascade_fullres"],
        "folds": ["all"],
    },
)


def make_datasets(raw: Path) -> None:
    """Labels; regions with two channels and an ignored corner; thick slices, turned images.

    The regions' plans are put into the older form, without `architecture`, once trained.
    """
    common: dict[str, Any] = {"cases": CASES, "test_cases": TEST_CASES, "shape": SHAPE}
    make_small_dataset(raw / LABELS, spacing=(1.6, 1.0, 1.0), seed=1, **common)
    make_small_dataset(
        raw / REGIONS, channels=("CT", "T1"), regions=True, ignore=True, seed=2, **common
    )
    if not (raw / TURNED).exists():
        with tempfile.TemporaryDirectory(dir=raw.parent) as draft:
            made = make_small_dataset(
                Path(draft) / TURNED, channels=("T1",), spacing=(4.0, 1.0, 1.0), seed=3, **common
            )
            turn(made)
            made.rename(raw / TURNED)


def turn(dataset: Path) -> None:
    """Stores every case in another orientation, and asks for the reader that undoes it."""
    content = json.loads((dataset / "dataset.json").read_text())
    content["overwrite_image_reader_writer"] = "NibabelIOWithReorient"
    (dataset / "dataset.json").write_text(json.dumps(content, indent=2))
    for room in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        for index, path in enumerate(sorted((dataset / room).iterdir())):
            image = sitk.DICOMOrient(sitk.ReadImage(path), ORIENTATIONS[index % len(ORIENTATIONS)])
            sitk.WriteImage(image, path, True)


def segment(
    raw: RawCase, stored: StoredBundle, member: Member, *, mirror: bool, autocast: str
) -> IntArray:
    """The label map of one image, through the stages of one member."""
    plan: Plan = stored.bundle.plans[member.plan]
    name = member.configuration
    configuration = plan.configuration(name)
    heads = plan.description.labels.head_count
    case = preprocess_case(raw, plan, name)
    if configuration.previous_stage is not None:
        below = replace(
            member,
            configuration=configuration.previous_stage,
            folds=stored.folds(member.plan, configuration.previous_stage),
        )
        first = segment(raw, stored, below, mirror=mirror, autocast=autocast)
        case = replace(case, previous=previous_on_grid(first, case.record))
    backend = TorchBackend(
        configuration.network,
        plan.input_channels(name),
        heads,
        [stored.read_weights(member.plan, name, fold) for fold in member.folds],
        device="cpu",
        autocast=autocast,
    )
    logits = predict_logits(
        case,
        backend,
        configuration,
        head_count=heads,
        previous_values=plan.previous_values(name),
        options=TileOptions(mirror=mirror, mirror_axes=member.mirror_axes),
    )
    return restore(logits, case.record, plan.description.labels)


def compare(
    job: dict[str, Any], name: str, folder: Path, bundle: Path, autocast: str
) -> list[dict[str, Any]]:
    """Both sides' label maps of every test image, with and without mirroring."""
    stored = read_bundle(bundle)
    (member,) = stored.bundle.members
    description = stored.bundle.description
    images = folder / "raw" / job["dataset"] / "imagesTs"
    cases = find_cases([images], len(description.channel_names), description.file_ending)
    rows = []
    for mirror in (True, False):
        theirs_at = prediction_folder(job, name, folder, mirror=mirror)
        agreements, dice, found = {}, [], set()
        for files in cases:
            raw = read_case(files, None, with_labels=False)
            ours = segment(raw, stored, member, mirror=mirror, autocast=autocast)
            theirs, grid = read_label_map(
                theirs_at / f"{files.identifier}{description.file_ending}"
            )
            assert not raw.geometry.mismatch(grid), files.identifier
            agreements[files.identifier] = float((ours == theirs).mean())
            values = set(np.unique(theirs).tolist()) - {0}
            found |= values
            dice += [_dice(ours == value, theirs == value) for value in values]
        rows.append(
            {
                "dataset": job["dataset"],
                "trainer": job["trainer"],
                "plans": job["plans"],
                "configuration": name,
                "folds": job["folds"],
                "older_plans": job.get("older_plans", False),
                "mirror_axes": member.mirror_axes,
                "mirrored": mirror,
                "arithmetic": autocast,
                "agreement": agreements,
                "least": min(agreements.values()),
                "least_dice": min(dice),
                "all_found": found == set(description.labels.values),
            }
        )
    return rows


def _dice(first: Any, second: Any) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def run(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    make_datasets(folder / "raw")
    lengths = {"epochs": options.epochs, "iterations": options.iterations}
    (folder / "jobs.json").write_text(json.dumps([lengths | job for job in JOBS]))
    if options.peer_python is not None:
        subprocess.run(
            [options.peer_python, str(HERE / "import_peer.py"), str(folder)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
            stdout=subprocess.DEVNULL,
        )
    rows = []
    header = f"{'data set':18s} {'trainer':26s} {'plans':23s} {'configuration':18s} {'folds':6s}"
    print(f"{header} {'mirrored':9s} {'least':>8s} {'Dice':>7s}")
    for job in JOBS:
        for name in job["configurations"]:
            source = model_folder(job, name, folder)
            with tempfile.TemporaryDirectory() as place:
                bundle = import_nnunet(
                    source,
                    Path(place) / "bundle",
                    options=NnunetOptions(folds=tuple(map(str, job["folds"]))),
                )
                compared = compare(job, name, folder, bundle, options.autocast)
            for row in compared:
                rows.append(row)
                axes = "all" if row["mirror_axes"] is None else row["mirror_axes"] or "none"
                print(
                    f"{row['dataset']:18s} {row['trainer']:26s} {row['plans']:23s} {name:18s} "
                    f"{','.join(map(str, row['folds'])):6s} "
                    f"{str(axes) if row['mirrored'] else 'off':9s} {row['least']:8.5f} "
                    f"{row['least_dice']:7.4f}{'' if row['all_found'] else '  NOT ALL FOUND'}",
                    flush=True,
                )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--peer-python", type=Path, help="not needed where --folder holds its results"
    )
    parser.add_argument("--folder", type=Path, help="keeps what was trained")
    parser.add_argument("--json", type=Path, help="the rows, with every case")
    parser.add_argument("--autocast", default="off", help="off: float32, as nnU-Net on processors")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60, help="per epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.folder is None:
        with tempfile.TemporaryDirectory() as place:
            rows = run(options, Path(place))
    else:
        rows = run(options, options.folder.resolve())
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))
    good = all(row["least"] >= LIMIT and row["all_found"] for row in rows)
    print("all agree" if good else f"NOT ALL agree in {LIMIT} of the voxels")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

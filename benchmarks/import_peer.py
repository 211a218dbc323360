"""The peer's half of `import_parity.py`; runs where nnunetv2 2.8.1 is installed.

    python benchmarks/import_peer.py FOLDER

FOLDER holds raw/DatasetXXX_* and jobs.json, a list of what to train. Each job is one trainer and
plans identifier of one data set; its plans are nnU-Net's own, made narrow and with smaller
patches, so that a training takes a minute or two on a processor. What is trained, saved and
predicted is nnU-Net's own code throughout. A job that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

NARROWER = 8
"""Every stage has so many times fewer features than nnU-Net plans."""

COARSER = 1.5
"""Spacing of the first stage of a cascade, in those of the second."""

LOADER_WORKERS = "nnUNet_n_proc_DA"

PLANNERS = {
    "nnUNetPlans": "ExperimentPlanner",
    "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM",
}


def set_folders(folder: Path) -> None:
    """Before nnunetv2 is imported: where its data are."""
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ["nnUNet_def_n_proc"] = "1"  # noqa: SIM112 - nnU-Net spells it so
    os.environ[LOADER_WORKERS] = "1"


def prepare(job: dict[str, Any], folder: Path) -> None:
    """Fingerprint, plans, narrow plans, preprocessed cases."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    number = int(job["dataset"].removeprefix("Dataset").split("_")[0])
    home = folder / "preprocessed" / job["dataset"]
    if not (home / "dataset_fingerprint.json").is_file():
        extract_fingerprints([number], num_processes=1)
    path = home / f"{job['plans']}.json"
    if not path.is_file():
        plan_experiments([number], experiment_planner_class_name=PLANNERS[job["plans"]])
        plans = json.loads(path.read_text())
        narrow(plans)
        path.write_text(json.dumps(plans, indent=4))
    missing = [
        name
        for name in job["configurations"]
        if name != "3d_cascade_fullres" and not (home / f"done_{job['plans']}_{name}").exists()
    ]
    if missing:
        preprocess([number], job["plans"], configurations=missing, num_processes=[1] * len(missing))
        for name in missing:
            (home / f"done_{job['plans']}_{name}").touch()


def narrow(plans: dict[str, Any]) -> None:
    """Fewer features, smaller patches; and the two stages of a cascade, in today's form."""
    for name in ("2d", "3d_fullres"):
        configuration = plans["configurations"][name]
        arguments = configuration["architecture"]["arch_kwargs"]
        arguments["features_per_stage"] = [n // NARROWER for n in arguments["features_per_stage"]]
        configuration["batch_size"] = 2 if name == "3d_fullres" else 12
        for axis, size in enumerate(configuration["patch_size"]):
            divisor = 1
            for stride in arguments["strides"]:
                divisor *= stride[axis]
            configuration["patch_size"][axis] = -(-size // (2 * divisor)) * divisor
    full = plans["configurations"]["3d_fullres"]
    lower = json.loads(json.dumps(full))
    lower["data_identifier"] = f"{plans['plans_name']}_3d_lowres"
    lower["spacing"] = [mm * COARSER for mm in full["spacing"]]
    lower["median_image_size_in_voxels"] = [
        n / COARSER for n in full["median_image_size_in_voxels"]
    ]
    lower["batch_dice"], full["batch_dice"] = False, True
    lower["next_stage"] = "3d_cascade_fullres"
    plans["configurations"]["3d_lowres"] = lower
    plans["configurations"]["3d_cascade_fullres"] = {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }


def train(job: dict[str, Any], name: str, fold: int | str, folder: Path) -> None:
    """One training, with the validation that a cascade's second stage learns from."""
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    home = folder / "preprocessed" / job["dataset"]
    out = model_folder(job, name, folder) / f"fold_{fold}"
    if (out / "checkpoint_final.pth").is_file() and (out / "validation").is_dir():
        return
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - its loader draws from the global generator
    torch.manual_seed(0)
    plans = json.loads((home / f"{job['plans']}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((home / "dataset.json").read_text())
    kind = recursive_find_trainer_class_by_name(job["trainer"])
    assert issubclass(kind, nnUNetTrainer)
    trainer = kind(plans, name, fold, dataset, device=torch.device("cpu"))
    trainer.num_epochs = job["epochs"]
    trainer.num_iterations_per_epoch = job["iterations"] * (4 if name == "2d" else 1)
    trainer.num_val_iterations_per_epoch = 2
    os.environ[LOADER_WORKERS] = "0"  # in this process; planning wants at least one
    trainer.run_training()
    os.environ[LOADER_WORKERS] = "1"
    trainer.perform_actual_validation()


def write_older_form(path: Path) -> None:
    """Puts a trained model's plans.json into the form from before `architecture`."""
    plans = json.loads(path.read_text())
    for entry in plans["configurations"].values():
        if "architecture" not in entry:
            continue
        arguments = entry.pop("architecture")["arch_kwargs"]
        entry |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": arguments["features_per_stage"][0],
            "unet_max_num_features": max(arguments["features_per_stage"]),
            "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
            "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [
                sum(stride[axis] > 1 for stride in arguments["strides"])
                for axis in range(len(entry["patch_size"]))
            ],
            "pool_op_kernel_sizes": arguments["strides"],
            "conv_kernel_sizes": arguments["kernel_sizes"],
        }
    properties = plans.pop("foreground_intensity_properties_per_channel", None)
    if properties is not None:
        plans["foreground_intensity_properties_by_modality"] = properties
    path.write_text(json.dumps(plans, indent=4))


def predict(job: dict[str, Any], name: str, folder: Path, *, mirror: bool) -> None:
    """nnUNetv2_predict on all images of the data set's imagesTs."""
    target = prediction_folder(job, name, folder, mirror=mirror)
    images = folder / "raw" / job["dataset"] / "imagesTs"
    ending = json.loads((images.parent / "dataset.json").read_text())["file_ending"]
    cases = {path.name.rsplit("_", 1)[0] for path in images.iterdir()}
    if all((target / f"{case}{ending}").is_file() for case in cases):
        return
    command = [
        str(Path(sys.executable).parent / "nnUNetv2_predict"),
        *("-i", str(images), "-o", str(target), "-d", job["dataset"], "-c", name),
        *("-tr", job["trainer"], "-p", job["plans"]),
        *("-f", *map(str, job["folds"]), "-npp", "1", "-nps", "1", "-device", "cpu"),
    ]
    if not mirror:
        command.append("--disable_tta")
    if name == "3d_cascade_fullres":
        first = prediction_folder(job, "3d_lowres", folder, mirror=mirror)
        command += ["-prev_stage_predictions", str(first)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def model_folder(job: dict[str, Any], name: str, folder: Path) -> Path:
    return folder / "results" / job["dataset"] / f"{job['trainer']}__{job['plans']}__{name}"


def prediction_folder(job: dict[str, Any], name: str, folder: Path, *, mirror: bool) -> Path:
    stem = f"{job['dataset']}__{job['trainer']}__{job['plans']}__{name}"
    return folder / "predicted" / f"{stem}__{'mirrored' if mirror else 'plain'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    set_folders(folder)
    for job in json.loads((folder / "jobs.json").read_text()):
        prepare(job, folder)
        for name in job["configurations"]:
            for fold in job["folds"]:
                train(job, name, fold, folder)
            if job.get("older_plans"):
                write_older_form(model_folder(job, name, folder) / "plans.json")
            for mirror in (True, False):
                predict(job, name, folder, mirror=mirror)
            print(f"peer: {job['dataset']} {job['plans']} {name}: trained, predicted", flush=True)


if __name__ == "__main__":
    main()

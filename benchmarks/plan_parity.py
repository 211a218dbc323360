"""Every decision of the planner against those of nnunetv2, on made fingerprints.

Run once in each environment (nnunetv2's first):

    python benchmarks/plan_parity.py write FILE [--random 200]     # needs nnunetv2
    python benchmarks/plan_parity.py compare FILE [--keep FOLDER]  # needs selfseg

The hand-made cases each aim at one rule; `--random` adds drawn ones. `--keep` stores the
hand-made ones with nnunetv2's decisions, one small JSON each, for Testing/.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

Case = dict[str, Any]


def case(
    name: str,
    spacings: list[list[float]],
    shapes: list[list[int]],
    *,
    planner: str = "plain",
    memory: float = 8,
    channels: tuple[str, ...] = ("MRI",),
    labels: dict[str, Any] | int = 2,
    regions_class_order: list[int] | None = None,
    count: int | None = None,
    ratio: float = 1.0,
) -> Case:
    named = (
        {"background": 0, **{f"structure {i}": i for i in range(1, labels + 1)}}
        if isinstance(labels, int)
        else labels
    )
    dataset = {
        "channel_names": {str(i): channel for i, channel in enumerate(channels)},
        "labels": named,
        "numTraining": count or len(spacings),
        "file_ending": ".nii.gz",
    }
    if regions_class_order:
        dataset["regions_class_order"] = regions_class_order
    intensities = {
        "mean": 51.5, "median": 50.25, "std": 20.125, "min": -900.0, "max": 1200.0,
        "percentile_00_5": -40.5, "percentile_99_5": 210.75,
    }  # fmt: skip
    return {
        "name": name,
        "planner": planner,
        "gpu_memory_gb": memory,
        "dataset": dataset,
        "fingerprint": {
            "spacings": spacings,
            "shapes_after_crop": shapes,
            "median_relative_size_after_cropping": ratio,
            "foreground_intensity_properties_per_channel": {
                str(i): intensities for i in range(len(channels))
            },
        },
    }


def hand_made() -> list[Case]:
    """One case per rule."""
    thin_and_thick = [[z, 1.3, 1.4] for z in (4.5, 6.0, 8.0, 9.0, 10.0, 10.0)]
    nearly_plane = [[z, 1.5, 1.5] for z in (1.0, 1.0, 6.0, 7.0, 8.0, 8.0)]
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": 3, "ignore": 4}
    return [
        case("small_isotropic", [[1, 1, 1]] * 4, [[36, 50, 35], [34, 48, 36], [38, 53, 33],
             [35, 51, 35]], count=200),
        case("thick_slices_refined", thin_and_thick, [[9, 231, 202]] * 6, planner="resenc_m"),
        case("thick_slices_floor", nearly_plane, [[12, 180, 190]] * 6, channels=("CT",)),
        case("coarse_axis_last", [[0.7, 0.7, 2.5], [0.8, 0.8, 3.0], [0.75, 0.75, 2.0]],
             [[512, 512, 160], [400, 410, 120], [512, 512, 201]], channels=("CT",), count=80),
        case("coarse_axis_middle", [[1, 2.5, 1], [1, 3.1, 1]], [[160, 40, 170], [150, 37, 181]],
             planner="resenc_l", memory=24),
        case("two_coarse_axes", [[2, 2, 0.5]] * 3, [[60, 61, 240], [64, 59, 250], [61, 66, 230]]),
        case("colour_2d", [[999, 1, 1]] * 5, [[1, 512, 640], [1, 480, 640], [1, 512, 513],
             [1, 700, 711], [1, 256, 320]], channels=("rgb_to_0_1",) * 3, planner="resenc_l",
             memory=24, count=40),
        case("oblong_2d", [[999, 0.4, 1.1]] * 2, [[1, 1024, 301], [1, 1001, 288]], memory=4,
             count=500),
        case("tiny_images", [[1, 1, 1], [1, 1, 1.2]], [[9, 12, 11], [10, 13, 17]], count=30),
        case("mixed_channels_masked", [[1.2, 1, 1]] * 3, [[120, 160, 161], [118, 170, 150],
             [131, 166, 155]], channels=("CT", "T1", "noNorm", "rescale_to_0_1"), ratio=0.61,
             planner="resenc_m", count=120),
        case("regions_and_ignore", [[1, 1, 1]] * 2, [[140, 170, 138], [141, 173, 136]],
             channels=("T1", "T2"), labels=regions, regions_class_order=[1, 2, 3],
             planner="resenc_l", memory=24, count=300),
        case("huge_with_cascade", [[0.6, 0.4, 0.4]] * 3, [[700, 900, 910], [650, 1000, 880],
             [720, 870, 890]], planner="resenc_xl", memory=40, channels=("CT",)),
        case("cascade_of_thick_slices", [[5, 0.8, 0.8]] * 4, [[130, 512, 512], [140, 512, 500],
             [120, 512, 512], [151, 500, 512]], planner="resenc_m", channels=("CT",), labels=7),
        case("lowres_not_worth_it", [[1, 1, 1]] * 2, [[206, 207, 205], [204, 208, 206]], count=60),
        case("one_case_many_labels", [[1.5, 1.5, 1.5]], [[201, 254, 243]], labels=104, memory=16),
        case("little_memory", [[1, 0.9, 0.9]] * 2, [[90, 200, 201], [101, 190, 220]], memory=1.5,
             count=77),
        case("half_voxel_medians", [[1, 1, 1]] * 2, [[37, 40, 41], [38, 41, 44]],
             planner="resenc_xl", memory=6, count=9),
    ]  # fmt: skip


def drawn(count: int, seed: int) -> list[Case]:
    """Cases drawn over a wide range of everything that enters a decision."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, nothing secret
    cases = []
    for index in range(count):
        flat = draw.random() < 0.15
        middle = [draw.uniform(0.3, 2) for _ in range(3)]
        if draw.random() < 0.6:
            middle[draw.choice((0, 0, 0, 1, 2))] *= draw.uniform(1, 10)
        sizes = [draw.choice((12, 40, 90, 180, 300, 512, 700)) * draw.uniform(0.7, 1.4)
                 for _ in range(3)]  # fmt: skip
        spread = draw.choice((0, 0.1, 0.5))
        spacings, shapes = [], []
        for _ in range(draw.randint(1, 30)):
            jitter = [draw.uniform(1 - spread, 1 + spread) for _ in range(3)]
            spacing = [
                round(s * j, draw.choice((1, 3, 5))) for s, j in zip(middle, jitter, strict=True)
            ]
            shape = [
                max(8, round(n / j * draw.uniform(0.9, 1.1)))
                for n, j in zip(sizes, jitter, strict=True)
            ]
            if flat:
                spacing[0], shape[0] = 999.0, 1
            spacings.append([max(s, 0.1) for s in spacing])
            shapes.append(shape)
        channels = draw.choice((("CT",), ("MRI",), ("CT", "PET"), ("rgb_to_0_1",) * 3))
        cases.append(
            case(
                f"drawn_{index:03d}", spacings, shapes,
                planner=draw.choice(("plain", "plain", "resenc_m", "resenc_l", "resenc_xl")),
                memory=draw.choice((4, 6, 8, 11, 24, 40)),
                channels=channels, labels=draw.choice((1, 2, 13, 60)),
                count=draw.choice((None, 1, 10, 1000)), ratio=draw.choice((1.0, 0.75, 0.4)),
            )
        )  # fmt: skip
    return cases


def write(path: Path, random_count: int, seed: int) -> None:
    """Lets nnunetv2 plan every case; its networks are built on torch's meta device."""
    cases = hand_made() + drawn(random_count, seed)
    with tempfile.TemporaryDirectory() as folder:
        raw, preprocessed = Path(folder, "raw"), Path(folder, "preprocessed")
        os.environ.update(nnUNet_raw=str(raw), nnUNet_preprocessed=str(preprocessed))
        for index, entry in enumerate(cases):
            entry["plans"] = _plan_with_nnunetv2(entry, raw, preprocessed, index + 1)
            entry["expected"] = _decisions_of(entry["plans"])
            print(f"{index + 1}/{len(cases)} {entry['name']}", flush=True)
    path.write_text(json.dumps(cases))


def _plan_with_nnunetv2(entry: Case, raw: Path, preprocessed: Path, number: int) -> dict[str, Any]:
    import torch
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as residual,
    )

    planners = {
        "plain": ExperimentPlanner,
        "resenc_m": residual.nnUNetPlannerResEncM,
        "resenc_l": residual.nnUNetPlannerResEncL,
        "resenc_xl": residual.nnUNetPlannerResEncXL,
    }
    name = f"Dataset{number:03d}_made"
    for folder in (raw / name, preprocessed / name):
        folder.mkdir(parents=True)
    dataset = {
        **entry["dataset"],
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {"a": {"images": ["a_0000.nii.gz"], "label": "a.nii.gz"}},
    }
    (raw / name / "dataset.json").write_text(json.dumps(dataset))
    fingerprint = json.dumps(entry["fingerprint"])
    (preprocessed / name / "dataset_fingerprint.json").write_text(fingerprint)
    with contextlib.redirect_stdout(io.StringIO()), torch.device("meta"):
        planner = planners[entry["planner"]](number, entry["gpu_memory_gb"])
        plans = planner.plan_experiment()
    return json.loads(json.dumps(plans))


def _decisions_of(plans: dict[str, Any]) -> dict[str, Any]:
    """The decisions in the form of the reference plans: networks flat, no names of classes."""
    kept = ("n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage",
            "n_blocks_per_stage", "n_conv_per_stage_decoder")  # fmt: skip
    plain = ("batch_size", "patch_size", "median_image_size_in_voxels", "spacing",
             "normalization_schemes", "use_mask_for_norm", "batch_dice", "inherits_from",
             "previous_stage")  # fmt: skip
    configurations = {}
    for name, entry in plans["configurations"].items():
        arguments = entry.get("architecture", {}).get("arch_kwargs", {})
        configurations[name] = {key: entry[key] for key in plain if key in entry}
        configurations[name] |= {key: arguments[key] for key in kept if key in arguments}
    top = ("original_median_spacing_after_transp", "original_median_shape_after_transp",
           "transpose_forward", "transpose_backward")  # fmt: skip
    return {**{key: plans[key] for key in top}, "configurations": configurations}


def compare(path: Path, keep: Path | None) -> None:
    """Plans every case with selfseg and counts the cases that differ in any decision."""
    from selfseg.io.nnunet_json import (
        description_from_nnunet,
        fingerprint_from_nnunet,
        plan_from_nnunet,
        plan_to_nnunet,
    )
    from selfseg.plan.planner import make_plan

    cases = json.loads(path.read_text())
    different = 0
    for entry in cases:
        description = description_from_nnunet(entry["dataset"])
        plan = make_plan(
            fingerprint_from_nnunet(entry["fingerprint"]),
            description,
            entry["planner"],
            entry["gpu_memory_gb"],
        )
        ours = _decisions_of(json.loads(json.dumps(plan_to_nnunet(plan))))
        read = plan_from_nnunet(entry["plans"], description)
        if ours != entry["expected"] or read.configurations != plan.configurations:
            different += 1
            print(f"DIFFERENT {entry['name']}")
        if keep is not None and not entry["name"].startswith("drawn"):
            stored = {key: value for key, value in entry.items() if key != "plans"}
            (keep / f"{entry['name']}.json").write_text(json.dumps(stored) + "\n")
    names = [set(entry["expected"]["configurations"]) for entry in cases]
    print(
        f"{len(cases)} cases ({sum('3d_lowres' in n for n in names)} with a low-resolution stage, "
        f"{sum(n == {'2d'} for n in names)} in 2D): {different} differ"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writer = commands.add_parser("write")
    writer.add_argument("file", type=Path)
    writer.add_argument("--random", type=int, default=0)
    writer.add_argument("--seed", type=int, default=0)
    comparer = commands.add_parser("compare")
    comparer.add_argument("file", type=Path)
    comparer.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.command == "write":
        write(options.file, options.random, options.seed)
    else:
        compare(options.file, options.keep)


if __name__ == "__main__":
    main()

"""Our preprocessing beside nnunetv2's, array by array, with seconds and memory.

    python benchmarks/preprocess_parity.py --peer-python PEER/bin/python DATA_FOLDER

`--peer-python` is the interpreter of an environment with nnunetv2 2.8.1 (and batchgenerators
0.25.5); DATA_FOLDER holds Dataset004_Hippocampus and the other data sets of `REAL`. Both sides
read the files themselves and use one thread. Exits with 1 where an image differs by more than
1e-4, or a label map at all. `--golden` (no data needed) writes the golden arrays of
Testing/selfseg/preprocess/golden from the made images instead.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "Testing"))

from selfseg.domain.plan import Plan  # noqa: E402
from selfseg.io.datasets import open_dataset  # noqa: E402
from selfseg.io.images import read_case  # noqa: E402
from selfseg.io.nnunet_plans import NORMALISATION_CLASSES  # noqa: E402
from selfseg.preprocess.case import preprocess_case  # noqa: E402
from synthetic_preprocessing import GOLDEN, GOLDEN_STEP, Recipe, made_case, made_plan  # noqa: E402

TOLERANCE = 1e-4
ZSCORE, RGB = "zscore", "rgb_to_0_1"


def how(
    *target: float,
    scheme: str = ZSCORE,
    channels: int = 1,
    in_mask: bool = False,
    transpose: tuple[int, int, int] = (0, 1, 2),
) -> Recipe:
    """A recipe for real images, which bring their own shape and spacing."""
    one = (1, 1, 1)
    return Recipe(one, one, target, (scheme,) * channels, (in_mask,) * channels, transpose)


REAL: list[tuple[str, str, int, Recipe]] = [
    # (title, data set, number of cases, how)
    ("as planned", "Dataset004_Hippocampus", 3, how(1.0, 1.0, 1.0)),
    ("other spacing", "Dataset004_Hippocampus", 3, how(1.4, 0.8, 0.9, transpose=(2, 0, 1))),
    ("as planned", "Dataset201_SunnybrookLV", 2, how(8.0, 1.25, 1.25)),
    ("other spacing", "Dataset201_SunnybrookLV", 2, how(6.0, 1.0, 1.1)),
    ("2d", "Dataset201_SunnybrookLV", 2, how(1.1, 1.4)),
    ("median spacing", "Dataset202_MSLesionFLAIR", 2, how(3.0, 0.65, 0.65, in_mask=True)),
    ("isotropic", "Dataset202_MSLesionFLAIR", 2, how(1.0, 1.0, 1.0, in_mask=True)),
    ("as planned", "Dataset203_NucleiGrey", 2, how(1.0, 1.0)),
    ("other spacing", "Dataset203_NucleiGrey", 2, how(0.8, 1.3)),
    ("as planned", "Dataset204_NucleiRGB", 2, how(1.0, 1.0, scheme=RGB, channels=3)),
]

PEER = """
import json, resource, sys, time
import numpy as np
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

jobs, out = json.load(open(sys.argv[1])), sys.argv[2]
for job in jobs:
    plans = PlansManager(job["plans"])
    configuration = plans.get_configuration(job["configuration"])
    worker = DefaultPreprocessor(verbose=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if "array" in job:
        given = np.load(job["array"])
        image, seg, properties = worker.run_case_npy(
            given["image"], given["labels"][None], {"spacing": job["spacing"]}, plans,
            configuration, job["dataset_json"])
    else:
        image, seg, properties = worker.run_case(
            job["images"], job["label"], plans, configuration, job["dataset_json"])
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.savez(f"{out}/{job['id']}.npz", image=image.astype(np.float32), labels=seg[0],
             seconds=seconds, memory=memory / 1024)
"""


def peer_plans(plan: Plan, reader: str) -> dict[str, Any]:
    """The few entries of a plans.json that nnunetv2's preprocessor reads."""
    ((name, chosen),) = plan.configurations.items()
    resample = "resample_data_or_seg_to_shape"
    common = {"order_z": 0, "force_separate_z": None}
    intensities = {}
    for channel, p in enumerate(plan.foreground_intensities):
        intensities[str(channel)] = {
            "mean": p.mean, "std": p.std, "median": p.median, "min": p.min, "max": p.max,
            "percentile_00_5": p.percentile_00_5, "percentile_99_5": p.percentile_99_5,
        }  # fmt: skip
    return {
        "plans_name": "parity",
        "dataset_name": "parity",
        "image_reader_writer": reader,
        "label_manager": "LabelManager",
        "transpose_forward": list(plan.transpose_forward),
        "transpose_backward": list(plan.transpose_backward),
        "foreground_intensity_properties_per_channel": intensities,
        "configurations": {
            name: {
                "data_identifier": name,
                "preprocessor_name": "DefaultPreprocessor",
                "spacing": list(chosen.spacing),
                "patch_size": list(chosen.patch_size),
                "normalization_schemes": [NORMALISATION_CLASSES[n] for n in chosen.normalisation],
                "use_mask_for_norm": list(chosen.normalise_in_mask),
                "resampling_fn_data": resample,
                "resampling_fn_data_kwargs": common | {"is_seg": False, "order": 3},
                "resampling_fn_seg": resample,
                "resampling_fn_seg_kwargs": common | {"is_seg": True, "order": 1},
                "architecture": {"network_class_name": "none", "arch_kwargs": {}},
            }
        },
    }


def ask_peer(python: str, jobs: list[dict[str, Any]], scratch: Path) -> list[dict[str, Any]]:
    (scratch / "peer.py").write_text(PEER)
    (scratch / "jobs.json").write_text(json.dumps(jobs))
    places = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(scratch))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [python, str(scratch / "peer.py"), str(scratch / "jobs.json"), str(scratch)]
    done = subprocess.run(
        command, env=os.environ | places | threads, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [dict(np.load(scratch / f"{job['id']}.npz")) for job in jobs]


def compare_real(python: str, data: Path, scratch: Path) -> bool:
    jobs, work = [], []
    for title, name, count, recipe in REAL:
        if not (data / name).is_dir():
            print(f"{name} is not there: NOT compared")
            continue
        dataset = open_dataset(data / name)
        made = made_plan(recipe)
        plan = replace(made, description=dataset.description)
        reader = "NaturalImage2DIO" if dataset.description.file_ending == ".png" else "SimpleITKIO"
        for case in dataset.cases[:count]:
            work.append((f"{name[7:10]} {title}, {case.identifier}", case, plan, recipe))
            jobs.append({
                "id": len(jobs), "plans": peer_plans(plan, reader),
                "configuration": recipe.configuration,
                "dataset_json": json.loads((data / name / "dataset.json").read_text()),
                "images": [str(path) for path in case.images], "label": str(case.label),
            })  # fmt: skip
    same = True
    theirs = ask_peer(python, jobs, scratch)
    print(f"{'case':44} {'shape':>16} {'max |diff|':>10}  labels     seconds peer / ours    MB")
    for (title, case, plan, recipe), peer in zip(work, theirs, strict=True):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        raw = read_case(case, plan.description.labels)
        mine = preprocess_case(raw, plan, recipe.configuration)
        seconds = time.perf_counter() - start
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        difference = float(np.abs(mine.image - peer["image"]).max())
        wrong = int((mine.labels != np.maximum(peer["labels"], 0)).sum())
        if mine.nonzero is not None:
            wrong += int((mine.nonzero != (peer["labels"] >= 0)).sum())
        same &= difference <= TOLERANCE and wrong == 0
        shape = "x".join(str(n) for n in mine.image.shape[1:])
        verdict = "identical" if wrong == 0 else f"{wrong} differ"
        print(
            f"{title:44} {shape:>16} {difference:10.1e}  {verdict:10} "
            f"{float(peer['seconds']):6.3f} / {seconds:6.3f}   "
            f"+{float(peer['memory']):.0f} / +{memory:.0f}"
        )
        del raw, mine
    return same


def write_golden(python: str, scratch: Path) -> bool:
    jobs = []
    for name, recipe in GOLDEN.items():
        case, plan = made_case(recipe), made_plan(recipe)
        np.savez(scratch / f"given_{name}.npz", image=case.channels, labels=case.labels)
        jobs.append({
            "id": name, "plans": peer_plans(plan, "SimpleITKIO"),
            "configuration": recipe.configuration, "spacing": list(recipe.spacing),
            "dataset_json": {
                "channel_names": {str(c): n for c, n in enumerate(plan.description.channel_names)},
                "labels": plan.description.labels.to_mapping(), "file_ending": ".nii.gz",
            },
            "array": str(scratch / f"given_{name}.npz"),
        })  # fmt: skip
    every = slice(None, None, GOLDEN_STEP)
    for (name, recipe), peer in zip(GOLDEN.items(), ask_peer(python, jobs, scratch), strict=True):
        path = PROJECT / "Testing/selfseg/preprocess/golden" / f"{name}.npz"
        cut = (slice(None, None, 1 if recipe.shape[0] == 1 else GOLDEN_STEP), every, every)
        np.savez_compressed(
            path,
            image=peer["image"][:, *cut],
            labels=np.maximum(peer["labels"], 0).astype(np.uint8)[cut],
            nonzero=np.packbits(peer["labels"][cut] >= 0),
            shape=np.array(peer["labels"].shape),
        )
        print(f"{path.name}: {peer['labels'].shape}, {path.stat().st_size / 1024:.1f} kB")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("data", type=Path, nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.golden:
            return 0 if write_golden(options.peer_python, Path(temporary)) else 1
        if options.data is None:
            parser.error("DATA_FOLDER is missing")
        return 0 if compare_real(options.peer_python, options.data, Path(temporary)) else 1


if __name__ == "__main__":
    raise SystemExit(main())

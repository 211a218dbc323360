"""A cascade's input beside nnunetv2's, label map by label map.

    python benchmarks/cascade_parity.py --peer-python PEER/bin/python

`--peer-python` is the interpreter of an environment with nnunetv2 2.8.1. Both sides get the same
made logits and label maps, with and without regions, on isotropic and anisotropic grids:

    training   first stage's logits -> second stage's grid -> label map
    new image  first stage's native label map -> second stage's grid -> one channel per value

Exits with 1 where a voxel differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "Testing"))

from selfseg.arrays.one_hot import one_hot  # noqa: E402
from selfseg.domain.labels import LabelScheme  # noqa: E402
from selfseg.domain.plan import Plan  # noqa: E402
from selfseg.infer.cascade import previous_on_grid  # noqa: E402
from selfseg.infer.restore import labels_for_next_stage  # noqa: E402
from selfseg.io.nnunet_json import plan_to_nnunet  # noqa: E402
from selfseg.preprocess.case import preprocess_case  # noqa: E402
from synthetic_preprocessing import Recipe, made_case, made_plan  # noqa: E402

LABELS = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2, "c": 3})
REGIONS = LabelScheme.from_mapping(
    {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "spot": 3}, [1, 2, 3]
)
Z = ("zscore",)
GRIDS: dict[str, tuple[Recipe, tuple[float, float, float]]] = {
    # name: (the second stage's, the first stage's spacing)
    "isotropic": (Recipe((30, 34, 28), (1.0, 0.9, 1.1), (1.0, 1.0, 1.0), Z, (False,)), (2.1,) * 3),
    "transposed": (
        Recipe((28, 30, 34), (1.0, 1.0, 0.8), (0.9, 1.0, 1.0), Z, (False,), (2, 0, 1)),
        (1.7, 1.9, 2.0),
    ),
    "thick slices": (
        Recipe((12, 60, 64), (6.0, 0.8, 0.8), (6.0, 0.8, 0.8), Z, (False,)),
        (6.0, 1.9, 1.9),
    ),
    "thick slices, coarser in all": (
        Recipe((24, 60, 64), (5.0, 0.8, 0.8), (5.0, 0.8, 0.8), Z, (False,)),
        (7.0, 2.6, 2.6),
    ),
}

PEER = """
import json, sys
import numpy as np
from nnunetv2.inference.export_prediction import resample_and_save
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.label_handling.label_handling import (
    convert_labelmap_to_one_hot, determine_num_input_channels)
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

class Keep:
    @staticmethod
    def save_seg(seg, path):
        np.save(path, seg)

jobs, folder = json.load(open(sys.argv[1])), sys.argv[2]
for job in jobs:
    plans = PlansManager(job["plans"])
    first = plans.get_configuration("3d_lowres")
    second = plans.get_configuration("3d_cascade_fullres")
    record = job["dataset"]
    stem = folder + "/" + job["name"]
    properties = {
        "spacing": job["spacing"], "shape_after_cropping_and_before_resampling": job["shape"]}
    resample_and_save(np.load(stem + ".logits.npy"), job["shape"], stem + ".training.npy", plans,
                      first, properties, record, 1, Keep)
    image, labels = np.load(stem + ".image.npy"), np.load(stem + ".native.npy")
    _, previous, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        image, labels[None].astype(np.int16), properties, plans, second, record)
    values = plans.get_label_manager(record).foreground_labels
    masks = convert_labelmap_to_one_hot(previous[0], values, np.float32)
    np.save(stem + ".masks.npy", masks)
    channels = determine_num_input_channels(plans, "3d_cascade_fullres", record)
    assert channels == job["channels"], (channels, job["channels"])
"""


def cascade_plan(recipe: Recipe, coarse: tuple[float, ...], labels: LabelScheme) -> Plan:
    """A plan with both stages."""
    plan = made_plan(recipe, labels)
    full = plan.configuration("3d_fullres")
    return replace(
        plan,
        configurations={
            "3d_lowres": replace(full, name="3d_lowres", spacing=coarse),
            "3d_fullres": full,
            "3d_cascade_fullres": replace(
                full, name="3d_cascade_fullres", previous_stage="3d_lowres"
            ),
        },
    )


def made_logits(heads: int, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """Smooth noise, so that structures have borders of every direction."""
    noise = np.random.default_rng(seed).standard_normal((heads, *shape))
    return ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 1.5)).astype(np.float32)


def main() -> int:
    """Makes the input, runs both sides, prints a line per comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, required=True)
    options = parser.parse_args()
    jobs, ours = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind, labels in (("labels", LABELS), ("regions", REGIONS)):
            for title, (recipe, coarse) in GRIDS.items():
                name = f"{kind} {title}"
                plan = cascade_plan(recipe, coarse, labels)
                raw = made_case(recipe)
                low = preprocess_case(raw, plan, "3d_lowres")
                full = preprocess_case(raw, plan, "3d_cascade_fullres")
                logits = made_logits(labels.head_count, low.image.shape[1:], len(jobs))
                noise = made_logits(4, recipe.shape, 100 + len(jobs))
                native = noise.argmax(axis=0).astype(np.uint8)
                values = plan.previous_values("3d_cascade_fullres")
                shape = full.record.shape_after_resampling
                ours[name] = (
                    labels_for_next_stage(logits, low.record, shape, labels),
                    one_hot(previous_on_grid(native, full.record), values),
                )
                np.save(folder / f"{name}.logits.npy", logits)
                np.save(folder / f"{name}.image.npy", raw.channels)
                np.save(folder / f"{name}.native.npy", native)
                record: dict[str, Any] = {
                    "channel_names": {"0": "channel_0"},
                    "labels": labels.to_mapping(),
                    "file_ending": ".nii.gz",
                }
                if labels.regions_class_order is not None:
                    record["regions_class_order"] = list(labels.regions_class_order)
                jobs.append(
                    {
                        "name": name,
                        "plans": plan_to_nnunet(plan),
                        "dataset": record,
                        "spacing": list(recipe.spacing),
                        "shape": list(shape),
                        "channels": plan.input_channels("3d_cascade_fullres"),
                    }
                )
        task = folder / "jobs.json"
        task.write_text(json.dumps(jobs))
        subprocess.run([options.peer_python, "-c", PEER, task, folder], check=True)
        differing = 0
        for name, (training, masks) in ours.items():
            for what, found, wanted in (
                ("training", training, np.load(folder / f"{name}.training.npy")),
                ("new image", masks, np.load(folder / f"{name}.masks.npy")),
            ):
                wrong = int((found != wanted).sum())
                differing += wrong
                print(f"{name:40s} {what:10s} {wrong:6d} of {found.size} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

"""The same trained network through PyTorch and through ONNX Runtime, case by case.

    python benchmarks/onnx_parity.py PROJECT [--plan NAME] [--cases 20] [--device cpu]

PROJECT has a finished training; the cases are the first of its data set, from the raw image to
the label map on the native grid, with test-time mirroring. PyTorch runs on the processor in
float32. Needs the extra `onnx`. Prints a line per case and, last, a summary as JSON; run it on a
machine that does nothing else where the times matter.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from selfseg.infer.torch_backend import TorchBackend
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_case
from selfseg.io.onnx_files import read_onnx
from selfseg.io.project import Project
from selfseg.registry.onnx_export import export_onnx
from selfseg.stages.bundle import CardOptions, ModelChoice, bundle_from_project
from selfseg.stages.models import LoadedModel
from selfseg.stages.onnx_models import load_onnx_member
from selfseg.stages.segment import segment_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--plan")
    parser.add_argument("--dataset", type=Path, help="default: the project's")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", help="of ONNX Runtime: cpu, cuda or openvino")
    parser.add_argument("--no-mirror", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    project = Project.open(options.project)
    choice = ModelChoice(plan=options.plan)
    bundle, weights = bundle_from_project(project, CardOptions(), choice)
    held = list(weights)
    (member,) = bundle.members
    plan = bundle.plans[member.plan]
    network = plan.configuration(member.configuration).network
    backend = TorchBackend(
        network,
        plan.input_channels(member.configuration),
        plan.description.labels.head_count,
        [arrays for key, arrays in held if key.configuration == member.configuration],
        device="cpu",
        autocast="off",
    )
    with tempfile.TemporaryDirectory() as folder:
        target = export_onnx(Path(folder) / "model", replace(bundle, scores=None), held)
        began = time.perf_counter()
        graphs = load_onnx_member(
            read_onnx(target), member, device=options.device, threads=options.threads
        )
        load_seconds = time.perf_counter() - began
    models = {"torch": LoadedModel(plan, member.configuration, backend), "onnx": graphs}

    dataset = open_dataset(options.dataset or Path(project.dataset_folder))
    agreements, worst, seconds = [], "", {"torch": 0.0, "onnx": 0.0}
    for files in dataset.cases[: options.cases]:
        raw = read_case(files, None, with_labels=False)
        made = {}
        for name, model in models.items():
            began = time.perf_counter()
            made[name] = segment_image(raw, model, mirror=not options.no_mirror)
            seconds[name] += time.perf_counter() - began
        agreement = float((made["torch"] == made["onnx"]).mean())
        if not agreements or agreement < min(agreements):
            worst = files.identifier
        agreements.append(agreement)
        differing = int((made["torch"] != made["onnx"]).sum())
        print(f"{files.identifier}: {agreement:.6f}, {differing} of {made['onnx'].size} voxels, "
              f"labels {np.unique(made['onnx']).tolist()}", flush=True)  # fmt: skip
    summary = {
        "cases": len(agreements),
        "least_agreement": min(agreements),
        "worst_case": worst,
        "mean_agreement": sum(agreements) / len(agreements),
        "features": network.features_per_stage,
        "threads": options.threads,
        "load_seconds": round(load_seconds, 2),
        "seconds_per_case": {k: round(v / len(agreements), 3) for k, v in seconds.items()},
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

"""Lists of cases as long as those of large studies, through the product's own readers and writers.

    python benchmarks/scaling_files.py FOLDER [--counts 1000 10000 100000]

Synthetic entries, no images: the data set's folder is empty files. Prints seconds and file sizes,
and the same as JSON on the last line; benchmarks/scaling.py keeps that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cluster_simulation import example_plan

from selfseg.crossvalidate.splits import holding_folds, make_splits
from selfseg.domain.dataset import CaseFiles, Dataset, DatasetDescription
from selfseg.domain.errors import FileFormatError
from selfseg.domain.fingerprint import Fingerprint, IntensityProperties
from selfseg.infer.confidence import Confidence, StructureConfidence
from selfseg.io.datasets import open_dataset
from selfseg.io.json_files import write_plain_json
from selfseg.io.project import Project
from selfseg.plan.planner import make_plan
from selfseg.stages.predictions import FILE, FileState, Prediction, Predictions
from selfseg.stages.volumes import VolumeRow, volume_table

COUNTS = (1000, 10_000, 100_000)
STRUCTURES = ("organ", "lesion")
MOST_FILES = 10_000
"""Cases of a data set that is made of real (empty) files."""


def measured(counts: tuple[int, ...], folder: Path) -> list[dict[str, Any]]:
    """Every step for every number of cases."""
    found: list[dict[str, Any]] = []

    def step(name: str, count: int, work: Callable[[], Any], path: Path | None = None) -> Any:
        began = time.perf_counter()
        try:
            result, fault = work(), ""
        except FileFormatError as error:
            result, fault = None, error.what
        seconds = time.perf_counter() - began
        size = path.stat().st_size if path is not None and path.exists() else None
        found.append({"step": name, "cases": count, "seconds": round(seconds, 4)})
        found[-1] |= {"file_bytes": size} if size is not None else {}
        found[-1] |= {"fault": fault} if fault else {}
        print(found[-1], flush=True)
        return result

    for count in counts:
        place = folder / str(count)
        shutil.rmtree(place, ignore_errors=True)
        names = [f"case{i:07d}" for i in range(count)]
        description = example_plan(2).description
        fingerprint = example_fingerprint(names)
        plan = step("make the plan", count, lambda f=fingerprint, d=description: make_plan(f, d))
        dataset = example_dataset(place / "Dataset001_Large", names, description)
        if count <= MOST_FILES:
            write_empty_files(dataset)
            dataset = step("open the data set", count, lambda d=dataset: open_dataset(d.folder))
        project = Project.create(place / "project", dataset)
        where = project.folder
        project.write_plan(plan)
        write = project.write_fingerprint
        step("write fingerprint.json", count, lambda w=write, f=fingerprint: w(f),
             where / "fingerprint.json")  # fmt: skip
        step("read fingerprint.json", count, project.read_fingerprint)
        splits = step("make the folds", count, lambda n=names: make_splits(n))
        step("write splits.json", count, lambda p=project, s=splits: p.write_splits(s),
             where / "splits.json")  # fmt: skip
        step("read splits.json", count, project.read_splits)
        step("which fold holds each case out", count, lambda d=dataset: holding_folds(d))
        step("find every case by name", count, lambda d=dataset, n=names: [d.case(i) for i in n])
        step("open the project, read its plan", count, lambda p=where: Project.open(p).read_plan())
        notes = Predictions(place)
        notes.cases = {name: example_prediction(name) for name in names}
        step("write predictions.json", count, notes.write, place / FILE)
        step("read predictions.json", count, lambda p=place: Predictions(p))
        rows = [VolumeRow(name, notes.cases[name].sizes) for name in names]
        step("make volumes.csv", count, lambda r=rows: volume_table(r))
        shutil.rmtree(place, ignore_errors=True)
    return found


def example_fingerprint(names: list[str]) -> Fingerprint:
    """Spacings and sizes that vary as those of CT scans do."""
    random = np.random.default_rng(1)
    spacings = random.uniform(0.6, 1.5, (len(names), 3)).tolist()
    shapes = random.integers(200, 600, (len(names), 3)).tolist()
    channel = IntensityProperties(0.0, 0.0, 100.0, -1000.0, 1000.0, -900.0, 900.0)
    return Fingerprint(
        tuple(map(tuple, spacings)), tuple(map(tuple, shapes)), 0.9, (channel,), tuple(names)
    )


def example_dataset(folder: Path, names: list[str], description: DatasetDescription) -> Dataset:
    """As many cases by name."""
    images, labels = folder / "imagesTr", folder / "labelsTr"
    files = (
        CaseFiles(name, (images / f"{name}_0000.nii.gz",), labels / f"{name}.nii.gz")
        for name in names
    )
    return Dataset(folder, description, tuple(files))


def write_empty_files(dataset: Dataset) -> None:
    """The data set as a folder."""
    for case in dataset.cases:
        for path in (*case.images, case.label):
            assert path is not None
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    labels = {"background": 0} | {name: i for i, name in enumerate(STRUCTURES, 1)}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(dataset.cases)}
    write_plain_json(dataset.folder / "dataset.json", content | {"file_ending": ".nii.gz"})


def example_prediction(name: str) -> Prediction:
    """Of a case with two structures."""
    each, image = StructureConfidence(0.01234, 0.98765), f"{name}_0000.nii.gz"
    return Prediction(
        file=f"{name}.nii.gz",
        sha256="0" * 64,
        images=(FileState(image, 10**8, 10**18, f"/data/images/{image}"),),
        provenance={f"setting {i}": "some words" for i in range(14)},
        made="2026-01-01T00:00:00+00:00",
        seconds=12.345,
        confidence=Confidence(0.01, 0.002, 0.98, dict.fromkeys(STRUCTURES, each)),
        sizes=dict.fromkeys(STRUCTURES, 123.456789),
    )  # fmt: skip


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(measured(tuple(options.counts), options.folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

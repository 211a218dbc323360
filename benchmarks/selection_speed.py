"""How long selecting a model takes, and how much room out-of-fold logits take.

    python benchmarks/selection_speed.py DATASET [--configurations 2d 3d_fullres]

Makes a project of the data set in a temporary folder, preprocesses it, and in place of trained
networks makes their out-of-fold logits from the references: blurred, shifted and with noise as
smooth as a network's. Then runs `select` on them. Prints seconds, peak memory and bytes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "Logic"))


def made_logits(labels: NDArray[Any], values: list[int], seed: int) -> NDArray[np.float32]:
    """(K, Z, Y, X) of a network that is mostly right."""
    generator = np.random.default_rng(seed)
    moved = ndimage.shift(labels, generator.uniform(-0.7, 0.7, 3), order=0)
    heads = []
    for value in values:
        noise = ndimage.gaussian_filter(generator.standard_normal(labels.shape), 1.5)
        clear = ndimage.gaussian_filter((moved == value).astype(np.float32), 0.8)
        heads.append(10 * clear + 3 * noise / noise.std() * (clear > 0.001))
    return np.stack(heads).astype(np.float32)


def make_runs(project: Path, configurations: list[str]) -> None:
    """Writes what judging every fold would have written."""
    from selfseg.crossvalidate.splits import splits_of
    from selfseg.evaluate.scores import evaluate_files
    from selfseg.infer.restore import restore
    from selfseg.io.datasets import open_dataset
    from selfseg.io.images import write_label_map
    from selfseg.io.json_files import write_json
    from selfseg.io.project import Project
    from selfseg.io.weights import write_weights
    from selfseg.stages.first_stage import weights_digest
    from selfseg.stages.fold import FoldRun
    from selfseg.stages.folds import with_known_folds
    from selfseg.stages.logits import LogitKeeper

    home = Project.open(project)
    data = with_known_folds(home, open_dataset(home.dataset_folder))
    plan = home.read_plan()
    scheme = plan.description.labels
    values = [0, *(label.values[0] for label in scheme.foreground)]
    total = raw = 0
    for place, configuration in enumerate(configurations):
        for fold in range(len(splits_of(data))):
            run = FoldRun(home, data, plan, configuration, str(fold), "cpu", print, lambda: False)
            weights = {"w": np.full(1, place + 10 * fold, np.float32)}
            write_weights(run.folder / "weights_final.safetensors", weights, {})
            keeper, pairs = LogitKeeper(run, weights_digest(run, "final")), []
            for number, case in enumerate(run.stored(run.split.validation)):
                labels = case.read_labels((0, 0, 0), case.shape)
                logits = made_logits(labels, values, 100 * number + 10 * fold + place)
                keeper.add(case, logits)
                raw += 2 * logits.size
                path = (
                    run.folder / "validation" / f"{case.identifier}{data.description.file_ending}"
                )
                write_label_map(path, restore(logits, case.record, scheme), case.record.native)
                pairs.append((data.case(case.identifier).label, path))
            scores = evaluate_files(pairs, scheme, overlap_only=True)
            write_json(
                run.folder / "validation.json", scores.as_mapping(), schema="selfseg.scores/1"
            )
            keeper.finish(mirror=True)
            total += sum(p.stat().st_size for p in (run.folder / "logits").glob("*.b2nd"))
    print(f"logits: {total / 1e6:.0f} MB on disk, {raw / 1e6:.0f} MB in half precision")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--configurations", nargs="+", default=["2d", "3d_fullres"])
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    from selfseg import pipeline
    from selfseg.domain.events import Event, Notice, StageFinished

    def told(event: Event) -> None:
        if isinstance(event, StageFinished):
            print(f"{event.stage}: {event.seconds:.1f} s {event.detail}")
        elif isinstance(event, Notice):
            print(event.text)

    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        plan = pipeline.plan(options.dataset, project, workers=options.workers, reporter=told)
        assert set(options.configurations) <= set(plan.configurations)
        pipeline.preprocess(
            project, configurations=options.configurations, workers=options.workers, reporter=told
        )
        make_runs(project, options.configurations)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        chosen = pipeline.select(project, device="cpu", workers=options.workers, reporter=told)
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"select: {seconds:.1f} s, {chosen.cases} cases, {len(chosen.candidates)} candidates")
        print(f"peak memory {after / 1024:.0f} MB ({before / 1024:.0f} MB before)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

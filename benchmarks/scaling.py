"""How the cost of our commands grows: voxels, classes, folds, cases; and the memory model's proof.

    python benchmarks/scaling.py FOLDER                    # everything, about 25 minutes
    python benchmarks/scaling.py FOLDER --only voxels memory
    python benchmarks/scaling.py FOLDER --only plot        # docs/images/scaling-*.svg

Every point is one `selfseg` command, with the seconds it took and its peak memory. Networks have
random weights and images are noise, which costs the same as real ones (`scaling_models`). Seconds
want a machine that does nothing else; memory does not. Each part replaces its own entry in
`benchmarks/scaling/scaling.json`; the others stay as they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

from scaling_models import Setting, point_of, predict, write_dataset
from side_by_side import OURS, line_of, machine, measure, versions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "scaling" / "scaling.json"
IMAGES = HERE.parent / "docs" / "images"

LARGE = (600, 512, 512)
"""The largest CT: 157 million voxels."""

CUBE96, CUBE128 = (96,) * 3, (128,) * 3

VOXELS = tuple(
    Setting(shape, patch=CUBE96)
    for shape in ((64,) * 3, (128,) * 3, (256,) * 3, (300, 512, 512), LARGE)
)
CLASSES = tuple(
    Setting((192,) * 3, patch=CUBE96, features=16, classes=k) for k in (2, 10, 30, 61, 120)
)
FOLDS = tuple(Setting((192,) * 3, patch=CUBE96, features=16, folds=n) for n in (1, 2, 5))
CASES = (10, 50, 200, 1000)
LARGE_COUNT = 3

FITTED = (
    Setting((64,) * 3, step=1.0),
    Setting((256,) * 3, step=1.0),
    Setting((192,) * 3, patch=CUBE96, features=16, classes=61, step=1.0),
    Setting((128,) * 3, features=32, classes=120, step=1.0),
    Setting((128,) * 3, patch=CUBE128, features=32, threads=1, step=1.0),
    Setting((192,) * 3, features=16, classes=30, folds=5, step=1.0),
    Setting((200, 256, 256), zoom=0.5, step=1.0),
)
"""The model's constants were taken from these."""

HELD_OUT = (
    Setting((300, 512, 512), patch=CUBE128, step=1.0),
    Setting(LARGE, patch=CUBE128, step=1.0),
    Setting((32,) * 3, patch=CUBE96, features=32, classes=10),
    Setting((256,) * 3, patch=CUBE96, features=16, classes=120, step=1.0),
    Setting((128,) * 3, zoom=2.0, patch=CUBE96, classes=10, step=1.0),
    Setting((160,) * 3, features=32, stages=5, classes=30, folds=3, step=1.0),
    Setting((256,) * 3, cases=3, step=1.0),
    Setting((128,) * 3, patch=CUBE96, features=16, classes=5, mirror=True, step=1.0),
    Setting((128, 512, 512), zoom=0.5, patch=CUBE96, features=16, classes=61, folds=2, step=1.0),
    Setting((192,) * 3, patch=CUBE96, features=32, threads=1, step=1.0),
)
"""And these were predicted with it."""


def predictions(settings: Iterable[Setting], folder: Path) -> list[dict[str, Any]]:
    """One prediction for each setting."""
    found = []
    for setting in settings:
        run = predict(setting, folder)
        print(setting, line_of(run), flush=True)
        if run.survived:
            found.append(point_of(setting, run))
    return found


def memory(folder: Path) -> list[dict[str, Any]]:
    """Peaks beside those that the model predicts."""
    from scaling_memory import predicted_bytes

    found = []
    for settings, fitted in ((FITTED, True), (HELD_OUT, False)):
        for setting, point in zip(settings, predictions(settings, folder), strict=True):
            said = predicted_bytes(setting)
            ratio = said / point["bytes"]
            print(f"{setting}: predicted {said / 1e9:.2f} GB, ratio {ratio:.2f}", flush=True)
            found.append(point | {"predicted_bytes": round(said), "fitted": fitted})
    return found


def cases(folder: Path) -> list[dict[str, Any]]:
    """Fingerprint and plan, and preprocessing, of many small cases."""
    found = []
    for count in CASES:
        dataset = write_dataset(folder / f"Dataset{900 + len(found) + 1}_Cases", count, (40,) * 3)
        project = folder / f"project_{count}"
        shutil.rmtree(project, ignore_errors=True)
        selfseg = [sys.executable, "-m", "selfseg"]
        commands = {
            "plan": ["plan", dataset, "-p", project],
            "preprocess": ["preprocess", "-p", project, "-c", "3d_fullres"],
        }
        for verb, words in commands.items():
            run = measure(OURS, [*selfseg, *words])
            print(f"{count} cases, {verb}: {line_of(run)}", flush=True)
            files = sum(path.is_file() for path in project.rglob("*"))
            size = sum(path.stat().st_size for path in project.rglob("*") if path.is_file())
            point = {"cases": count, "verb": verb, "seconds": round(run.seconds, 2)}
            found.append(point | {"bytes": run.pss_bytes, "files": files, "stored_bytes": size})
    return found


def large_cases(folder: Path) -> list[dict[str, Any]]:
    """Fingerprint and preprocessing of large CT scans on one core: for the simulated cluster."""
    dataset = write_dataset(folder / "Dataset950_Large", LARGE_COUNT, (300, 512, 512))
    project = folder / "project_large"
    shutil.rmtree(project, ignore_errors=True)
    selfseg = [sys.executable, "-m", "selfseg"]
    alone = ["--workers", "1"]
    commands: dict[str, list[object]] = {"plan": ["plan", dataset, "-p", project, *alone]}
    for name in ("2d", "3d_fullres", "3d_lowres"):
        commands[name] = ["preprocess", "-p", project, "-c", name, *alone]
    found = []
    for name, words in commands.items():
        run = measure(OURS, [*selfseg, *words], environment={"OMP_NUM_THREADS": "1"})
        print(f"{LARGE_COUNT} large cases, {name}: {line_of(run)}", flush=True)
        point = {"step": name, "cases": LARGE_COUNT, "seconds": round(run.seconds, 2)}
        found.append(point | {"bytes": run.pss_bytes})
    return found


def files(folder: Path) -> list[dict[str, Any]]:
    """Lists of 10^3 to 10^5 cases, as the product reads and writes them."""
    done = subprocess.run(
        [sys.executable, str(HERE / "scaling_files.py"), str(folder / "lists")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


PARTS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "voxels": lambda folder: predictions(VOXELS, folder),
    "classes": lambda folder: predictions(CLASSES, folder),
    "folds": lambda folder: predictions(FOLDS, folder),
    "cases": cases,
    "large_cases": large_cases,
    "files": files,
    "memory": memory,
}


def main() -> int:
    """Measures what is asked for, and draws."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="keeps images and models for the next run")
    parser.add_argument("--only", nargs="+", choices=(*PARTS, "plot"), default=[*PARTS, "plot"])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--images", type=Path, default=IMAGES, help="where the plots are written")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        if name == "plot":
            continue
        points = PARTS[name](options.folder)
        known = json.loads(options.results.read_text()) if options.results.is_file() else {}
        known[name] = {
            "command": f"python benchmarks/scaling.py FOLDER --only {name}",
            "date": date.today().isoformat(),
            "machine": machine(),
            "versions": versions(None),
            "points": points,
        }
        options.results.write_text(json.dumps(known, indent=1) + "\n")
    if "plot" in options.only:
        from scaling_plots import draw, draw_cluster

        draw(json.loads(options.results.read_text()), options.images)
        cluster = options.results.with_name("cluster.json")
        if cluster.is_file():
            draw_cluster(cluster, options.images)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

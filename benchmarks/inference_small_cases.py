"""Twenty hippocampus crops through `predict`: time and memory, beside nnunetv2.

    python benchmarks/inference_small_cases.py DATASET FOLDER [--peer-python PEER/bin/python]

DATASET is Dataset004_Hippocampus; the standard plan's 3d_fullres, trained briefly by us, is
given to both sides. Where cases are small, starting up counts: both run as their users run
them, as one command each. Row `predict_small_cases`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from inference_sides import (
    CONFIGURATION,
    Task,
    add_options,
    compare,
    row_of,
    selfseg,
    train_briefly,
    write_peer_model,
)
from peer_environment import peer_python
from side_by_side import write_row

from selfseg.io.project import Project

BATCH = 2
"""Of the brief training."""


def main() -> int:
    """Prepares what is missing and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    add_options(parser)
    parser.add_argument("--cases", type=int, default=20)
    options = parser.parse_args()
    peer = peer_python(options.peer_python)
    options.folder.mkdir(parents=True, exist_ok=True)
    project = options.folder / "project"
    if not (project / "plans" / "plain.json").is_file():
        selfseg("plan", options.dataset, "-p", project)
    plan = Project.open(project).read_plan("plain")
    configuration = replace(plan.configuration(CONFIGURATION), batch_size=BATCH)
    plan = replace(
        plan,
        name="standard",
        configurations={CONFIGURATION: configuration},
        recommended=(CONFIGURATION,),
    )
    train_briefly(project, plan, options.iterations)
    images = options.folder / f"images_{options.cases}"
    images.mkdir(exist_ok=True)
    for path in sorted((options.dataset / "imagesTr").glob("*.nii.gz"))[: options.cases]:
        link = images / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    peer_model = write_peer_model(project, plan, options.folder, peer)
    task = Task(project, plan, peer_model, images, options.folder, options.tta)
    found = compare(task, peer, options.repetitions)
    mirroring = "with" if options.tta else "without"
    what = f"Predict {options.cases} hippocampus crops, 3d_fullres, {mirroring} mirroring"
    row = row_of("predict_small_cases", 40, what, found)
    write_row(row, options.results, peer)
    return 0 if found.agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())

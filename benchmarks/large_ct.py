"""A CT of 512 x 512 x 300 voxels: seconds per case and peak memory of `selfseg predict` on a CPU.

    python benchmarks/large_ct.py CT_FOLDER FOLDER [--peer-python PEER/bin/python]

CT_FOLDER is shared/data/ct_61_structures, upsampled to that grid (0.66 x 0.66 x 1.22 mm, int16).
The model is that of `inference_many_classes.py` (61 structures at 1.5 mm), whose FOLDER may be
given. The target is ours alone: at most 12 GB. The peer gets one turn with all memory that is
free; where it needs more it is stopped, and both sides run once again with `--fewer` structures.
Row `large_ct`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import psutil
from inference_ct import CASE, large_image, trained
from inference_sides import (
    MOST_MEMORY,
    MOST_TIME,
    Compared,
    Task,
    add_options,
    agreement_of,
    compare,
    with_fewer_classes,
    write_peer_model,
)
from peer_environment import peer_python
from side_by_side import PEER, Quantity, Row, memory_of, seconds_of, stage_medians, write_row

MOST_GB = 12.0


def main() -> int:
    """Prepares what is missing and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("source", type=Path)
    add_options(parser, tta=False)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300), help="X Y Z")
    parser.add_argument("--spacing", type=float, default=1.5, help="of the model, in mm")
    parser.add_argument("--classes", type=int, default=61)
    parser.add_argument("--fewer", type=int, default=25, help="where the peer dies of --classes")
    parser.add_argument("--ours-only", action="store_true", help="no turn of the peer's")
    options = parser.parse_args()
    peer = peer_python(options.peer_python)
    model = trained(options.source, options.folder, options.spacing, options.iterations)
    images = options.folder / f"images_{'_'.join(map(str, options.size))}"
    large_image(options.source, tuple(options.size), images / f"{CASE}_0000.nii.gz")

    def compared(classes: int, *, alone: int) -> Compared:
        plan = with_fewer_classes(model.project, model.plan, classes)
        peer_model = write_peer_model(model.project, plan, options.folder, peer)
        task = Task(model.project, plan, peer_model, images, options.folder, options.tta)
        return compare(task, peer, 0 if options.ours_only else 1, alone=alone)

    turns = options.repetitions - (0 if options.ours_only else 1)
    free = psutil.virtual_memory().available / 1e9
    found = {options.classes: compared(options.classes, alone=turns)}
    notes = []
    if not all(run.survived for run in found[options.classes].runs[PEER]):
        notes.append(
            f"with {options.classes} structures the peer needed more than the {free:.0f} GB that "
            f"were free, and was stopped; its memory is what it had reached then"
        )
        found[options.fewer] = compared(options.fewer, alone=0)
    mirroring = "with" if options.tta else "without"
    size = " x ".join(map(str, options.size))
    what = (
        f"Predict a CT of {size} voxels, network at {options.spacing:g} mm, {mirroring} mirroring"
    )
    for classes, result in found.items():
        notes += [f"{classes} structures, {line}" for line in stage_medians(result.runs)]
    quantities = [q for classes, result in found.items() for q in quantities_of(classes, result)]
    write_row(Row("large_ct", 43, what, quantities, notes), options.results, peer)
    return 0 if all(result.agrees for result in found.values()) else 1


def quantities_of(classes: int, found: Compared) -> list[Quantity]:
    """Time, memory and agreement of one number of structures."""
    beside = bool(found.runs[PEER])
    quantities = [
        seconds_of(found.runs, at_most=MOST_TIME if beside else None),
        memory_of(found.runs, at_most=MOST_MEMORY if beside else None, limit=MOST_GB),
        *agreement_of(found.agreement),
    ]
    return [replace(q, name=f"{q.name}, {classes} structures") for q in quantities]


if __name__ == "__main__":
    raise SystemExit(main())

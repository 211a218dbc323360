"""A CT with 61 structures at 1 mm: time and memory of the whole prediction, beside nnunetv2.

    python benchmarks/inference_many_classes.py CT_FOLDER FOLDER [--peer-python PEER/bin/python]

CT_FOLDER holds ct.nii.gz and labels.nii.gz (shared/data/ct_61_structures, 3 mm); the image is
upsampled to 1 mm (336 x 303 x 366), the labels are numbered 1 to 61. A small network
(16 features, five stages) is trained briefly by us; the peer gets the same weights.
`--spacing` is the model's, in mm: the published models for whole-body CT work at 1.5.
`--classes` leaves heads out on both sides, where the peer does not survive all of them.
Mirroring is off: it makes the network's part eight times as long on both sides. Row
`predict_many_classes`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from inference_ct import trained
from inference_sides import (
    Task,
    add_options,
    compare,
    row_of,
    with_fewer_classes,
    write_peer_model,
)
from peer_environment import peer_python
from side_by_side import write_row


def main() -> int:
    """Prepares what is missing and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("source", type=Path)
    add_options(parser, tta=False)
    parser.add_argument("--spacing", type=float, default=1.5)
    parser.add_argument("--classes", type=int, default=61)
    options = parser.parse_args()
    peer = peer_python(options.peer_python)
    model = trained(options.source, options.folder, options.spacing, options.iterations)
    plan = with_fewer_classes(model.project, model.plan, options.classes)
    peer_model = write_peer_model(model.project, plan, options.folder, peer)
    images = options.folder / "images_1mm"
    images.mkdir(exist_ok=True)
    if not (images / model.image.name).exists():
        (images / model.image.name).symlink_to(model.image.resolve())
    task = Task(model.project, plan, peer_model, images, options.folder, options.tta)
    found = compare(task, peer, options.repetitions)
    mirroring = "with" if options.tta else "without"
    what = (
        f"Predict a CT of 336 x 303 x 366 voxels, {options.classes} structures, "
        f"network at {options.spacing:g} mm, {mirroring} mirroring"
    )
    row = row_of("predict_many_classes", 41, what, found)
    write_row(row, options.results, peer)
    return 0 if found.agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())

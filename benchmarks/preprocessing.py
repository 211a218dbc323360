"""Preprocessing of whole data sets: time, memory and size, beside nnunetv2.

    python benchmarks/preprocessing.py hippocampus DATASET FOLDER
    python benchmarks/preprocessing.py sunnybrook DATASET FOLDER
    python benchmarks/preprocessing.py brain MRICRON FOLDER

DATASET is Dataset004_Hippocampus (200 small cases) or Dataset201_SunnybrookLV (60 thick-sliced
ones). MRICRON is the folder with `ch2better.nii.gz` and `aal.nii.gz` of Debian's mricron-data
package (/usr/share/mricron/templates where it is installed): a T1 brain of 35 million voxels
with its 116 regions, twice, since a plan is not made of one case.

Ours is `selfseg preprocess`, the peer's `nnUNetv2_preprocess`, on the same configurations; each
turn starts from what is planned and not preprocessed. Each side uses the number of processes
that is its default; in further turns, which have no target, the peer uses as many as we do.
Exits with 1 where an image differs by more than 1e-4, or a label map (but for EDGE_SHARE).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK
from peer_environment import peer_python
from planning import as_many_processes, cases_in
from preparation_sides import (
    LIKE_OURS,
    PEER_PLAN,
    PLAN,
    add_side_options,
    cores,
    different_decisions,
    emptied,
    our_command,
    our_plan,
    peer_command,
    peer_folders,
    peer_number,
    peer_plan,
    quietly,
)
from side_by_side import (
    OURS,
    PEER,
    Quantity,
    Row,
    Run,
    add_options,
    alternate,
    measure,
    memory_of,
    seconds_of,
    write_row,
)

from selfseg.io.case_store import open_case
from selfseg.io.json_files import write_plain_json
from selfseg.io.project import Project

TARGET = 0.5
TOLERANCE = 1e-4
COMPARED = 6
"""Cases whose arrays are compared."""

EDGE_SHARE = 2e-4
"""Share of a case's voxels that may be background here and not there, at the patient's edge.

There the peer's mark of the outside takes part in the vote between resampled labels, and takes
votes from the background; docs/decisions/0005-preprocessing-as-matrices.md.
"""


@dataclass(frozen=True)
class Kind:
    """A row; `configurations` in the order in which both sides make them."""

    order: int
    configurations: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Comparison:
    """Differences in words, cases looked at, and the largest share of voxels at the edge."""

    different: tuple[str, ...]
    cases: int
    edge_share: float


KINDS = {
    "hippocampus": Kind(20, ("2d", "3d_fullres"), "{cases} cases of {dataset}"),
    "brain": Kind(
        21,
        ("3d_fullres", "3d_lowres"),
        "a T1 brain of 316 x 370 x 301 voxels with 116 regions, {cases} times",
    ),
    "sunnybrook": Kind(22, ("2d", "3d_fullres"), "{cases} cases of {dataset}"),
}


def main() -> int:
    """Measures and writes the row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("dataset", type=Path)
    add_options(parser)
    add_side_options(parser)
    options = parser.parse_args()
    kind = KINDS[options.kind]
    python = peer_python(options.peer_python)
    dataset, folder = options.dataset, options.folder
    if options.kind == "brain":
        dataset = brain_dataset(options.dataset, folder)
    project, preprocessed = folder / "ours", folder / "peer"
    environment = peer_folders(dataset, preprocessed)
    quietly(our_command("plan", dataset, "-p", emptied(folder / "ours")))
    emptied(preprocessed)
    given = ("-d", peer_number(dataset), "--no_pp")
    quietly(peer_command(python, "nnUNetv2_plan_and_preprocess", *given), environment)
    different = different_decisions(our_plan(project), peer_plan(preprocessed, dataset))
    sizes: dict[str, list[float | None]] = {OURS: [], PEER: [], LIKE_OURS: []}

    def ours() -> Run:
        places = [Project.open(project).preprocessed_folder(PLAN, c) for c in kind.configurations]
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
        flags = [word for name in kind.configurations for word in ("-c", name)]
        run = measure(OURS, our_command("preprocess", "-p", project, *flags))
        sizes[OURS].append(sum(map(size_of, places)) / 1e9)
        return run

    def peer(side: str, *words: object) -> Run:
        places = [peer_place(preprocessed, dataset, c) for c in kind.configurations]
        for place in (*places, preprocessed / dataset.name / "gt_segmentations"):
            shutil.rmtree(place, ignore_errors=True)
        given = ("-d", peer_number(dataset), "-c", *kind.configurations, *words)
        command = peer_command(python, "nnUNetv2_preprocess", *given)
        run = measure(side, command, environment=environment)
        sizes[side].append(sum(map(size_of, places)) / 1e9)
        return run

    sides: dict[str, Callable[[], Run]] = {OURS: ours, PEER: partial(peer, PEER)}
    if not options.defaults_only:
        sides[LIKE_OURS] = partial(peer, LIKE_OURS, "-np", cores())
    runs = alternate(sides, options.repetitions)
    compared = [compare(project, preprocessed, dataset, c) for c in kind.configurations]
    different += [line for comparison in compared for line in comparison.different]
    for line in different:
        print(f"DIFFERENT: {line}")
    what = kind.what.format(cases=cases_in(dataset), dataset=dataset.name)
    row = Row(
        f"preprocess_{options.kind}",
        kind.order,
        f"preprocess {what}: {' and '.join(kind.configurations)}",
        [
            seconds_of(runs, at_most=TARGET),
            memory_of(runs, at_most=TARGET),
            *as_many_processes(runs),
            Quantity("size on disk", "GB", sizes[OURS], sizes[PEER]),
        ],
        (
            "as many processes as each side takes by itself: ours at most one per core "
            f"({cores()}), the peer's 8 for 2d and 3d_lowres and 4 for 3d_fullres",
            *said_of(compared, different),
        ),
    )
    write_row(row, options.results, python)
    return 1 if different else 0


def said_of(compared: Sequence[Comparison], different: Sequence[str]) -> list[str]:
    """What the comparison found, for the row's notes."""
    equal = f"images equal within {TOLERANCE:g}, label maps the same"
    count = sum(comparison.cases for comparison in compared)
    notes = [f"{count} stored cases compared: {'DIFFERENCES' if different else equal}"]
    share = max(comparison.edge_share for comparison in compared)
    if share:
        notes.append(
            f"but for up to {share:.2%} of a case's voxels at the edge of the patient, where the "
            "peer lets the outside vote against the background"
        )
    return notes


def brain_dataset(templates: Path, folder: Path) -> Path:
    """The brain and its regions as a data set of two cases that hold the same; made once.

    The regions, drawn at 1 mm, are brought to the brain's grid by nearest neighbour, and their
    values numbered without gaps.
    """
    dataset = folder / "raw" / "Dataset301_Brain"
    if (dataset / "dataset.json").is_file():
        return dataset
    brain = SimpleITK.ReadImage(str(templates / "ch2better.nii.gz"))
    regions = SimpleITK.ReadImage(str(templates / "aal.nii.gz"))
    regions = SimpleITK.Resample(
        regions, brain, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor
    )
    values, numbered = np.unique(SimpleITK.GetArrayFromImage(regions), return_inverse=True)
    labels = SimpleITK.GetImageFromArray(
        numbered.reshape(SimpleITK.GetArrayViewFromImage(regions).shape).astype(np.uint8)
    )
    labels.CopyInformation(brain)
    for name in ("imagesTr", "labelsTr"):
        emptied(dataset / name)
    cases = ("brain_a", "brain_b")
    for case in cases:
        SimpleITK.WriteImage(brain, str(dataset / "imagesTr" / f"{case}_0000.nii.gz"))
        SimpleITK.WriteImage(labels, str(dataset / "labelsTr" / f"{case}.nii.gz"))
    description = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0} | {f"region_{n}": n for n in range(1, len(values))},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    write_plain_json(dataset / "dataset.json", description)
    return dataset


def peer_place(preprocessed: Path, dataset: Path, configuration: str) -> Path:
    """Where the peer stores a configuration's cases."""
    return preprocessed / dataset.name / f"{PEER_PLAN}_{configuration}"


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compare(project: Path, preprocessed: Path, dataset: Path, configuration: str) -> Comparison:
    """The stored arrays of some cases, ours beside the peer's."""
    mine = Project.open(project).preprocessed_folder(PLAN, configuration)
    theirs = peer_place(preprocessed, dataset, configuration)
    names = sorted(path.stem for path in theirs.glob("*.pkl"))
    chosen = names[:: max(1, len(names) // COMPARED)][:COMPARED]
    found, share = [], 0.0
    for name in chosen:
        case = open_case(mine, name).load()
        image = np.asarray(blosc2.open(str(theirs / f"{name}.b2nd"), mode="r")[:])
        labels = np.asarray(blosc2.open(str(theirs / f"{name}_seg.b2nd"), mode="r")[:])[0]
        where = f"{configuration}, {name}"
        if case.labels is None or case.image.shape != image.shape:
            found.append(f"{where}: shape {case.image.shape}, the peer's {image.shape}")
            continue
        largest = float(np.abs(case.image - image).max())
        if largest > TOLERANCE:
            found.append(f"{where}: intensities by {largest:.2g}")
        # The peer marks what lies outside the patient with -1, we keep a mask of its own.
        wrong = case.labels != np.maximum(labels, 0)
        if (labels < 0).any():
            edge = wrong & (case.labels == 0)
            share = max(share, float(edge.mean()))
            if edge.mean() <= EDGE_SHARE:
                wrong &= ~edge
        if wrong.any():
            found.append(f"{where}: {int(wrong.sum())} labels")
    return Comparison(tuple(found), len(chosen), share)


if __name__ == "__main__":
    raise SystemExit(main())

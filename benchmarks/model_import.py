"""A trained nnU-Net model, as a zip file, is taken in and segments its first image.

    python benchmarks/model_import.py DATASET FOLDER [--peer-python PEER/bin/python]

DATASET is Dataset004_Hippocampus; the model is the standard plan's 3d_fullres with five folds, in
checkpoints that nnUNetTrainer has saved. Ours: `selfseg model import`, then `selfseg predict` from
the library. The peer's: `nnUNetv2_install_pretrained_model_from_zip`, then `nnUNetv2_predict`.
Every turn begins with an empty library on either side. The labels are compared.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from inference_sides import (
    CONFIGURATION,
    LEAST_AGREEMENT,
    agreement_of,
    label_agreement,
    selfseg,
    train_briefly,
    write_peer_model,
)
from peer_environment import peer_python
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
    ratio_of,
    seconds_of,
    write_row,
)

from selfseg.io.project import Project

PEER_HALF = Path(__file__).resolve().parent / "model_import_peer.py"
NAME = "hippocampus"
FOLDS = 5
BATCH = 2
"""Of the brief training."""


def make_model(
    dataset: Path, folder: Path, peer: Path, iterations: int
) -> tuple[Path, dict[str, str]]:
    """The zip file, and what its plans.json calls data set and plans; made where missing."""
    project, packed = folder / "project", folder / "model.zip"
    if not (project / "plans" / "plain.json").is_file():
        selfseg("plan", dataset, "-p", project)
    plan = Project.open(project).read_plan("plain")
    configuration = replace(plan.configuration(CONFIGURATION), batch_size=BATCH)
    plan = replace(
        plan,
        name="standard",
        configurations={CONFIGURATION: configuration},
        recommended=(CONFIGURATION,),
    )
    train_briefly(project, plan, iterations)
    model = write_peer_model(project, plan, folder, peer)
    if not packed.is_file():
        subprocess.run([peer, PEER_HALF, model, str(FOLDS), packed], check=True)
    return packed, json.loads((model / "plans.json").read_text())


def first_image(dataset: Path, folder: Path) -> Path:
    """A folder with the first case's image."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    source = min((dataset / "imagesTr").glob("*.nii.gz"))
    link = images / source.name
    if not link.exists():
        link.symlink_to(source.resolve())
    return images


class Sides:
    """Both sides' commands, each turn with an empty library and no output."""

    def __init__(self, folder: Path, peer: Path, packed: Path, plans: Mapping[str, str]) -> None:
        self.outputs = {side: folder / f"out_{side}" for side in (OURS, PEER)}
        self.libraries = {side: folder / f"library_{side}" for side in (OURS, PEER)}
        ours = [sys.executable, "-m", "selfseg"]
        self._take_in: dict[str, list[object]] = {
            OURS: [*ours, "model", "import", packed, "--name", NAME],
            PEER: [peer.parent / "nnUNetv2_install_pretrained_model_from_zip", packed],
        }
        self._segment: dict[str, list[object]] = {
            OURS: [*ours, "predict", "-m", NAME, "--device", "cpu"],
            PEER: [peer.parent / "nnUNetv2_predict", "-device", "cpu", "--disable_progress_bar"],
        }
        self._take_in[OURS] += ["--library", self.libraries[OURS]]
        self._segment[OURS] += ["--library", self.libraries[OURS]]
        self._segment[PEER] += ["-d", plans["dataset_name"], "-p", plans["plans_name"]]
        self._segment[PEER] += ["-c", CONFIGURATION]
        for side, words in self._segment.items():
            words += ["-i", folder / "images", "-o", self.outputs[side]]

    def take_in(self, side: str) -> Run:
        """From the zip file to a model that the command line knows by its name."""
        return self._measured(side, self._take_in[side])

    def take_in_and_segment(self, side: str) -> Run:
        """From the zip file to the first label map."""
        both = " && ".join(
            shlex.join(map(str, words)) for words in (self._take_in[side], self._segment[side])
        )
        return self._measured(side, ["sh", "-c", both])

    def _measured(self, side: str, command: Sequence[object]) -> Run:
        for folder in (self.libraries[side], self.outputs[side]):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        environment = {"nnUNet_results": str(self.libraries[PEER])} if side == PEER else None
        return measure(side, command, environment=environment)


def named(name: str, runs: Mapping[str, Sequence[Run]]) -> list[Quantity]:
    """Time and memory of `name`."""
    both = (seconds_of(runs, at_most=1.0), memory_of(runs, at_most=1.0))
    return [replace(quantity, name=f"{name}, {quantity.name}") for quantity in both]


def main() -> int:
    """Makes the model where it is missing, measures and writes the row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    add_options(parser)
    parser.add_argument("--iterations", type=int, default=60, help="of the brief training")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    peer = peer_python(options.peer_python)
    packed, plans = make_model(options.dataset, folder, peer, options.iterations)
    first_image(options.dataset, folder)
    sides = Sides(folder, peer, packed, plans)
    print("import", flush=True)
    imported = alternate(
        {side: lambda side=side: sides.take_in(side) for side in (OURS, PEER)},
        options.repetitions,
    )
    print("import and first image", flush=True)
    segmented = alternate(
        {side: lambda side=side: sides.take_in_and_segment(side) for side in (OURS, PEER)},
        options.repetitions,
    )
    agreement = label_agreement(sides.outputs[OURS], sides.outputs[PEER])
    found = [
        *named("import", imported),
        *named("import and first image", segmented),
        *agreement_of(agreement),
    ]
    size = packed.stat().st_size / 1e6
    notes = [
        f"The model: standard 3d_fullres of the hippocampus data set, {FOLDS} folds, a zip file of "
        f"{size:.0f} MB; its checkpoints were saved by nnUNetTrainer, all with the same weights, "
        "which we have trained briefly.",
        "The two do not do the same. nnU-Net's import only unpacks the zip file, wherever the "
        "names in it lead; the checkpoints are unpickled when it predicts. `selfseg model import` "
        "reads every checkpoint in a child process, unpickles nothing, checks plan, trainer, "
        "shapes and every weight, leaves the optimiser out and writes a bundle with a checksum of "
        "every file.",
    ]
    if any((ratio_of(quantity) or 0.0) > 1.0 for quantity in found[:2]):
        notes.append(
            "That is why the import alone misses its target; nnU-Net does its part of this work at "
            "every prediction, so that from the zip file to the first label map counts both."
        )
    write_row(
        Row("model_import", 50, "import of a trained nnU-Net model", found, notes),
        options.results,
        peer,
    )
    return 0 if agreement and min(agreement.values()) >= LEAST_AGREEMENT else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Projects, plans and trainings that cannot be: `plan`, `preprocess`, `train`, `run`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from .dataset_rows import DESCRIPTION, IMAGE, LABEL
from .files import (
    as_json,
    cut,
    entries,
    folder,
    image,
    like,
    linked,
    mode,
    removed,
    with_one,
    written,
)
from .rows import Change, Row, both

PLAN = "plan data -p new --workers 1"
QUICK = "--epochs 1 --iterations 1 --device cpu --workers 1"
TRAIN = f"train -p project -c 3d_fullres -f 1 {QUICK}"
RUN = f"run data -p new -c 3d_fullres -f 0 {QUICK}"
STARTED = ("new", "new/project.json")
"""A project that was begun holds its name and its data set's; the same command goes on with it."""

TRAINED = ("project/preprocessed*", "project/runs/plain/3d_fullres/fold_1*")

FROM_FILES = "plan --fingerprint f.json --dataset-json d.json -o plans.json"
FINGERPRINT = {
    "spacings": [[1.0, 1.0, 1.0]],
    "shapes_after_crop": [[20, 20, 20]],
    "median_relative_size_after_cropping": 1.0,
    "foreground_intensity_properties_per_channel": {
        "0": dict.fromkeys(
            ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0
        )
    },
}
PLAN_FILE = "project/plans/plain.json"


def _files(fingerprint: object, **description: object) -> Change:
    sound = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "x": 1},
             "file_ending": ".nii.gz", "numTraining": 1}  # fmt: skip
    return both(as_json("f.json", fingerprint), as_json("d.json", {**sound, **description}))


def _planned(**changes: object) -> Change:
    """Entries of the project's only configuration."""

    def change(place: Path) -> None:
        content = json.loads((place / PLAN_FILE).read_text())
        content["configurations"]["3d_fullres"].update(changes)
        (place / PLAN_FILE).write_text(json.dumps(content))

    return change


def _of_all(function: object) -> Change:
    """Every image or label map is changed in this way."""
    return both(*(like(IMAGE.replace("001", f"00{i}"), function) for i in range(3)))


def _small(shape: tuple[int, int, int]) -> Change:
    """All three cases are this small, structures included."""
    rng = np.random.default_rng(0)
    return both(
        *(
            image(f"data/{where}/case_{i:03d}{end}.nii.gz", values)
            for i in range(3)
            for where, end, values in (
                ("imagesTr", "_0000", rng.normal(size=shape).astype(np.float32)),
                (
                    "labelsTr",
                    "",
                    ((np.arange(np.prod(shape)) + 1) % 3).reshape(shape).astype(np.uint8),
                ),
            )
        )
    )


def _only_one_case(place: Path) -> None:
    for path in (place / "data").glob("*Tr/case_00[12]*"):
        path.unlink()
    entries(DESCRIPTION, numTraining=1)(place)


PROJECTS: tuple[Row, ...] = (
    Row("nothing to plan for", "plan", ("DATASET -p PROJECT",), status=2),
    Row("a planner that is not there", f"{PLAN} --planner best", ("invalid choice",), status=2),
    Row("no memory to plan for", f"{PLAN} --memory 0", ("the memory target is not a size",),
        leaves=("new", "new/*")),
    Row("memory of NaN", f"{PLAN} --memory nan", ("the memory target is not a size",),
        leaves=("new", "new/*")),
    Row("memory below zero", f"{PLAN} --memory=-8", ("the memory target is not a size",),
        leaves=("new", "new/*")),
    Row("a plan named ../evil", f"{PLAN} --name ../evil",
        ("the name of the plan cannot be a file's name",), leaves=("new", "new/*")),
    Row(
        "planning for an image with NaN",
        PLAN,
        ("case_001", "not numbers"),
        like(IMAGE, with_one(float("nan"))),
        leaves=STARTED,
    ),
    Row(
        "planning for label 255",
        PLAN,
        ("case_001", "no label stands for", "255"),
        like(LABEL, with_one(255)),
        leaves=STARTED,
    ),
    Row(
        "planning for background only",
        PLAN,
        ("no training case has any labelled voxel",),
        both(*(like(LABEL.replace("001", f"00{i}"), np.zeros_like) for i in range(3))),
        leaves=STARTED,
    ),
    Row("planning for constant images", PLAN, ("3d_fullres",), _of_all(np.ones_like), status=0,
        leaves=("new", "new/*")),
    Row("planning for images of one voxel", PLAN, ("too small for any network",),
        _small((1, 1, 1)), leaves=(*STARTED, "new/fingerprint.json")),
    Row("planning for images of a few voxels", PLAN, ("3d_fullres",), _small((3, 4, 3)), status=0,
        leaves=("new", "new/*")),
    Row("a file for a project", "plan data -p data/dataset.json --workers 1",
        ("the folder holds other files", "a file")),
    Row(
        "a folder that may not be written to",
        "plan data -p locked/new --workers 1",
        ("written", "right to write"),
        both(folder("locked"), mode("locked", 0o500)),
        limit="plain user",
    ),
    Row("a full disk while planning", PLAN, ("written", "space"), limit="full disk",
        leaves=("new", "new/*")),
    Row("a full disk while preprocessing", "preprocess -p project --workers 1",
        ("project/preprocessed/plain/3d_fullres", "space"),
        lambda place: shutil.rmtree(place / "project/preprocessed"),
        limit="very full disk", leaves=("project/preprocessed*",)),
    Row("a full disk while training", TRAIN, ("fold_1", "space"), limit="very full disk",
        leaves=TRAINED, seconds=20.0),
    Row("a project of another data set", "plan data -p project --workers 1",
        ("labels have changed", "ball 1", "new folder with -p"),
        entries(DESCRIPTION, labels={"background": 0, "x": 1, "y": 2})),
    Row("project.json that is text", TRAIN, ("damaged or not JSON",),
        written("project/project.json", "my project")),
    Row("project.json of the future", TRAIN, ("newer selfseg",),
        entries("project/project.json", schema="selfseg.project/99")),
    Row("a fingerprint of lists", FROM_FILES,
        ("dataset_fingerprint.json is not what nnU-Net v2 writes",), _files([1, 2])),
    Row("a fingerprint without sizes", FROM_FILES, ("as many shapes as spacings", "0 shapes"),
        _files({**FINGERPRINT, "shapes_after_crop": []})),
    Row("a fingerprint with a spacing of zero", FROM_FILES, ("spacing",),
        _files({**FINGERPRINT, "spacings": [[0.0, 1.0, 1.0]]})),
    Row("a fingerprint of text", FROM_FILES, ("f.json", "damaged or not JSON"),
        both(_files({}), written("f.json", "none"))),
    Row("a fingerprint that is not there", FROM_FILES, ("f.json", "cannot be read"),
        both(_files({}), removed("f.json"))),
    Row("a description without labels", FROM_FILES, ("labels",),
        _files(FINGERPRINT, labels=[])),
    Row("sizes of 10^9 in a fingerprint", FROM_FILES, ("plans.json",),
        _files({**FINGERPRINT, "shapes_after_crop": [[10**9] * 3]}), status=0,
        leaves=("plans.json",)),
    Row("no project to train in", f"train -p nowhere -c 3d_fullres -f 0 {QUICK}",
        ("no project", "selfseg run")),
    Row("a configuration that is not planned", f"train -p project -c 4d -f 0 {QUICK}",
        ("no configuration '4d'", "one of 3d_fullres")),
    Row("a plan that is not there", f"{TRAIN} --plan best",
        ("there is no plan 'best'", "one of plain")),
    Row("a fold that is not there", f"train -p project -c 3d_fullres -f 9 {QUICK}", ("fold",
        "0 to 2, or all")),
    Row("a fold that is not there, of a project that is not preprocessed",
        f"train -p project -c 3d_fullres -f 9 {QUICK}", ("fold", "0 to 2, or all"),
        lambda place: shutil.rmtree(place / "project/preprocessed")),
    Row("a run of a fold that is not there", RUN.replace("-f 0", "-f 9"), ("fold",
        "0 to 2, or all"), leaves=(*STARTED, "new/fingerprint.json", "new/plans")),
    Row("a fold that is no number", f"train -p project -c 3d_fullres -f ../x {QUICK}", ("fold",
        "0 to 2, or all")),
    Row("no epochs", TRAIN.replace("--epochs 1", "--epochs 0"), ("epochs",), status=2),
    Row("minus one iteration", TRAIN.replace("--iterations 1", "--iterations=-1"),
        ("iterations",), status=2),
    Row("a micro-batch of none", f"{TRAIN} --micro-batch 0", ("micro",), status=2),
    Row("workers below zero", TRAIN.replace("--workers 1", "--workers=-3"), ("workers",),
        status=2),
    Row("a seed below zero", f"{TRAIN} --seed=-1", ("seed",), status=2),
    Row("no time at all", f"{TRAIN} --time-budget 0", ("duration",), status=2),
    Row("a start from a picture", f"{TRAIN} --start-from x.png", ("x.png",),
        written("x.png", b"\x89PNG")),
    Row("a plan with features of 10^9", TRAIN, ("the plan cannot be used", "features_per_stage"),
        lambda place: _planned(network={
            **json.loads((place / PLAN_FILE).read_text())["configurations"]["3d_fullres"][
                "network"], "features_per_stage": [10**9, 10**9]})(place)),
    Row("a plan with a patch of 10^6", TRAIN, ("the plan cannot be used", "patch_size"),
        _planned(patch_size=[10**6] * 3)),
    Row("a plan with a batch of none", TRAIN, ("the plan cannot be used", "batch_size"),
        _planned(batch_size=0)),
    Row("a plan that names a class", TRAIN, ("the plan cannot be used", "normalisation"),
        _planned(normalisation=["os.system"])),
    Row("a damaged preprocessed case", TRAIN, ("preprocess 3d_fullres", "epoch 1/1"),
        cut("project/preprocessed/plain/3d_fullres/case_000.image.b2nd", 100), status=0,
        leaves=TRAINED, seconds=30.0),
    Row("preprocessed cases that are gone", TRAIN, ("preprocess 3d_fullres", "epoch 1/1"),
        lambda place: shutil.rmtree(place / "project/preprocessed"), status=0, leaves=TRAINED,
        seconds=30.0),
    Row("a data set that is gone", "preprocess -p project --workers 1",
        ("data set is gone", "/nowhere"),
        both(lambda place: shutil.rmtree(place / "project/preprocessed"),
             entries("project/project.json", dataset_folder="/nowhere",
                     dataset_folder_relative=""))),
    Row("a project that links to itself", TRAIN, ("project",), linked("project", "project")),
    Row("everything for a folder that is empty", RUN.replace("data", "empty"),
        ("no dataset.json",), folder("empty")),
    Row("everything for one case", RUN, ("so few cases", "at least 2"), _only_one_case,
        leaves=("new", "new/*"),
        seconds=30.0),
    Row("everything where one image is smaller than the patch", RUN, ("report",),
        both(
            image(IMAGE, np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)),
            image(LABEL, np.ones((3, 4, 3), np.uint8)),
        ), status=0, leaves=("new", "new/*"), seconds=60.0),
    Row("everything for images of a few voxels", RUN, ("report",), _small((3, 4, 3)),
        status=0, leaves=("new", "new/*"), seconds=60.0),
)  # fmt: skip

"""Data sets through `selfseg check`."""

from __future__ import annotations

import numpy as np

from .files import (
    as_json,
    copied,
    cut,
    entries,
    folder,
    image,
    like,
    linked,
    pipe,
    removed,
    renamed,
    sparse,
    with_one,
    written,
)
from .kit import SHAPE
from .rows import Row, both

DESCRIPTION = "data/dataset.json"
IMAGE, LABEL = "data/imagesTr/case_001_0000.nii.gz", "data/labelsTr/case_001.nii.gz"
CHECK = "check data"


def _all_wrong(kind: object) -> dict[str, object]:
    keys = ("channel_names", "labels", "numTraining", "file_ending", "name", "regions_class_order")
    return dict.fromkeys(keys, kind)


DATASETS: tuple[Row, ...] = (
    Row(
        "a folder that is not there", "check nowhere", ("there is no such folder", "check the path")
    ),
    Row("an empty folder", "check empty", ("there is no dataset.json",), folder("empty")),
    Row("a file for a folder", "check data/dataset.json", ("there is no such folder",)),
    Row(
        "the folder above the data set",
        "check above",
        ("data sets in data", "name the folder of one data set"),
        both(folder("above/data"), written("above/data/dataset.json", "{}")),
    ),
    Row(
        "dataset.json is a list",
        CHECK,
        ("dataset.json is not an object", "found: list"),
        as_json(DESCRIPTION, [1]),
    ),
    Row(
        "dataset.json is no JSON",
        CHECK,
        ("damaged or not JSON", "UTF-8"),
        written(DESCRIPTION, '{"labels": '),
    ),
    Row(
        "dataset.json in UTF-16",
        CHECK,
        ("damaged or not JSON", "UTF-8"),
        written(DESCRIPTION, '{"name": "ä"}'.encode("utf-16")),
    ),
    Row(
        "dataset.json nested 100 000 deep",
        CHECK,
        ("nested at most",),
        written(DESCRIPTION, "[" * 100_000 + "]" * 100_000),
    ),
    Row(
        "dataset.json of 4 GB",
        CHECK,
        ("too large", "4294967296 bytes"),
        sparse(DESCRIPTION, 2**32),
    ),
    Row("dataset.json is a pipe", CHECK, ("there is no dataset.json",), pipe(DESCRIPTION)),
    Row(
        "numbers for everything in dataset.json",
        CHECK,
        ('"channel_names" is not', '"labels" is not', '"file_ending" is not', "found: 7"),
        entries(DESCRIPTION, **_all_wrong(7)),
    ),
    Row(
        "lists for everything in dataset.json",
        CHECK,
        ('"channel_names" is not', '"labels" is not', '"file_ending" is not'),
        entries(DESCRIPTION, **_all_wrong([[]])),
    ),
    Row(
        "an ending that leads elsewhere",
        CHECK,
        ("not an image ending", "../../x.nii.gz"),
        entries(DESCRIPTION, file_ending="../../x.nii.gz"),
    ),
    Row(
        "labels of 10^30",
        CHECK,
        ("label value of 'x' is too large", "at most 32767"),
        entries(DESCRIPTION, labels={"background": 0, "x": 10**30}),
    ),
    Row(
        "label 255 in a label map",
        CHECK,
        ("values that no label stands for", "only 0, 1, 2", "found: 255"),
        like(LABEL, with_one(255)),
    ),
    Row(
        "a negative label",
        CHECK,
        ("values that no label stands for", "found: -1"),
        like(LABEL, lambda a: with_one(-1)(a.astype(np.int16))),
    ),
    Row(
        "NaN in a label map",
        CHECK,
        ("not whole numbers", "nearest neighbour"),
        like(LABEL, with_one(float("nan"))),
    ),
    Row(
        "a label map of several channels",
        CHECK,
        ("several channels", "one label value per voxel"),
        image(LABEL, np.arange(2 * np.prod(SHAPE), dtype=np.uint8).reshape(2, *SHAPE) % 3),
    ),
    Row(
        "all background",
        CHECK,
        ("warning", "background only", "0 errors, 1 warning"),
        like(LABEL, np.zeros_like),
        status=0,
    ),
    Row(
        "a constant image",
        CHECK,
        ("warning", "the same intensity everywhere", "0 errors, 1 warning"),
        like(IMAGE, np.zeros_like),
        status=0,
    ),
    Row(
        "images of one voxel",
        CHECK,
        ("0 errors", "the same intensity everywhere"),
        both(
            *(
                image(f"data/{where}/case_{i:03d}{end}.nii.gz", np.full((1, 1, 1), i % 3, np.uint8))
                for i in range(3)
                for where, end in (("imagesTr", "_0000"), ("labelsTr", ""))
            )
        ),
        status=0,
    ),
    Row(
        "NaN in an image",
        CHECK,
        ("not numbers", "1 voxels of NaN"),
        like(IMAGE, with_one(float("nan"))),
    ),
    Row(
        "infinity in an image",
        CHECK,
        ("not numbers", "1 voxels of NaN or infinity"),
        like(IMAGE, with_one(float("inf"))),
    ),
    Row(
        "a last axis that is not the channel count",
        CHECK,
        ("number of channels", "1 channels", "found: 5 in 1 files"),
        image(IMAGE, np.random.default_rng(0).normal(size=(5, *SHAPE)).astype(np.float32)),
    ),
    Row(
        "a channel more in dataset.json than in the files",
        CHECK,
        ("number of channels", "2 channels", "1 in 1 files"),
        entries(DESCRIPTION, channel_names={"0": "CT", "1": "PET"}),
    ),
    Row(
        "a second channel that only one case has",
        CHECK,
        ("case case_001", "found: 2 in 2 files"),
        copied(IMAGE, "data/imagesTr/case_001_0001.nii.gz"),
    ),
    Row(
        "names that differ in case only",
        CHECK,
        ("differ only in upper and lower case", "CASE_001, case_001"),
        both(
            copied(IMAGE, "data/imagesTr/CASE_001_0000.nii.gz"),
            copied(LABEL, "data/labelsTr/CASE_001.nii.gz"),
        ),
    ),
    Row(
        "a label map without its case",
        CHECK,
        ("there is no image for this label map", "case_001"),
        removed(IMAGE),
    ),
    Row("an image without its label map", CHECK, ("case_001.nii.gz", "missing"), removed(LABEL)),
    Row(
        "a label map on another grid",
        CHECK,
        ("does not lie on the grid", "size"),
        image(LABEL, np.ones((4, 4, 4), np.uint8)),
    ),
    Row(
        "an image that links to itself",
        CHECK,
        ("there is no image for this label map", "case_001"),
        linked(IMAGE, "case_001_0000.nii.gz"),
    ),
    Row(
        "a folder that links to itself",
        CHECK,
        ("there is no folder imagesTr",),
        linked("data/imagesTr", "imagesTr"),
    ),
    Row(
        "a folder that links to the data set around it",
        CHECK,
        ("holds no training case",),
        linked("data/imagesTr", "."),
    ),
    Row(
        "a pipe for an image",
        CHECK,
        ("there is no image for this label map", "case_001"),
        pipe(IMAGE),
    ),
    Row(
        "a device for an image",
        CHECK,
        ("there is no image for this label map", "case_001"),
        linked(IMAGE, "/dev/zero"),
    ),
    Row(
        "splits of cases that are not there",
        CHECK,
        ("names cases that the data set does not have", "ghost"),
        as_json("data/splits_final.json", [{"train": ["ghost"], "val": ["case_000"]}]),
    ),
    Row(
        "splits that are text",
        CHECK,
        ("fold 0 is not valid", "splits_final.json"),
        as_json("data/splits_final.json", [{"train": "case_001", "val": 7}]),
    ),
    Row(
        "a label map cut in half",
        CHECK,
        ("cut off or damaged", "bytes of header and voxels"),
        cut(LABEL, -60),
    ),
    Row(
        "names outside of ASCII",
        "check 'data-ünï-数据 x'",
        ("0 errors, 0 warnings",),
        both(
            renamed(IMAGE, "data/imagesTr/fälle_患者 1_0000.nii.gz"),
            renamed(LABEL, "data/labelsTr/fälle_患者 1.nii.gz"),
            renamed("data", "data-ünï-数据 x"),
        ),
        status=0,
    ),
    Row(
        "a path of 3000 characters",
        "check data/" + "/".join(["d" * 100] * 29),
        ("there is no such folder",),
    ),
    Row(
        "names as long as the file system takes",
        CHECK,
        ("0 errors, 0 warnings",),
        both(
            renamed(IMAGE, f"data/imagesTr/{'n' * 243}_0000.nii.gz"),
            renamed(LABEL, f"data/labelsTr/{'n' * 243}.nii.gz"),
        ),
        status=0,
    ),
)

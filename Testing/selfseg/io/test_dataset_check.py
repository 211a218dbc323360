"""The check of a data set: one deliberately broken copy per kind of fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from selfseg.domain.events import Event, Progress, StageFinished, StageStarted
from selfseg.io.dataset_check import check_dataset

SHAPE = (4, 5, 6)


def write(
    path: Path, array: np.ndarray, spacing: float = 1.0, origin: tuple[float, ...] = (0, 0, 0)
) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing, 1.0, 1.0))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A faultless data set: cases a, b, c of two channels and two labels."""
    folder = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)
    (folder / "imagesTr").mkdir()
    (folder / "labelsTr").mkdir()
    for name in "abc":
        for channel in range(2):
            image = rng.normal(size=SHAPE).astype(np.float32)
            write(folder / f"imagesTr/{name}_{channel:04d}.nii.gz", image)
        write(folder / f"labelsTr/{name}.nii.gz", rng.integers(0, 3, SHAPE).astype(np.uint8))
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "x": 1, "y": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


Change = Callable[[Path], object]


def described(**changes: Any) -> Change:
    """Changes keys of dataset.json; None removes one."""

    def change(folder: Path) -> None:
        path = folder / "dataset.json"
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return change


def splits(content: object) -> Change:
    return lambda folder: (folder / "splits_final.json").write_text(json.dumps(content))


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def copied(source: str, target: str) -> Change:
    return lambda folder: shutil.copy(folder / source, folder / target)


def rewritten(name: str, array: np.ndarray, **geometry: Any) -> Change:
    return lambda folder: write(folder / name, array, **geometry)


def filled(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def both(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


def with_value(value: float) -> np.ndarray:
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    image[1, 2, 3] = value
    return image


IMAGE, LABEL = "imagesTr/b_0001.nii.gz", "labelsTr/b.nii.gz"
LABELS = np.random.default_rng(2).integers(0, 3, SHAPE).astype(np.uint8)
HALF = LABELS.astype(np.float32) / 2
REGIONS = {"background": 0, "all": [1, 2], "y": 2}
PATHS = {"images": ["imagesTr/b_0000.nii.gz", IMAGE], "label": LABEL}


FAULTS: list[tuple[str, str, Change, str]] = [
    # kind, severity, what is done to the sound data set, the file that must be named
    ("missing-dataset-json", "error", removed("dataset.json"), "dataset.json"),
    ("invalid-dataset-json", "error", filled("dataset.json", b"{"), "dataset.json"),
    ("invalid-dataset-json", "error", filled("dataset.json", b"[]"), "dataset.json"),
    ("missing-key", "error", described(channel_names=None), "dataset.json"),
    ("missing-key", "error", described(labels=None), "dataset.json"),
    ("missing-key", "error", described(file_ending=None), "dataset.json"),
    ("missing-key", "warning", described(numTraining=None), "dataset.json"),
    ("wrong-type", "error", described(channel_names={"0": 1, "1": 2}), "dataset.json"),
    ("wrong-type", "error", described(channel_names=7), "dataset.json"),
    ("wrong-type", "error", described(labels=["a", 1]), "dataset.json"),
    ("wrong-type", "error", described(labels={"background": 0, "x": "1"}), "dataset.json"),
    ("wrong-type", "error", described(labels={"background": 0, "x": 1.5}), "dataset.json"),
    ("wrong-type", "error", described(labels={"background": 1, "x": 2}), "dataset.json"),
    ("wrong-type", "error", described(numTraining="3"), "dataset.json"),
    ("wrong-type", "error", described(file_ending=7), "dataset.json"),
    ("wrong-type", "error", described(regions_class_order="1, 2"), "dataset.json"),
    ("wrong-type", "warning", described(licence=["CC0"]), "dataset.json"),
    ("wrong-type", "error", described(dataset=[1]), "dataset.json"),
    ("wrong-type", "error", described(dataset={"a": "a.nii.gz"}), "dataset.json"),
    ("wrong-type", "error", described(file_ending=None, training=["a"]), "dataset.json"),
    ("channel-keys", "error", described(channel_names={"1": "T1", "2": "T2"}), "dataset.json"),
    ("invalid-labels", "error", described(labels={"background": 0}), "dataset.json"),
    (
        "invalid-labels",
        "error",
        described(labels={"background": 0, "x": 1, "y": 1}),
        "dataset.json",
    ),
    ("regions-order", "error", described(labels=REGIONS), "dataset.json"),
    (
        "regions-order",
        "error",
        described(labels=REGIONS, regions_class_order=[1]),
        "dataset.json",
    ),
    (
        "regions-order-values",
        "warning",
        described(labels=REGIONS, regions_class_order=[1, 5]),
        "dataset.json",
    ),
    ("no-background", "warning", described(labels={"x": 1, "y": 2}), "dataset.json"),
    (
        "label-gaps",
        "warning",
        described(labels={"background": 0, "x": 1, "y": 2, "z": 7}),
        "dataset.json",
    ),
    ("file-ending-blank", "error", described(file_ending=" .nii.gz"), "dataset.json"),
    ("unknown-file-ending", "error", described(file_ending="nii.gz"), "dataset.json"),
    ("unknown-file-ending", "error", described(file_ending=".docx"), "dataset.json"),
    ("unknown-reader", "warning", described(overwrite_image_reader_writer="os"), "dataset.json"),
    (
        "reorienting-reader",
        "warning",
        described(overwrite_image_reader_writer="NibabelIOWithReorient"),
        "dataset.json",
    ),
    ("case-count", "error", described(numTraining=5), "dataset.json"),
    ("missing-folder", "error", lambda f: shutil.rmtree(f / "labelsTr"), "labelsTr"),
    ("no-cases", "error", lambda f: shutil.rmtree(f / "imagesTr"), ""),
    ("missing-image", "error", removed("imagesTr/b_0000.nii.gz"), "b_0000.nii.gz"),
    ("missing-image", "error", removed(IMAGE), "b_0001.nii.gz"),
    (
        "missing-image",
        "error",
        described(dataset={"q": {"images": ["q.nii.gz"], "label": LABEL}}),
        "q.nii.gz",
    ),
    ("missing-label", "error", removed(LABEL), "b.nii.gz"),
    (
        "missing-label",
        "error",
        described(dataset={"q": {"images": [IMAGE], "label": "q.nii.gz"}}),
        "q.nii.gz",
    ),
    ("label-without-image", "error", copied(LABEL, "labelsTr/z.nii.gz"), "z.nii.gz"),
    ("image-name", "error", copied(IMAGE, "imagesTr/z.nii.gz"), "z.nii.gz"),
    ("other-file-ending", "warning", filled("imagesTr/z_0000.nrrd", b""), "z_0000.nrrd"),
    ("duplicate-case", "error", described(dataset={"b": PATHS, "B": PATHS}), "b_0000.nii.gz"),
    (
        "duplicate-case",
        "error",
        described(
            file_ending=None,
            training=[{"image": IMAGE, "label": LABEL}, {"image": IMAGE, "label": LABEL}],
        ),
        "b_0001.nii.gz",
    ),
    (
        "channel-count",
        "error",
        described(channel_names={"0": "T1", "1": "T2", "2": "FLAIR"}),
        "b_0000.nii.gz",
    ),
    ("channel-count", "error", described(channel_names={"0": "T1"}), "b_0000.nii.gz"),
    ("unreadable-image", "error", filled(IMAGE, b"nonsense"), "b_0001.nii.gz"),
    ("unreadable-label", "error", filled(LABEL, b""), "b.nii.gz"),
    ("shape-mismatch", "error", rewritten(IMAGE, with_value(1)[1:]), "b_0001.nii.gz"),
    ("shape-mismatch", "error", rewritten(LABEL, LABELS[:, 1:]), "b.nii.gz"),
    ("geometry-mismatch", "error", rewritten(IMAGE, with_value(1), spacing=1.01), "b_0001.nii.gz"),
    ("geometry-mismatch", "error", rewritten(LABEL, LABELS, origin=(0, 0.1, 0)), "b.nii.gz"),
    ("not-finite", "error", rewritten(IMAGE, with_value(np.nan)), "b_0001.nii.gz"),
    ("not-finite", "error", rewritten(IMAGE, with_value(np.inf)), "b_0001.nii.gz"),
    ("unexpected-labels", "error", rewritten(LABEL, LABELS * 4), "b.nii.gz"),
    ("non-whole-labels", "error", rewritten(LABEL, HALF), "b.nii.gz"),
    ("empty-label", "warning", rewritten(LABEL, LABELS * 0), "b.nii.gz"),
    ("constant-image", "warning", rewritten(IMAGE, np.ones(SHAPE, np.float32)), "b_0001.nii.gz"),
    ("invalid-splits", "error", filled("splits_final.json", b"["), "splits_final.json"),
    ("invalid-splits", "error", splits({"train": ["a"]}), "splits_final.json"),
    ("invalid-splits", "error", splits([{"train": ["a"]}]), "splits_final.json"),
    (
        "split-unknown-case",
        "error",
        splits([{"train": ["a", "q"], "val": ["b"]}]),
        "splits_final.json",
    ),
    ("split-overlap", "error", splits([{"train": ["a", "b"], "val": ["b"]}]), "splits_final.json"),
]


def test_sound_data_set_has_no_fault(sound: Path) -> None:
    assert check_dataset(sound) == ()


@pytest.mark.parametrize(
    ("kind", "severity", "change", "name"),
    FAULTS,
    ids=[f[0] for f in FAULTS],
)
def test_each_fault_is_named(
    sound: Path, tmp_path: Path, kind: str, severity: str, change: Change, name: str
) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "broken"))
    change(folder)
    found = [fault for fault in check_dataset(folder) if fault.kind == kind]
    assert found, [fault.kind for fault in check_dataset(folder)]
    assert {fault.severity for fault in found} == {severity}
    assert (name or "broken") in [fault.path.name for fault in found]
    for fault in found:
        assert fault.what
        assert fault.expected
        assert fault.found
        assert fault.cure


def test_every_fault_of_many_is_named(sound: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "broken"))
    both(
        described(file_ending=".nii.gz ", numTraining=9, channel_names=None),
        filled("imagesTr/a_0000.nii.gz", b"nonsense"),
        rewritten("imagesTr/a_0001.nii.gz", with_value(np.nan)),
        rewritten("labelsTr/a.nii.gz", HALF),
        rewritten(LABEL, LABELS[1:]),
        removed("labelsTr/c.nii.gz"),
        splits([{"train": ["q"], "val": ["q"]}]),
    )(folder)
    assert {fault.kind for fault in check_dataset(folder)} == {
        "missing-key",
        "file-ending-blank",
        "case-count",
        "unreadable-image",
        "not-finite",
        "non-whole-labels",
        "shape-mismatch",
        "missing-label",
        "split-unknown-case",
        "split-overlap",
    }


def test_progress_is_told_case_by_case(sound: Path) -> None:
    events: list[Event] = []
    check_dataset(sound, events.append)
    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageFinished)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [(step.done, step.total, step.detail) for step in steps] == [
        (1, 3, "a"),
        (2, 3, "b"),
        (3, 3, "c"),
    ]


@pytest.mark.reference
@pytest.mark.parametrize(
    "name",
    [
        "Dataset004_Hippocampus",
        "Dataset201_SunnybrookLV",
        "Dataset202_MSLesionFLAIR",
        "Dataset203_NucleiGrey",
        "Dataset204_NucleiRGB",
    ],
)
def test_real_data_sets_are_sound(shared_folder: Path, name: str) -> None:
    folder = shared_folder / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no data set at {folder}: this check was NOT made")
    assert [fault for fault in check_dataset(folder) if fault.severity == "error"] == []

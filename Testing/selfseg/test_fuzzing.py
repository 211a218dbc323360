"""Random damage to everything that is read from outside: an error of ours, or it is read.

Each check runs a few dozen made-up inputs, the same every time, and thousands of others with
`-m slow`. Nothing is ever written, no other exception comes out, and none takes long.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bad_input.damage import as_text, spoilt, spoilt_bytes
from bad_input.kit import FULL, make_kit
from bad_input.worker_rows import LINES
from hostile_zips import unpacked_files, with_manifest
from nnunet_models import tiny_plan
from selfseg.collect.collection import CollectOptions
from selfseg.collect.survey import survey
from selfseg.domain.errors import SelfsegError
from selfseg.domain.events import silent
from selfseg.domain.selection import Selection
from selfseg.io.bundle_files import install_bundle, read_bundle
from selfseg.io.dataset_check import check_dataset
from selfseg.io.datasets import open_dataset
from selfseg.io.images import read_image, read_label_map
from selfseg.io.nnunet_json import (
    description_from_nnunet,
    description_to_nnunet,
    plan_from_nnunet,
    plan_to_nnunet,
)
from selfseg.io.project import Project
from selfseg.io.selection_file import read_selection
from selfseg.io.usable_plan import check_usable
from selfseg.serve.messages import Message
from selfseg.serve.wire import ANSWERS, REQUESTS, read_line, write_line

FEW, MANY = 40, 2000
SECONDS = 5.0

amounts = pytest.mark.parametrize("amount", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_kit(tmp_path_factory.mktemp("kit"))


def holds(amount: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], object]) -> None:
    """Runs a check on so many inputs; only errors of ours, with a cure, may come out of it."""

    @settings(
        max_examples=amount,
        deadline=SECONDS * 1000,
        derandomize=amount == FEW,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(content: Any) -> None:
        found = _error_of(lambda: check(content))
        assert found is None or (found.what and found.cure)

    run()


def _error_of(call: Callable[[], object]) -> SelfsegError | None:
    try:
        call()
    except SelfsegError as error:
        return error
    return None


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            status = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (status.st_size, status.st_mtime_ns)
    return found


def reading(path: Path, read: Callable[[], object]) -> Callable[[bytes], None]:
    """A check that puts bytes into a file, reads, and sees that no file has changed."""

    def check(data: bytes) -> None:
        path.write_bytes(data)
        before = state_of(path.parent)
        try:
            read()
        finally:
            assert state_of(path.parent) == before

    return check


@amounts
def test_dataset_json(amount: int, kit: Path) -> None:
    path = kit / "data/dataset.json"
    sound = path.read_bytes()
    content = json.loads(sound) | {
        "reference": "r", "licence": "CC0", "overwrite_image_reader_writer": "SimpleITKIO",
        "regions_class_order": [1, 2],
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "training": [{"image": "./imagesTr/case_000_0000.nii.gz",
                      "label": "./labelsTr/case_000.nii.gz"}],
    }  # fmt: skip

    def both() -> None:
        faults = check_dataset(path.parent)  # never raises
        with suppress(SelfsegError):
            open_dataset(path.parent)
            return
        assert any(fault.severity == "error" for fault in faults)

    try:
        check = reading(path, both)
        holds(amount, spoilt(content).map(as_text) | spoilt_bytes(as_text(content)), check)
    finally:
        path.write_bytes(sound)


@amounts
def test_splits_and_groups(amount: int, kit: Path) -> None:
    path = kit / "data/splits_final.json"
    splits = [{"train": ["case_000", "case_001"], "val": ["case_002"]}] * 2
    try:
        holds(
            amount,
            spoilt(splits).map(as_text),
            reading(path, lambda: check_dataset(path.parent)),
        )
    finally:
        path.unlink()


@amounts
def test_plans_of_nnunet(amount: int) -> None:
    plan = tiny_plan()

    def check(content: Any) -> None:
        plans, dataset = content
        description = description_from_nnunet(dataset)
        check_usable(plan_from_nnunet(plans, description))

    plans, dataset = plan_to_nnunet(plan), description_to_nnunet(plan.description)
    whole = st.tuples(spoilt(plans), st.just(dataset) | spoilt(dataset))
    holds(amount, whole, check)


@amounts
def test_our_plans(amount: int, kit: Path) -> None:
    path = kit / "project/plans/plain.json"
    sound = path.read_bytes()

    def read() -> None:
        plan = Project.open(kit / "project").read_plan("plain")
        plan.configuration(FULL)

    try:
        content = json.loads(sound)
        check = reading(path, read)
        holds(amount, spoilt(content).map(as_text) | spoilt_bytes(sound), check)
    finally:
        path.write_bytes(sound)


@amounts
def test_project_files(amount: int, kit: Path) -> None:
    home = kit / "project"
    for name, read in {
        "project.json": lambda: Project.open(home).dataset_folder,
        "fingerprint.json": lambda: Project.open(home).read_fingerprint(),
        "splits.json": lambda: Project.open(home).read_splits(),
    }.items():
        path = home / name
        sound = path.read_bytes()
        try:
            holds(amount // 3, spoilt(json.loads(sound)).map(as_text), reading(path, read))
        finally:
            path.write_bytes(sound)


@amounts
def test_the_selection(amount: int, kit: Path) -> None:
    member = {"plan": "plain", "configuration": FULL, "folds": ["0", "1"]}
    step = {"kind": "keep_largest", "structures": ["ball"], "min_size_voxels": 5}
    content = {
        "schema": "selfseg.selection/1",
        "members": [member],
        "checkpoint": "final",
        "candidates": [
            {"members": [member], "dice": 0.9, "dice_by_structure": {"ball": 0.9, "bud": None},
             "interval": [0.8, 0.95]}
        ],
        "cases": 3,
        "postprocessing": [step],
        "tested": [{"step": step, "kept": True, "before": 0.8, "after": 0.9,
                    "changed": {"ball": [0.8, None]}, "reason": "better"}],
        "dice": 0.9,
        "dice_by_structure": {"ball": 0.9},
        "interval": [0.8, 0.9],
        "atlas": {"cases": ["a"], "share": 0.3, "per_image": 2, "fusion": "staple"},
        "atlas_dice": 0.5,
    }  # fmt: skip
    path = kit / "project/selection.json"
    project = Project.open(kit / "project")

    def read() -> None:
        found = read_selection(project)
        assert isinstance(found, Selection)
        assert found.chosen.name

    try:
        holds(amount, spoilt(content).map(as_text), reading(path, read))
    finally:
        path.unlink()


@amounts
def test_bundles(amount: int, kit: Path, tmp_path: Path) -> None:
    install_bundle(kit / "model.selfseg", tmp_path / "model")
    sound = unpacked_files(tmp_path / "model")
    names = sorted(name for name in sound if name.endswith(".json"))

    @st.composite
    def damaged(draw: st.DrawFn) -> dict[str, bytes]:
        name = draw(st.sampled_from(names))
        content = as_text(draw(spoilt(json.loads(sound[name]))))
        files = {**sound, name: content}
        # A manifest that vouches for what was spoilt lets it through to the readers.
        return files if name == "manifest.json" else with_manifest(files)

    def check(files: dict[str, bytes]) -> None:
        for name, data in files.items():
            (tmp_path / "model" / name).write_bytes(data)
        before = state_of(tmp_path)
        try:
            stored = read_bundle(tmp_path / "model")
            for key in stored.networks:
                stored.read_weights(key.plan, key.configuration, key.fold)
        finally:
            assert state_of(tmp_path) == before

    holds(amount, damaged(), check)


@amounts
def test_collection_files(amount: int, kit: Path) -> None:
    grid = {"shape": [12, 20, 16], "spacing": [2.5, 0.9, 0.7], "origin": [-12.5, 31.25, 7.0],
            "direction": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}  # fmt: skip
    case = {
        "case": "p", "group": "g",
        "images": [{"channel": "CT", "file": "a.nrrd", "grid": None, "to_world": None},
                   {"channel": "PET", "file": None, "grid": grid, "to_world":
                    [1, 0, 0, 5, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}],
        "layers": [{"file": None, "grid": grid}],
        "layers_to_world": None,
        "segments": [{"name": "Liver", "layer": 0, "value": 1, "terminology": "a~b~c",
                      "colour": [1, 2, 3], "empty": False}],
    }  # fmt: skip
    content = {"schema": "selfseg.collection/1", "channels": ["CT", "PET"], "cases": [case]}
    path = kit / "scans/collection.json"
    check = reading(path, lambda: survey([path], CollectOptions(), reporter=silent))
    try:
        holds(amount, spoilt(content).map(as_text) | spoilt_bytes(as_text(content)), check)
    finally:
        path.unlink()


@amounts
def test_segmentations_of_slicer(amount: int, kit: Path) -> None:
    path = kit / "scans/a.seg.nrrd"
    sound = path.read_bytes()
    check = reading(path, lambda: survey([path.parent], CollectOptions(), reporter=silent))
    try:
        holds(amount // 2, spoilt_bytes(sound, sound.index(b"\n\n")), check)
    finally:
        path.write_bytes(sound)


@amounts
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif"])
def test_headers_of_images(ending: str, amount: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    voxels = (
        (np.arange(60) % 5).astype(np.uint8).reshape((6, 10) if ending[2:3] == "n" else (3, 4, 5))
    )
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    packed = ending.endswith(".gz")
    sound = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()

    def read() -> None:
        with suppress(SelfsegError):
            read_image(path)
        read_label_map(path)

    strategy = spoilt_bytes(sound, 420)
    holds(amount, strategy.map(gzip.compress) if packed else strategy, reading(path, read))


@amounts
def test_lines_to_the_worker(amount: int) -> None:
    sound = [_object(line.line) for line in LINES]
    requests = st.sampled_from([content for content in sound if isinstance(content, dict)])

    def check(line: bytes) -> None:
        assert isinstance(read_line(line, REQUESTS), Message)

    lines = requests.flatmap(spoilt).map(as_text) | requests.map(as_text).flatmap(spoilt_bytes)
    holds(amount * 5, lines | st.binary(max_size=200), check)


@amounts
def test_lines_from_the_worker(amount: int) -> None:
    """The client reads what may come from another program of the same name."""
    sound = {
        "kind": "finished", "id": "1", "seconds": 1.5, "paths": ["/a"], "provenance": {"a": "b"},
        "confidence": {"entropy": 0.5}, "predicting_after": 0.1, "quality": {"flagged": True},
    }  # fmt: skip

    def check(line: bytes) -> None:
        message = read_line(line, ANSWERS)
        assert read_line(write_line(message), ANSWERS) == message

    holds(amount * 5, spoilt(sound).map(as_text), check)


def _object(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None

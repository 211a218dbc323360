"""Every kind of model, in this process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_examples import a_bundle, a_plan, made_weights
from selfseg.domain.bundle import Member
from selfseg.domain.errors import Cancelled, UsageError
from selfseg.domain.events import Event, Progress, StageStarted, silent
from selfseg.domain.geometry import SLICE_SPACING_2D
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import read_image, read_label_map
from selfseg.io.project import Project
from selfseg.io.weights import read_weights, write_weights
from selfseg.registry.library import Library
from selfseg.serve.messages import Grid, ModelKey, Segment
from selfseg.serve.segmentation import Segmenter, model_files, network_bytes
from selfseg.stages.bundle import CardOptions, ModelChoice, bundle_from_project
from synthetic_preprocessing import GOLDEN, made_case, made_plan

from .conftest import ProjectMaker

GRID_2D = Grid((SLICE_SPACING_2D, 1.0, 1.0))


def go_on() -> bool:
    return False


@pytest.fixture
def segmenter(one_thread: None) -> Segmenter:
    return Segmenter(2**30, "00")


def segment(segmenter: Segmenter, key: ModelKey, image: Path, output: Path) -> np.ndarray:
    request = Segment("1", key, (str(image),), str(output), mirror=False, step=1.0)
    result = segmenter.segment(request, silent, go_on)
    assert result.paths == (str(output),)
    return read_label_map(output)[0]


def test_a_model_is_the_same_in_every_form(
    segmenter: Segmenter, project: Path, image: Path, tmp_path: Path
) -> None:
    choice = ModelChoice(folds=("0",))
    packed = tmp_path / "balls.selfseg"
    bundle, weights = bundle_from_project(Project.open(project), CardOptions("balls"), choice)
    write_bundle(packed, bundle, weights)
    library = tmp_path / "library"
    entry = Library(library).install(packed)
    expected = segment(
        segmenter, ModelKey(str(project), folds=("0",), device="cpu"), image, tmp_path / "p.nrrd"
    )
    assert expected.max() > 0
    for number, key in enumerate(
        (
            ModelKey(str(packed), device="cpu"),
            ModelKey(str(entry.folder), device="cpu"),
            ModelKey("balls", device="cpu", library=str(library)),
        )
    ):
        found = segment(segmenter, key, image, tmp_path / f"{number}.nrrd")
        np.testing.assert_array_equal(found, expected)
    kept = segmenter.kept()
    assert len(kept) == 4
    assert len({model.bytes for model in kept}) == 1
    file = next(project.glob("runs/*/*/fold_0/weights_final.safetensors"))
    assert kept[0].bytes == pytest.approx(file.stat().st_size, rel=0.05)
    assert kept[0].bytes == network_bytes(bundle)


def test_a_model_that_was_trained_again_is_read_again(
    segmenter: Segmenter, make_project: ProjectMaker, image: Path, tmp_path: Path
) -> None:
    project = make_project("again")
    key = ModelKey(str(project), folds=("0",), device="cpu")
    before = segment(segmenter, key, image, tmp_path / "a.nrrd")
    assert segment(segmenter, key, image, tmp_path / "a.nrrd").tolist() == before.tolist()
    files = model_files(key)
    assert [path.suffix for path in files] == [".json", ".safetensors", ".safetensors"]
    best = files[1].with_name("weights_best.safetensors")
    best.write_bytes(b"")
    assert best in model_files(key)  # which of both is used a selection says
    assert best not in model_files(replace(key, checkpoint="final"))
    best.unlink()
    selection = project / "selection.json"
    selection.write_text("{}")
    assert selection in model_files(key)
    selection.unlink()
    weights, _ = read_weights(files[1])
    last = [name for name in weights if "head" in name and name.endswith("bias")][-1]
    weights[last] = np.array([0, 100, 0], np.float32)
    write_weights(files[1], weights, {})
    os.utime(files[1], ns=(1, 1))
    assert (segment(segmenter, key, image, tmp_path / "a.nrrd") == 1).all()
    assert len(segmenter.kept()) == 1
    assert segmenter.unload() == 1
    assert segmenter.kept() == ()


def test_float32_is_another_variant_of_a_model(
    segmenter: Segmenter, project: Path, image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(project), folds=("0",), device="cpu")
    for precision in ("auto", "float32"):
        exact = replace(key, precision=precision)
        request = Segment(
            "1", exact, (str(image),), str(tmp_path / "a.nrrd"), mirror=False, step=1.0
        )
        assert segmenter.segment(request, silent, go_on).provenance["precision"] == precision
    auto, full = (ready.value.strategy.voters[0] for ready in segmenter._models._entries.values())
    assert full.backend.dtype is None  # type: ignore[attr-defined]
    assert full.plan.autocast == "off"
    assert auto.plan.autocast == "auto"


def test_a_part_of_the_image_alone(
    segmenter: Segmenter, project: Path, image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(project), folds=("0",), device="cpu")
    whole = segment(segmenter, key, image, tmp_path / "whole.nrrd")
    voxels, geometry = read_image(image)
    np.save(tmp_path / "in.npy", voxels)
    grid = Grid(geometry.spacing, geometry.origin, geometry.direction)
    found = {}
    # A box within the image, and one voxel of its corner.
    for limit in (((3, 15), (4, 20), (2, 18)), ((0, 1), (0, 1), (0, 1))):
        request = Segment(
            "1", key, (str(tmp_path / "in.npy"),), str(tmp_path / "part.npy"), grid,
            mirror=False, step=1.0, limit=limit,
        )  # fmt: skip
        provenance = segmenter.segment(request, silent, go_on).provenance
        assert provenance["limit"] == str(limit)
        labels = np.load(tmp_path / "part.npy")
        assert labels.shape == whole.shape
        inside = tuple(slice(a, b) for a, b in limit)
        found[limit] = labels[inside].copy()
        labels[inside] = 0
        assert not labels.any()
    (large, _) = found
    wanted = whole[tuple(slice(a, b) for a, b in large)]
    assert (found[large] != 0).any()
    # Other tiles: a network that has learned nothing says something else in some places.
    assert (found[large] == wanted).mean() > 0.8
    beyond = replace(request, limit=((0, 3), (0, 3), (0, 1000)))
    with pytest.raises(UsageError, match="no part of the image"):
        segmenter.segment(beyond, silent, go_on)
    assert not list(tmp_path.glob(".part*"))


def test_memory_of_the_device_is_given_back(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[bool] = []
    monkeypatch.setattr("selfseg.infer.torch_backend.release_memory", lambda: released.append(True))
    assert segmenter.unload() == 0
    assert released == [True]


def test_the_start_of_the_network_is_told(
    segmenter: Segmenter, project: Path, image: Path, tmp_path: Path
) -> None:
    told: list[Event] = []
    request = Segment(
        "1", ModelKey(str(project), device="cpu"), (str(image),), str(tmp_path / "a.nrrd"),
        mirror=False,
    )  # fmt: skip
    result = segmenter.segment(request, told.append, go_on)
    kinds = [type(event) for event in told if isinstance(event, StageStarted | Progress)]
    assert kinds[:2] == [StageStarted, Progress]
    assert kinds.count(StageStarted) == 1
    assert result.predicting_after is not None


def test_a_stop_before_the_network_runs(
    segmenter: Segmenter, project: Path, image: Path, tmp_path: Path
) -> None:
    request = Segment("1", ModelKey(str(project)), (str(image),), str(tmp_path / "out" / "a.nrrd"))
    with pytest.raises(Cancelled):
        segmenter.segment(request, silent, lambda: True)
    assert list((tmp_path / "out").iterdir()) == []


def test_how_sure_the_model_is(
    segmenter: Segmenter, project: Path, image: Path, tmp_path: Path
) -> None:
    request = Segment(
        "1", ModelKey(str(project), device="cpu"), (str(image),), str(tmp_path / "a.nrrd"),
        mirror=False, confidence=True,
    )  # fmt: skip
    result = segmenter.segment(request, silent, go_on)
    assert result.confidence is not None
    assert result.confidence["fold_dice"] == pytest.approx(1)  # both folds are one network
    assert result.provenance["confidence"] == "yes"


def test_photographs_as_plain_arrays(segmenter: Segmenter, tmp_path: Path) -> None:
    """Three channels of a 2D image: as a picture, as one array, and as one array per channel."""
    import imageio.v3 as iio

    recipe = GOLDEN["flat_image"]
    plan = made_plan(recipe)
    network = replace(
        a_plan().configuration("3d_fullres").network,
        kernel_sizes=((3, 3),) * 2,
        strides=((1, 1), (2, 2)),
    )
    flat = replace(plan.configuration("2d"), network=network)
    plan = replace(plan, configurations={"2d": flat})
    bundle = replace(
        a_bundle("photo", members=(Member("plain", "2d", ("0", "1")),), plan=plan),
        scores=None,
        fingerprint=None,
    )
    key = ModelKey(
        str(write_bundle(tmp_path / "photo", bundle, made_weights(bundle, seed=1))),
        folds=("1",),
        device="cpu",
    )
    channels = made_case(recipe).channels.astype(np.uint8)
    iio.imwrite(tmp_path / "scan.png", np.moveaxis(channels[:, 0], 0, -1))
    np.save(tmp_path / "all.npy", channels)
    for index, channel in enumerate(channels):
        np.save(tmp_path / f"{index}.npy", channel)
    ways = [(["scan.png"], None), (["all.npy"], GRID_2D), (["0.npy", "1.npy", "2.npy"], GRID_2D)]
    found = []
    for images, grid in ways:
        paths = tuple(str(tmp_path / name) for name in images)
        request = Segment("1", key, paths, str(tmp_path / "labels.npy"), grid, step=1.0)
        assert segmenter.segment(request, silent, go_on).provenance["members"].endswith("fold 1")
        found.append(np.load(tmp_path / "labels.npy"))
    assert found[0].shape == channels.shape[1:]
    assert len(np.unique(found[0])) > 1
    for labels in found[1:]:
        np.testing.assert_array_equal(labels, found[0])

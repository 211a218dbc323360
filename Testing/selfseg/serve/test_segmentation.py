"""Every kind of model, in this process."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from selfseg.domain.errors import Cancelled
from selfseg.domain.events import silent
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import read_label_map
from selfseg.io.project import Project
from selfseg.io.weights import read_weights, write_weights
from selfseg.registry.library import Library
from selfseg.serve.messages import ModelKey, Segment
from selfseg.serve.segmentation import Segmenter, model_files, network_bytes
from selfseg.stages.bundle import CardOptions, ModelChoice, bundle_from_project

from .conftest import ProjectMaker


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
    weights, _ = read_weights(files[1])
    last = [name for name in weights if "head" in name and name.endswith("bias")][-1]
    weights[last] = np.array([0, 100, 0], np.float32)
    write_weights(files[1], weights, {})
    os.utime(files[1], ns=(1, 1))
    assert (segment(segmenter, key, image, tmp_path / "a.nrrd") == 1).all()
    assert len(segmenter.kept()) == 1


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

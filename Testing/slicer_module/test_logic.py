"""The logic class: one call from a volume to a segmentation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib.jobs import JobFailed, open_process
from SelfConfiguringSegmentationLib.segment import exchange

from selfseg.domain.errors import Cancelled, ModelError
from selfseg.serve.tasks import WorkerFailed
from slicer_module.children import write_model
from slicer_module.conftest import asymmetric_voxels
from slicer_module.test_models import write_bundle
from slicer_module.workers import fake_segmenting, wait_until


@pytest.fixture
def logic(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes a logic whose worker, and whose jobs, behave as their names say."""
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    made: list[Any] = []

    def make(behaviour: str, job: str = "forget") -> Any:
        segmenting = fake_segmenting(behaviour, tmp_path / "library", job=job)
        made.append(SelfConfiguringSegmentationLogic(segmenting=segmenting))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where voxels go on their way; empty again after each run."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(exchange, "MEMORY_FOLDER", folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def mask_of(node: Any, index: int, volume: Any) -> np.ndarray:
    identifier = node.GetSegmentation().GetNthSegmentID(index)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0


def test_segment_gives_the_right_voxels_on_a_tilted_grid(
    volume: Any, model: Path, temporary: Path, logic: Any
) -> None:
    events: list[dict[str, Any]] = []
    node = logic("label").segment(volume, str(model), onEvent=events.append)
    np.testing.assert_array_equal(mask_of(node, 0, volume), asymmetric_voxels() > 1000)
    segment = node.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "bright"
    np.testing.assert_allclose(segment.GetColor(), np.array([10, 200, 30]) / 255)
    assert [event["event"] for event in events].count("progress") >= 1
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("behaviour", ["fail", "crash"])
def test_failure_leaves_scene_and_disk_as_they_were(
    volume: Any,
    model: Path,
    temporary: Path,
    node_ids: Callable[[], set[str]],
    behaviour: str,
    logic: Any,
) -> None:
    before = node_ids()
    with pytest.raises((WorkerFailed, ModelError)):
        logic(behaviour).segment([volume], model)
    assert node_ids() == before
    assert list(temporary.iterdir()) == []


def test_cancelling_leaves_scene_and_disk_as_they_were(
    volume: Any, model: Path, temporary: Path, node_ids: Callable[[], set[str]], logic: Any
) -> None:
    before = node_ids()
    run = logic("wait").startSegmentation(volume, model)
    assert not run.poll()
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()
    assert node_ids() == before
    assert list(temporary.iterdir()) == []


def test_an_interrupt_while_waiting_cancels_the_request(
    volume: Any, model: Path, temporary: Path, logic: Any
) -> None:
    made = logic("wait")
    run = made.startSegmentation(volume, model)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.wait(interrupt)
    assert list(temporary.iterdir()) == []
    worker = made.segmenting.worker
    wait_until(lambda: not worker.busy, worker.poll, 20.0)


def test_number_of_channels_is_checked_before_anything_starts(
    volume: Any, tmp_path: Path, temporary: Path, logic: Any
) -> None:
    two = write_model(tmp_path / "two", ["T1", "T2"])
    with pytest.raises(ModelError, match="another number of images") as caught:
        logic("label").segment(volume, two)
    assert "T1, T2" in str(caught.value)


def test_models_are_found_by_name_and_path(volume: Any, model: Path, logic: Any) -> None:
    made = logic("label")
    made.segmenting.models.add(model)
    assert [entry.title for entry in made.models()] == ["Bright (model)"]
    for chosen in ("Bright", model, made.models()[0]):
        assert made.segment(volume, chosen).GetSegmentation().GetNumberOfSegments() == 1


def test_importing_gives_the_model_in_the_library(tmp_path: Path, logic: Any) -> None:
    made = logic("label")
    library = made.segmenting.models.library

    def start(arguments: Any) -> Any:
        """What `selfseg model import` does: the model is there, its name is printed."""
        assert list(arguments[:3]) == ["model", "import", "colleague.zip"]
        assert arguments[arguments.index("--library") + 1] == str(library)
        write_bundle(library / "liver@2", "2")
        return open_process([sys.executable, "-c", "print('liver@2')"], os.environ)

    made.segmenting._start = start
    entry = made.importModel("colleague.zip")
    assert (entry.key, entry.title) == ("liver@2", "liver 2")


def test_an_import_that_fails_says_why(logic: Any) -> None:
    with pytest.raises(JobFailed, match="the model is broken"):
        logic("label", job="fail").importModel("colleague.zip")


def test_a_cancelled_import_is_no_failure(logic: Any) -> None:
    run = logic("label", job="wait").startImport("colleague.zip")
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()

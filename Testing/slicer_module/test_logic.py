"""The logic class: one call from a volume to a segmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from SelfConfiguringSegmentationLib import jobs, models

from selfseg.domain.errors import Cancelled, ModelError
from slicer_module.children import fake_starter, write_model
from slicer_module.conftest import asymmetric_voxels


def logic(start: Any) -> Any:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    return SelfConfiguringSegmentationLogic(startProcess=start)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; empty again after each run."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def mask_of(node: Any, index: int, volume: Any) -> np.ndarray:
    identifier = node.GetSegmentation().GetNthSegmentID(index)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0


def test_segment_gives_the_right_voxels_on_a_tilted_grid(
    volume: Any, model: Path, temporary: Path
) -> None:
    events: list[dict[str, Any]] = []
    node = logic(fake_starter("label")).segment(volume, str(model), onEvent=events.append)
    np.testing.assert_array_equal(mask_of(node, 0, volume), asymmetric_voxels() > 1000)
    segment = node.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "bright"
    np.testing.assert_allclose(segment.GetColor(), np.array([10, 200, 30]) / 255)
    assert [event["event"] for event in events].count("progress") == 4
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("behaviour", ["fail", "crash", "forget"])
def test_failure_leaves_scene_and_disk_as_they_were(
    volume: Any,
    model: Path,
    temporary: Path,
    node_ids: Callable[[], set[str]],
    behaviour: str,
) -> None:
    before = node_ids()
    with pytest.raises((jobs.JobFailed, ModelError)):
        logic(fake_starter(behaviour)).segment([volume], model)
    assert node_ids() == before
    assert list(temporary.iterdir()) == []


def test_cancelling_leaves_scene_and_disk_as_they_were(
    volume: Any, model: Path, temporary: Path, node_ids: Callable[[], set[str]]
) -> None:
    before = node_ids()
    run = logic(fake_starter("wait")).startSegmentation(volume, model)
    assert not run.poll()
    run.cancel()
    run.wait()
    with pytest.raises(Cancelled):
        run.finish()
    assert node_ids() == before
    assert list(temporary.iterdir()) == []


def test_an_interrupt_while_waiting_ends_the_child(
    volume: Any, model: Path, temporary: Path
) -> None:
    run = logic(fake_starter("deaf")).startSegmentation(volume, model)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.wait(interrupt)
    assert list(temporary.iterdir()) == []


def test_number_of_channels_is_checked_before_anything_starts(
    volume: Any, tmp_path: Path, temporary: Path
) -> None:
    two = write_model(tmp_path / "two", ["T1", "T2"])
    with pytest.raises(ModelError, match="another number of images") as caught:
        logic(fake_starter("label")).segment(volume, two)
    assert "T1, T2" in str(caught.value)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        models.read_model(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        models.read_model(tmp_path / "missing")
    broken = write_model(tmp_path / "broken")
    (broken / "plans" / "plain.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read"):
        models.read_model(broken)


def test_self_test_of_the_module(scene: Any) -> None:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationTest

    SelfConfiguringSegmentationTest().runTest()

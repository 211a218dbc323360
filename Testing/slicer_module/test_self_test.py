"""The test that Slicer's own "Reload and Test" runs, here with slicer-core."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import SelfConfiguringSegmentation as module
from SelfConfiguringSegmentationLib import dependencies, self_test
from SelfConfiguringSegmentationLib.dependencies import Missing

from slicer_module.children import real_starter
from slicer_module.workers import library, real_segmenting

__all__ = ["library"]


def test_it_runs_where_packages_are_missing_and_says_what_it_left_out(
    scene: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dependencies, "missing", lambda: Missing(("torch>=2.10",)))
    with caplog.at_level(logging.WARNING):
        module.SelfConfiguringSegmentationTest().runTest(msec=0)
    assert "not tested. Not installed yet: torch" in caplog.text
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.slow
def test_a_model_is_trained_and_used(scene: Any, library: Path) -> None:
    logic = module.SelfConfiguringSegmentationLogic(
        real_starter, segmenting=real_segmenting(library)
    )
    self_test.train_segment_and_close_the_scene(module.SelfConfiguringSegmentationTest(), logic)


def test_slicer_finds_it_by_its_name() -> None:
    """`slicer.selfTests` and ctest call `<ModuleName>Test`."""
    assert module.SelfConfiguringSegmentationTest.__module__ == module.__name__
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = module.Nothing

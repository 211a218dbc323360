"""Bad segmentations for the pages Export and Train: said, and nothing changed or half-written."""

from __future__ import annotations

import os

import pytest

from slicer_module.bad_input_rows import Desk, Row, desk, judge
from slicer_module.bad_input_segmentations import EXPORTS, TRAINING
from slicer_module.train_scenes import in_process_starter
from slicer_module.workers import fake_segmenting

__all__ = ["desk"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights and limits of Unix")

ROWS = (*EXPORTS, *TRAINING)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_said_and_nothing_is_changed(
    row: Row, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic
    from SelfConfiguringSegmentationLib.train import logic

    monkeypatch.setattr(logic, "default_path", lambda: desk.place.parent / "trainings.json")
    desk.logic = SelfConfiguringSegmentationLogic(
        startProcess=in_process_starter,
        segmenting=fake_segmenting("label", desk.place.parent / "library"),
    )
    judge(row, desk)

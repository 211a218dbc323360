"""Bad folders, logs, settings, downloads and processes: said, and nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_examples import a_bundle, made_weights
from selfseg.io.bundle_files import install_bundle, write_bundle
from slicer_module.bad_input_folders import BATCHES, REVIEWS
from slicer_module.bad_input_processes import DOWNLOADS, KEPT, PROCESSES
from slicer_module.bad_input_rows import Desk, Row, desk, judge
from slicer_module.train_scenes import in_process_starter
from slicer_module.workers import fake_segmenting

__all__ = ["desk"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights and limits of Unix")

ROWS = (*REVIEWS, *BATCHES, *KEPT, *PROCESSES, *DOWNLOADS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of made weights, as a folder."""
    folder = tmp_path_factory.mktemp("models")
    bundle = a_bundle()
    write_bundle(folder / "model.selfseg", bundle, made_weights(bundle))
    return install_bundle(folder / "model.selfseg", folder / "model").folder


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_said_and_nothing_is_changed(
    row: Row, desk: Desk, model: Path, one_thread: None
) -> None:
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    desk.model = model
    desk.logic = SelfConfiguringSegmentationLogic(
        startProcess=in_process_starter,
        segmenting=fake_segmenting("label", desk.place.parent / "library"),
    )
    judge(row, desk)

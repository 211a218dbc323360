"""Bad volumes, regions, sequences and models for the page Segment: said, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from SelfConfiguringSegmentationLib.segment.settings import SegmentationSettings

from model_examples import a_bundle, made_weights
from selfseg.io.bundle_files import write_bundle
from slicer_module.bad_input_models import MODELS, SEQUENCES
from slicer_module.bad_input_rows import Desk, Row, desk, judge
from slicer_module.bad_input_volumes import VOLUMES
from slicer_module.workers import real_segmenting, wait_until

__all__ = ["desk"]

ROWS = (*VOLUMES, *SEQUENCES, *MODELS)


@pytest.fixture(scope="module")
def segmenting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The module's logic with one real worker, and a model of made weights."""
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    folder = tmp_path_factory.mktemp("models")
    bundle = a_bundle()
    write_bundle(folder / "model.selfseg", bundle, made_weights(bundle))
    logic = SelfConfiguringSegmentationLogic(segmenting=real_segmenting(folder / "library"))
    _warm_up(logic, folder / "model.selfseg")
    yield logic, folder / "model.selfseg"
    logic.close()


def _warm_up(logic: Any, model: Path) -> None:
    """The first request pays for imports, which say nothing about the rows."""
    worker = logic.segmenting.worker
    worker.load_ahead(logic.segmenting.find(model), SegmentationSettings(device="cpu"))
    wait_until(lambda: not worker.busy, worker.poll, 120.0)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_is_said_and_nothing_is_changed(
    row: Row, desk: Desk, segmenting: tuple[Any, Path]
) -> None:
    desk.logic, desk.model = segmenting
    judge(row, desk)

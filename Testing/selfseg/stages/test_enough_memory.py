"""A case that does not fit the memory is told before the prediction begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_examples import a_bundle, made_weights
from selfseg.domain.dataset import CaseFiles
from selfseg.domain.geometry import Geometry
from selfseg.io.bundle_files import write_bundle
from selfseg.io.images import write_label_map
from selfseg.stages.enough_memory import memory_warning, needed_bytes
from selfseg.stages.model import open_model
from selfseg.stages.predict_options import PredictOptions
from selfseg.stages.strategy import Strategy, load_strategy

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = ((20, 20, 20), (40, 60, 60))


@pytest.fixture(scope="module")
def strategy(tmp_path_factory: pytest.TempPathFactory) -> Strategy:
    bundle = a_bundle()
    path = write_bundle(tmp_path_factory.mktemp("m") / "x.selfseg", bundle, made_weights(bundle))
    with open_model(path) as model:
        return load_strategy(model, PredictOptions(), device="cpu")


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CaseFiles, ...]:
    random = np.random.default_rng(1)
    found = []
    for i, shape in enumerate(SHAPES):
        path = tmp_path / f"case{i}_0000.nii.gz"
        write_label_map(path, random.integers(0, 99, shape), Geometry(shape, (1.0, 1.0, 1.0)))
        found.append(CaseFiles(f"case{i}", (path,)))
    return tuple(found)


def test_nothing_is_said_where_there_is_room(
    strategy: Strategy, cases: tuple[CaseFiles, ...]
) -> None:
    assert memory_warning(strategy, cases, 10**12) is None


def test_the_largest_case_is_named_with_what_helps(
    strategy: Strategy, cases: tuple[CaseFiles, ...]
) -> None:
    said = memory_warning(strategy, cases, 10**7)
    assert said is not None
    assert said.level == "warning"
    assert said.text.startswith("case1 needs about 0.")
    assert "0.1 GB are free" in said.text
    assert "fewer --folds" in said.text
    assert "--roi" in said.text


def test_a_budget_is_proposed_where_it_is_enough(
    strategy: Strategy, cases: tuple[CaseFiles, ...]
) -> None:
    grid = Geometry((300, 512, 512), (1.0, 1.0, 1.0))
    ahead, alone = (needed_bytes(strategy, 1, grid, several=several) for several in (True, False))
    assert ahead > alone
    grid = Geometry(SHAPES[1], (1.0, 1.0, 1.0))
    ahead = needed_bytes(strategy, 1, grid, several=True)
    said = memory_warning(strategy, cases, ahead - 1)
    assert said is not None
    assert "Give --memory" in said.text


def test_damaged_files_are_told_later(strategy: Strategy, tmp_path: Path) -> None:
    path = tmp_path / "case_0000.nii.gz"
    path.write_bytes(b"no image")
    assert memory_warning(strategy, [CaseFiles("case", (path,))], 1) is None
    missing = CaseFiles("gone", (tmp_path / "gone_0000.nii.gz",))
    assert memory_warning(strategy, [missing], 1) is None

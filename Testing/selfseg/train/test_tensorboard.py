from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from selfseg.domain.errors import TrainingError
from selfseg.domain.events import EpochFinished, IterationFinished, Notice, ValidationFinished
from selfseg.train.tensorboard import TensorBoard


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(e.step, e.value) for e in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_numbers_of_a_training_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path)
    for number in (1, 2):
        board(IterationFinished(number, 0.5 * number, 0.01, 0.1))
    dice = {"liver": 0.75, "lesion": None}
    board(EpochFinished("3d", "0", 0, 9, 0.5, math.nan, dice, ema_pseudo_dice=0.25))
    board(ValidationFinished("3d", "0", 0, {"liver": 0.5}, mean_dice=0.5, mean_hd95_mm=2.0))
    board(Notice("no number"))
    board.close()
    found = _scalars(tmp_path)
    assert found["iteration/loss"] == [(1, 0.5), (2, 1.0)]
    assert found["pseudo_dice/ema"] == [(1, 0.25)]
    assert found["pseudo_dice_per_structure/liver"] == [(1, 0.75)]
    assert found["whole_cases/hd95_mm"] == [(1, 2.0)]
    assert "loss/validation" not in found
    assert "pseudo_dice_per_structure/lesion" not in found


def test_a_resumed_training_replaces_what_it_repeats(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for done, loss in ((0, 1.0), (2, 0.5)):
        board = TensorBoard(tmp_path, done)
        for number in range(done + 1, 5):
            board(IterationFinished(number, loss, 0.01, 0.1))
        board.close()
    assert _scalars(tmp_path)["iteration/loss"] == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)]


def test_without_the_package_the_cure_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="tensorboard") as error:
        TensorBoard(tmp_path)
    assert "pip install" in error.value.cure

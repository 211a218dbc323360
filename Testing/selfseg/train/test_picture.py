from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from selfseg.domain.events import EpochFinished, Event, Notice, ValidationFinished, silent
from selfseg.train.picture import ProgressPicture, draw_progress


def epoch(number: int, names: tuple[str, ...] = ("liver", "lesion"), **changes: Any) -> Any:
    values = {
        "train_loss": 1 - 0.1 * number,
        "validation_loss": math.nan,
        "pseudo_dice": dict.fromkeys(names, 0.5 if number else None),
        "mean_pseudo_dice": 0.5,
        "ema_pseudo_dice": 0.5,
        "learning_rate": 0.01,
        **changes,
    }
    return EpochFinished("3d", "0", number, 50, **values)


def validation(number: int) -> ValidationFinished:
    return ValidationFinished(
        "3d", "0", number, {"liver": 0.9, "lesion": None}, mean_dice=0.9, mean_hd95_mm=2.0, cases=3
    )


def test_a_picture_of_a_training(tmp_path: Path) -> None:
    picture = ProgressPicture(tmp_path / "progress.png", title="3d, fold 0", reporter=silent)
    for number in range(12):
        picture(epoch(number))
    picture(validation(11))
    assert not picture.path.exists()  # not yet: drawing takes time
    picture.draw()
    pixels = np.asarray(Image.open(picture.path).convert("L"))
    assert pixels.shape == (660, 1100)
    assert pixels.std() > 10
    assert [p.name for p in tmp_path.iterdir()] == ["progress.png"]


def test_drawn_now_and_then_and_rarer_where_it_takes_long(tmp_path: Path) -> None:
    now = [0.0]
    picture = ProgressPicture(tmp_path / "p.png", reporter=silent, clock=lambda: now[0])
    picture.cost_seconds = 0.1
    drawn = []
    for number in range(20):
        now[0] += 10.0
        picture(epoch(number))
        if picture.path.exists():
            drawn.append(number)
            picture.path.unlink()
            picture.cost_seconds = 0.5
    assert drawn == [2, 7, 12, 17]


def test_a_resumed_training_keeps_its_first_part(tmp_path: Path) -> None:
    picture = ProgressPicture(
        tmp_path / "p.png", earlier=[epoch(0), epoch(1), validation(1)], reporter=silent
    )
    picture(epoch(1, train_loss=7.0))
    assert sorted(picture._epochs) == [0, 1]
    assert picture._epochs[1].train_loss == 7.0
    assert list(picture._validations) == [1]


def test_a_picture_that_cannot_be_drawn_is_told_once(tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / "file").write_text("in the way")
    picture = ProgressPicture(tmp_path / "file" / "p.png", reporter=events.append)
    for number in range(3):
        picture(epoch(number))
        picture.draw()
    assert len(events) == 1
    assert isinstance(events[0], Notice)
    assert events[0].level == "warning"
    assert "goes on without it" in events[0].text


def test_before_the_first_epoch_nothing_is_drawn(tmp_path: Path) -> None:
    picture = ProgressPicture(tmp_path / "p.png", reporter=silent)
    picture.draw()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names", [(), ("$a$",), ("_x", "a" * 80), tuple(f"s{i}" for i in range(61)), ("肝臓",)]
)
def test_any_names_and_number_of_structures(names: tuple[str, ...], tmp_path: Path) -> None:
    dice = dict.fromkeys(names, 0.25)
    figure = draw_progress(
        [epoch(0, names)],
        [ValidationFinished("3d", "0", 0, dice, mean_dice=None, cases=1)],
        title="$",
    )
    picture = ProgressPicture(tmp_path / "p.png", reporter=pytest.fail)
    picture(epoch(0, names))
    picture.draw()
    assert len(figure.axes) == 4


def test_many_structures_name_the_worst(tmp_path: Path) -> None:
    names = tuple(f"s{i}" for i in range(20))
    scores = {name: i / 20 for i, name in enumerate(names)}
    figure = draw_progress([epoch(0, names, pseudo_dice=scores)], [])
    labels = figure.axes[1].get_legend_handles_labels()[1]
    assert labels == ["s0 (low)", "s1 (low)", "s2 (low)", "mean of 20", "EMA of the mean"]

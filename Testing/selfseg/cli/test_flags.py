"""Flags declared once, read and handed on."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from selfseg.cli.flags import HOW, PLANNER, TRAIN, TRAINING, Flag, add_flags, keywords, words
from selfseg.stages.learn import TrainingOptions

EITHER = Flag("--tta", {"action": argparse.BooleanOptionalAction, "default": True})
MANY = Flag("--image", {"action": "append", "default": []})
FLAGS = (*TRAINING, *TRAIN, *HOW, *PLANNER, EITHER, MANY)


def parse(line: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser, FLAGS)
    return parser.parse_args(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--epochs 5 --iterations 20 --seed 3 --device cpu --workers 2",
        "--plan big --time-budget 5400.0 --planner resenc_m --memory 12.0",
        "--deterministic --no-tta --image a --image b",
    ],
)
def test_what_was_read_is_handed_on(line: str) -> None:
    options = parse(line.split())
    assert sorted(words(FLAGS, options)) == sorted(line.split())
    assert parse(list(words(FLAGS, options))) == options


def test_defaults_are_not_handed_on() -> None:
    assert words(FLAGS, parse(["--seed", "0", "--device", "auto", "--tta"])) == ()


def test_they_are_keywords_of_the_pipeline() -> None:
    given: dict[str, Any] = keywords((*TRAIN, *TRAINING), parse(["--plan", "big", "--epochs", "7"]))
    assert given == {
        "plan_name": "big", "time_budget": None, "checkpoint": "final", "epochs": 7,
        "iterations": None, "device": "auto", "workers": None,
    }  # fmt: skip


def test_the_others_are_training_options() -> None:
    options = TrainingOptions(**keywords(HOW, parse(["--seed", "3", "--validate-every", "5"])))
    assert options == TrainingOptions(seed=3, validate_every=5)
    assert TrainingOptions(**keywords(HOW, parse([]))) == TrainingOptions()

"""Starters of child processes for tests, and a model folder without weights."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FAKE = Path(__file__).parent / "stand_ins" / "fake_selfseg.py"


def fake_starter(behaviour: str) -> Callable[[Sequence[str]], Any]:
    """Starts stand_ins/fake_selfseg.py instead of selfseg."""
    from SelfConfiguringSegmentationLib.jobs import open_process

    return lambda arguments: open_process(
        [sys.executable, "-u", str(FAKE), behaviour, *arguments], os.environ
    )


def real_starter(arguments: Sequence[str]) -> Any:
    """Starts selfseg in the interpreter that runs the tests."""
    from SelfConfiguringSegmentationLib.jobs import start_selfseg

    return start_selfseg(arguments, python=sys.executable, environment=os.environ)


def write_model(folder: Path, channels: Sequence[str] = ("CT",)) -> Path:
    """A project folder as far as its description."""
    plan = {
        "schema": "selfseg.plan/1",
        "name": "plain",
        "description": {
            "name": "Bright",
            "channel_names": list(channels),
            "labels": {
                "foreground": [
                    {"name": "bright", "values": [1], "colour": [10, 200, 30], "code": None}
                ],
                "regions_class_order": None,
                "ignore": None,
            },
        },
    }
    (folder / "plans").mkdir(parents=True)
    (folder / "plans" / "plain.json").write_text(json.dumps(plan), encoding="utf-8")
    return folder

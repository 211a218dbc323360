from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.cli import main
from selfseg.cli.selecting import lines_of
from selfseg.domain.bundle import Member, PostprocessingStep
from selfseg.domain.selection import ScoredCandidate, Selection, TriedStep

TWO_D, THREE_D = (Member("plain", name, ("0", "1")) for name in ("2d", "3d_fullres"))
STEP = PostprocessingStep("largest_component", ("liver",))
CHOICE = Selection(
    members=(TWO_D, THREE_D),
    checkpoint="final",
    candidates=(
        ScoredCandidate((TWO_D,), 0.8, {"liver": 0.8}, (0.75, 0.85)),
        ScoredCandidate((THREE_D,), None, {"liver": None}),
        ScoredCandidate((TWO_D, THREE_D), 0.9, {"liver": 0.9}, (0.85, 0.95)),
    ),
    cases=12,
    postprocessing=(STEP,),
    tested=(TriedStep(STEP, True, 0.9, 0.91),),
    dice=0.91,
)


def test_the_table_marks_the_winner() -> None:
    lines = lines_of(CHOICE)
    (marked,) = (line for line in lines if line.startswith(">"))
    assert "plain 2d + plain 3d_fullres" in marked
    assert "0.8500 to 0.9500" in marked
    assert "+ largest_component of liver: 0.9000 -> 0.9100" in lines
    assert "12 held-out cases: Dice 0.9100" in lines[-1]


def test_options_reach_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def select(project: Path, options: Any, **more: Any) -> Selection:
        seen.update(vars(options), project=project, **more)
        return CHOICE

    monkeypatch.setattr(pipeline, "select", select)
    words = ["select", str(tmp_path), "--plan", "plain", "--no-refinements", "--atlas"]
    assert main([*words, "--workers", "2", "--checkpoint", "best"]) == 0
    assert seen["plans"] == ("plain",)
    assert (seen["pairs"], seen["refinements"], seen["atlas"]) == (True, False, True)
    assert (seen["checkpoint"], seen["workers"], seen["device"]) == ("best", 2, "auto")
    assert "> plain 2d + plain 3d_fullres" in capsys.readouterr().out


def test_crossvalidating_nothing_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crossvalidate", str(tmp_path), "--time-budget", "1h", "-c", "2d"]) != 0
    assert "there is no project here" in capsys.readouterr().err

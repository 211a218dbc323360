"""What `predict` and `serve` hand on from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.cli import main
from selfseg.cli.parser import make_parser


@pytest.mark.parametrize(
    ("words", "precision"),
    [([], "auto"), (["--precision", "auto"], "auto"), (["--precision", "float32"], "float32")],
)
def test_the_arithmetic(
    words: list[str], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def predict(*_: Any, **options: Any) -> tuple[Path, ...]:
        asked.update(options)
        return ()

    monkeypatch.setattr(pipeline, "predict", predict)
    assert main(["predict", "-m", "m", "-i", "a.nii.gz", "-o", str(tmp_path), *words]) == 0
    assert asked["precision"] == precision


def test_another_arithmetic_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "-m", "m", "-o", "o", "--precision", "float8"])
    assert "float8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "seconds"),
    [([], 600.0), (["--unload-after", "90s"], 90.0), (["--unload-after", "never"], None)],
)
def test_an_idle_worker_forgets_its_models(words: list[str], seconds: float | None) -> None:
    options = make_parser().parse_args(["serve", "--stdio", *words])
    assert options.unload_after == seconds

"""`selfseg report`: the page is written anew where it was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset


def test_report_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    assert main(["plan", str(make_small_dataset(tmp_path / "data")), "-p", str(project)]) == 0
    capsys.readouterr()
    assert main(["report", str(project)]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert "What was decided" in (project / "report.html").read_text(encoding="utf-8")

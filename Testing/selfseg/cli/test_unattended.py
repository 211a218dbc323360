"""A file of events, and a file that asks to stop: for work that outlives who started it."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from selfseg.cli import main, unattended
from selfseg.cli.unattended import ProgressFile
from selfseg.console import StopRequest
from selfseg.domain.events import IterationFinished, Notice


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_begin_events_and_end(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "folder" / "progress.jsonl", ["run", "data"])
    file(Notice("careful", "warning"))
    file.end(130, "stopped")
    began, notice, ended = events(tmp_path / "folder" / "progress.jsonl")
    assert (began["event"], began["process"]) == ("run_started", os.getpid())
    assert began["arguments"] == ["run", "data"]
    assert notice["text"] == "careful"
    assert (ended["event"], ended["status"], ended["message"]) == ("run_ended", 130, "stopped")


def test_iterations_are_thinned_out(tmp_path: Path) -> None:
    seconds = iter([0.0, 0.0, 0.2, 0.9, 1.1, 1.2, 1.5])
    file = ProgressFile(tmp_path / "p.jsonl", [], clock=lambda: next(seconds))
    for number in range(5):
        file(IterationFinished(number, 0.5, 0.1, 0.01))
    file.end(0)
    kept = [e["iteration"] for e in events(tmp_path / "p.jsonl") if "iteration" in e]
    assert kept == [0, 3]
    assert events(tmp_path / "p.jsonl")[-1]["seconds"] == 1.5


def test_half_a_line_of_a_killed_run_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"event": "iteration_fin', encoding="utf-8")
    ProgressFile(path, []).end(0)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_a_silent_process_shows_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unattended, "SIGN_OF_LIFE_SECONDS", 0.02)
    path = tmp_path / "p.jsonl"
    file = ProgressFile(path, [])
    os.utime(path, (1, 1))
    deadline = time.monotonic() + 5
    while path.stat().st_mtime < 100:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    file.end(0)


def test_every_verb_understands_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.jsonl"
    words = ["model", "show", "nothing", "--library", str(tmp_path), "--progress-file", str(path)]
    assert main(words) == 1
    ended = events(path)[-1]
    assert ended["status"] == 1
    assert "nothing" in ended["message"]
    assert ended["message"] in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "p.jsonl"
    assert main(["model", "list", "--library", str(tmp_path), "--progress-file", str(path)]) == 1
    assert "events cannot be written" in capsys.readouterr().err


def test_the_stop_file_asks_to_stop(tmp_path: Path) -> None:
    stop = StopRequest()
    watcher = threading.Thread(target=stop._wait_for_file, args=(tmp_path / "stop",), daemon=True)
    watcher.start()
    assert not stop()
    (tmp_path / "stop").touch()
    watcher.join(5)
    assert stop()

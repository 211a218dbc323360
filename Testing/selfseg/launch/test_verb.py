"""`selfseg launch`, with real trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset
from selfseg.io.project import Project

QUICK = ["--epochs", "1", "--iterations", "1", "--device", "cpu", "--workers", "1"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    pipeline.plan(make_small_dataset(tmp_path / "data", cases=2), tmp_path / "p", workers=1)
    return Project.open(tmp_path / "p")


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_folds_side_by_side_and_nothing_twice(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["launch", str(project.folder), "-c", "3d_fullres", "--slots", "2", *QUICK]
    assert main([*words, "--progress", "json"]) == 0
    events = events_of(capsys.readouterr().out)
    assert project.trained_folds("plain", "3d_fullres") == ("0", "1")
    ended = {e["job"]: e["state"] for e in events if e["event"] == "job_finished"}
    assert ended == {
        "preprocess 3d_fullres": "done", "3d_fullres fold 0": "done", "3d_fullres fold 1": "done",
    }  # fmt: skip
    told = {(e["job"], e["content"]["event"]) for e in events if e["event"] == "job_event"}
    assert {(f"3d_fullres fold {k}", "epoch_finished") for k in (0, 1)} <= told

    assert main(words) == 0
    assert "2 of 2 trainings are done already" in capsys.readouterr().err


def test_what_fails_is_shown_with_its_log_and_how_to_run_it_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    # A folder where a file should be written: training fails at once.
    blocked = project.run_folder("plain", "2d", 0) / "settings.json"
    blocked.mkdir(parents=True)
    assert main(["launch", str(project.folder), "-c", "2d", "-f", "0", *QUICK]) == 1
    out = capsys.readouterr().out
    assert "2d fold 0: failed" in out
    assert f"run it again: selfseg train -p {project.folder} --plan plain -c 2d -f 0" in out
    assert str(project.folder / "launch" / "2d_fold_0.log") in out
    assert "1 of 2 jobs done" in out


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise on Windows")
def test_an_interrupted_launch_goes_on_from_where_it_was(project: Project) -> None:
    words = [sys.executable, "-m", "selfseg", "launch", str(project.folder), "-c", "3d_fullres"]
    words += ["-f", "0", "--epochs", "2", "--iterations", "5", "--device", "cpu"]
    words += ["--workers", "1", "--progress", "json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            event = json.loads(line)
            content = event.get("content", {})
            if content.get("event") == "iteration_finished" and content["iteration"] >= 2:
                run.send_signal(signal.SIGINT)
                break
        _, errors = run.communicate(timeout=120)
    assert run.returncode == 130, errors
    assert not project.trained_folds("plain", "3d_fullres")
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    notices = [e["content"].get("text", "") for e in events_of(again.stdout) if "content" in e]
    assert any(text.startswith("going on after iteration") for text in notices)
    assert project.trained_folds("plain", "3d_fullres") == ("0",)


def test_commands_are_printed_without_being_run(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", str(project.folder), "-c", "2d", "-f", "1", "--dry-run", *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("selfseg preprocess -p")
    assert lines[1].endswith("-c 2d -f 1 --epochs 1 --iterations 1 --device cpu --workers 1")
    assert not project.trained_folds("plain", "2d")


def test_a_project_without_a_plan_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.fingerprint(make_small_dataset(tmp_path / "data", cases=2), tmp_path / "p", workers=1)
    assert main(["launch", str(tmp_path / "p")]) == 1
    assert "selfseg plan" in capsys.readouterr().err

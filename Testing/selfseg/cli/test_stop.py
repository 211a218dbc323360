"""Ctrl-C: what is done is kept, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selfseg.console import StopRequest
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled
from selfseg.domain.events import IterationFinished, Progress, silent


def test_training_is_left_to_save_before_it_stops() -> None:
    stop = StopRequest()
    report = stop.checking(silent)
    report(Progress("read", 1, 2))
    stop._requested.set()
    report(IterationFinished(3, 0.5, 0.1, 0.01))
    with pytest.raises(Cancelled, match="same command again"):
        report(Progress("read", 2, 2))


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise on Windows")
def test_an_interrupted_training_goes_on_from_where_it_was(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data")
    words = [sys.executable, "-m", "selfseg", "run", str(data), "-p", str(tmp_path / "p")]
    words += ["-c", "3d_fullres", "-f", "0", "--device", "cpu", "--workers", "1"]
    words += ["--epochs", "2", "--iterations", "30", "--progress", "json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            event = json.loads(line)
            if event["event"] == "iteration_finished" and event["iteration"] >= 3:
                run.send_signal(signal.SIGINT)
                break
        _, errors = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "same command again" in errors
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    notices = [json.loads(line).get("text", "") for line in again.stdout.splitlines()]
    assert any(text.startswith("going on after iteration") for text in notices)

"""A run that is killed, refused, or thrown out of time, and the project it leaves."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import ProjectError
from selfseg.domain.events import EpochFinished, Event, Notice
from selfseg.domain.plan import SpeedProfile, SpeedSample
from selfseg.io import atomic_files
from selfseg.io.project import Project
from selfseg.report import html
from selfseg.train import speed

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

DAY = 86400.0

OPTIONS: dict[str, Any] = {
    "configurations": ["3d_fullres"], "folds": "0", "device": "cpu", "epochs": 1,
    "iterations": 1, "workers": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "Dataset901_Balls"
    return make_small_dataset(folder, cases=3, shape=(12, 16, 16))


def faults(program: str, folder: Path, *options: str) -> dict[str, Any]:
    """What one of the programs in benchmarks/ has found in its last line."""
    words = [sys.executable, str(BENCHMARKS / program), str(folder / "faults"), *options]
    result = subprocess.run(
        words, env=ONE_THREAD, capture_output=True, text=True, timeout=1700, check=False
    )
    assert result.stdout, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert result.returncode == 0, (found["wrong"], result.stderr)
    return found


@pytest.mark.skipif(os.name != "posix", reason="forks its children")
def test_killed_in_any_stage_the_project_is_the_same(tmp_path: Path) -> None:
    found = faults("faults.py", tmp_path, "--rounds", "4", "--short", "--spread")
    assert found["kills"] >= 1
    assert found["files"] > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name != "posix", reason="forks its children")
def test_killed_after_every_single_file_the_project_is_the_same(tmp_path: Path) -> None:
    found = faults("faults.py", tmp_path, "--rounds", "12", "--short", "--each-file")
    assert found["deaths_after_each_file"] > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a small disk")
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_is_full_everywhere_once_leaves_the_same_project(tmp_path: Path) -> None:
    assert faults("full_disk.py", tmp_path)["failures"] > 20


WRITTEN = (
    "project.json", "fingerprint.json", ".image.b2nd", ".foreground.npy", "splits.json",
    "plain.json", "weights_final.safetensors", ".nii.gz", "validation.json", "report.html",
)  # fmt: skip
"""Ends of names, in the order in which a run writes the files."""


def test_a_disk_that_is_full_is_said_and_the_run_goes_on_where_it_was(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = atomic_files._flush_to_disk, [WRITTEN[0]]

    def flush(part: Path) -> None:
        if part.name.endswith(full[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(part)

    monkeypatch.setattr(atomic_files, "_flush_to_disk", flush)
    # A slow machine gets the smallest network; pictures take seconds.
    sample = SpeedSample((16, 32), 3, (24, 24, 24), 2, 6.0, 3e6, 1e9, 6 * 10**8)
    profile = SpeedProfile("cpu", 1, "off", (sample,))
    monkeypatch.setattr(speed, "measure_speed", lambda *_, **__: profile)
    monkeypatch.setattr(
        html, "write_report", lambda path, _: atomic_files.write_bytes_atomically(path, b"")
    )
    project, done = tmp_path / "p", list[str]()
    for name in WRITTEN:
        full[0] = name
        with pytest.raises(ProjectError, match="cannot be written") as error:
            pipeline.run(dataset, project, **OPTIONS)
        assert "No space left" in error.value.found
        assert "free some space" in error.value.cure
        names = [path.name for path in project.rglob("*")]
        assert not [found for found in names if found.startswith(".part-")]
        assert not [found for found in names if found.endswith(name)]
        assert all(any(found.endswith(earlier) for found in names) for earlier in done), name
        done.append(name)
    full[0] = "nothing"
    pipeline.run(dataset, project, **OPTIONS)


_HOLDER = """
import sys
from pathlib import Path
from selfseg.io import atomic_files
from selfseg.io.project import Project
from selfseg.stages import summary
from selfseg.train import speed
with Project.open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(project: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works in the project."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert holder.stdin is not None
        yield holder
        holder.stdin.close()


def test_the_second_run_is_refused_in_words_and_the_second_step_waits(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "p"
    pipeline.plan(dataset, project, workers=1)
    with held_elsewhere(project) as holder:
        began = time.monotonic()
        place, data = str(project), str(dataset)
        for words in (
            ["run", data, "-p", place], ["plan", data, "-p", place], ["crossvalidate", place],
            ["select", place],
        ):  # fmt: skip
            assert main(words) == 1, words
            told = capsys.readouterr().err
            assert "the project is in use" in told, words
            assert f"process {holder.pid} on " in told
            assert "wait until it has ended, or stop it" in told
        assert time.monotonic() - began < 20
        # One step of several side by side waits, says for whom, and goes on.
        told_events: list[Event] = []
        threading.Timer(1.5, holder.stdin.close).start()
        pipeline.preprocess(
            project, configurations=["3d_fullres"], workers=1, reporter=told_events.append
        )
        notices = [event.text for event in told_events if isinstance(event, Notice)]
        assert any(f"in use by process {holder.pid} on " in text for text in notices)


def test_what_killed_processes_left_goes_and_what_others_do_stays(
    dataset: Path, tmp_path: Path
) -> None:
    home = Project.open(_planned(dataset, tmp_path / "p"))
    running, dead = (home.run_folder("plain", "3d_fullres", fold) for fold in (0, 1))
    places = [home.folder, home.folder / "plans", home.preprocessed_folder("plain", "3d_fullres")]
    left = [place / ".part-0-x.json" for place in (*places, dead, dead / "validation")]
    kept = [running / ".part-0-x.json", home.folder / "mine" / ".part-0-x.json"]
    for path in (*left, *kept, dead / "validation" / ".part-1" / "x.nii.gz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (dead / ".lock-owner.json").write_text("{}")
    with home.run_lock("plain", "3d_fullres", 0), home.lock():
        assert [path for path in left if path.exists()] == []
        assert all(path.exists() for path in kept)
        assert list((dead / "validation").iterdir()) == []
        assert not (dead / ".lock-owner.json").exists()


def _planned(dataset: Path, project: Path) -> Path:
    pipeline.plan(dataset, project, workers=1)
    return project


class JumpingClock:
    """A clock on the wall that is put a day ahead or back at every look."""

    def __init__(self) -> None:
        self.looks = 0
        self._real = time.time

    def __call__(self) -> float:
        self.looks += 1
        return self._real() + DAY * (self.looks % 3 - 1)


def test_a_clock_that_jumps_changes_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = JumpingClock()
    monkeypatch.setattr(time, "time", clock)
    project, progress = tmp_path / "p", tmp_path / "progress.jsonl"
    pipeline.plan(dataset, project, workers=1)
    words = ["train", "-p", str(project), "-c", "3d_fullres", "-f", "0", "--device", "cpu"]
    words += ["--time-budget", "4", "--workers", "1", "--progress-file", str(progress)]
    assert main([*words, "--progress", "json"]) == 0
    assert clock.looks > 0
    log = project / "runs" / "plain" / "3d_fullres" / "fold_0" / "log.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(event["event"] == "iteration_finished" for event in events) > 3
    epochs = [event["seconds"] for event in events if event["event"] == "epoch_finished"]
    assert 1 < sum(epochs) < 4 * 1.5
    for event in (*events, *(json.loads(line) for line in progress.read_text().splitlines())):
        for name in ("seconds", "eta_seconds"):
            assert 0 <= (event.get(name) or 0.0) < 60, event
    # What is done stays done.
    seen: list[Event] = []
    pipeline.train(
        project, configuration="3d_fullres", fold="0", device="cpu", reporter=seen.append
    )
    assert not [event for event in seen if isinstance(event, EpochFinished)]


def test_a_lock_does_not_look_at_the_clock(dataset: Path, tmp_path: Path) -> None:
    home = Project.open(_planned(dataset, tmp_path / "p"))
    for ahead in (-DAY, DAY):
        now = time.time() + ahead
        with home.lock():
            os.utime(home.folder / ".lock", (now, now))
            with pytest.raises(ProjectError, match="in use"), home.lock():
                pass

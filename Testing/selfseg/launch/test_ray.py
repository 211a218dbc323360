"""Jobs as tasks of a real Ray on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import UsageError
from selfseg.domain.events import Event, silent
from selfseg.io.project import Project
from selfseg.launch.jobs import Job
from selfseg.launch.ray_cluster import RayLauncher

QUICK = ["--epochs", "2", "--iterations", "2", "--device", "cpu", "--workers", "1"]


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as caught:
        RayLauncher(tmp_path).submit_all([Job("a", ("check",))], silent, lambda: False)
    assert "selfseg[ray]" in caught.value.cure


@pytest.mark.slow
def test_real_trainings_with_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    pipeline.plan(make_small_dataset(tmp_path / "data", cases=2), tmp_path / "p", workers=1)
    words = ["launch", str(tmp_path / "p"), "-c", "3d_fullres", "--on", "ray", *QUICK]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "3 of 3 jobs done" in captured.out
    assert "3d_fullres fold 1: epoch 2 of 2" in captured.err
    assert Project.open(tmp_path / "p").trained_folds("plain", "3d_fullres") == ("0", "1")


@pytest.mark.slow
def test_a_failure_stops_only_those_that_need_it(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    data = make_small_dataset(tmp_path / "data", cases=2)
    jobs = [
        Job("fails", ("check", str(tmp_path / "nothing")), gpus=0),
        Job("needs it", ("check", str(data)), ("fails",), gpus=0),
        Job("free", ("check", str(data)), gpus=0),
    ]
    results = RayLauncher(tmp_path / "launch").submit_all(jobs, silent, lambda: False)
    assert [r.state for r in results] == ["failed", "skipped", "done"]
    assert "what to do" in results[0].message


@pytest.mark.slow
def test_a_stop_lets_the_training_save(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    data = make_small_dataset(tmp_path / "data", cases=2)
    pipeline.plan(data, tmp_path / "p", workers=1)
    words = ("train", "-p", str(tmp_path / "p"), "-c", "3d_fullres", "-f", "0", "--device", "cpu")
    words = (*words, "--epochs", "50", "--iterations", "5", "--workers", "1")
    seen: list[dict[str, Any]] = []

    def note(event: Event) -> None:
        seen.append(getattr(event, "content", {}))

    results = RayLauncher(tmp_path / "launch").submit_all(
        [Job("a", words, gpus=0)],
        note,
        lambda: any(content.get("event") == "iteration_finished" for content in seen),
    )
    assert results[0].state == "stopped"
    assert "same command again" in results[0].log.read_text()
    run = Project.open(tmp_path / "p").run_folder("plain", "3d_fullres", 0)
    assert (run / "checkpoint_latest.pt").is_file()

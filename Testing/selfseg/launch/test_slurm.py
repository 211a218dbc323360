"""Slurm: options without a cluster, and everything on a real one of a single node."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.cli import main
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import SelfsegError, UsageError
from selfseg.domain.events import Event, silent
from selfseg.io.project import Project
from selfseg.launch.events import JobStarted
from selfseg.launch.jobs import Job
from selfseg.launch.slurm import SlurmLauncher, sbatch_parameters

QUICK = ["--epochs", "2", "--iterations", "2", "--device", "cpu", "--workers", "1"]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("0:30", 1), ("5:01", 6), ("12:00:00", 720), ("1-0", 1440), ("2-12:30", 3630)],
)
def test_times_are_read_as_slurm_does(text: str, minutes: int) -> None:
    assert sbatch_parameters({"time": text})["time"] == minutes


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "12h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no time of Slurm"):
        sbatch_parameters({"time": text})


def test_options_are_passed_on() -> None:
    given = sbatch_parameters({"partition": "gpu", "cpus_per_task": "8", "exclusive": ""})
    assert given["additional_parameters"] == {
        "partition": "gpu", "cpus-per-task": "8", "exclusive": True,
    }  # fmt: skip
    assert given["srun_args"] == ["--cpus-per-task=8"]


@pytest.mark.parametrize("key", ["dependency", "array", "--mem", "a b", "mem\n#SBATCH"])
def test_options_that_are_ours_or_none_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match="cannot be passed on"):
        sbatch_parameters({key: "1"})


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError) as caught:
        SlurmLauncher(tmp_path).submit_all([Job("a", ("check",))], silent, lambda: False)
    assert "selfseg[slurm]" in caught.value.cure


def test_without_a_cluster_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SelfsegError, match="no Slurm here"):
        SlurmLauncher(tmp_path).submit_all([Job("a", ("check",))], silent, lambda: False)


@pytest.fixture(scope="module")
def cluster(
    project_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Debian's slurm-wlm and munge with one node; the variables that lead to it."""
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    scripts = project_folder / "Testing" / "slurm"
    started = subprocess.run(
        ["sh", str(scripts / "start.sh"), str(folder)], capture_output=True, text=True, check=False
    )
    if started.returncode == 3:
        pytest.skip(f"{started.stderr.strip()}: this check was NOT made")
    assert started.returncode == 0, started.stderr
    yield {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["sh", str(scripts / "stop.sh"), str(folder)], check=True)


@pytest.fixture
def on_cluster(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in cluster.items():
        monkeypatch.setenv(key, value)


@pytest.mark.slow
@pytest.mark.usefixtures("on_cluster")
def test_real_trainings_on_a_real_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.plan(make_small_dataset(tmp_path / "data", cases=2), tmp_path / "p", workers=1)
    words = ["launch", str(tmp_path / "p"), "-c", "3d_fullres", "--on", "slurm"]
    assert main([*words, "--slurm", "partition=test", "--slurm", "time=10", *QUICK]) == 0
    captured = capsys.readouterr()
    assert "3 of 3 jobs done" in captured.out
    assert "3d_fullres fold 1: epoch 2 of 2" in captured.err
    assert Project.open(tmp_path / "p").trained_folds("plain", "3d_fullres") == ("0", "1")
    numbers = sorted(
        int(path.name.split("_")[0])
        for path in (tmp_path / "p" / "launch" / "submitit").glob("*_submission.sh")
    )
    script = (tmp_path / "p" / "launch" / "submitit" / f"{numbers[-1]}_submission.sh").read_text()
    assert f"--dependency=afterok:{numbers[0]}\n" in script
    assert "--requeue\n" in script


@pytest.mark.slow
@pytest.mark.usefixtures("on_cluster")
def test_what_needs_a_failed_job_never_begins(tmp_path: Path) -> None:
    data = make_small_dataset(tmp_path / "data", cases=2)
    jobs = [
        Job("fails", ("check", str(tmp_path / "nothing")), gpus=0),
        Job("needs it", ("check", str(data)), ("fails",), gpus=0),
        Job("needs that", ("check", str(data)), ("needs it",), gpus=0),
        Job("free", ("check", str(data)), gpus=0),
    ]
    events: list[Event] = []
    results = _launcher(tmp_path).submit_all(jobs, events.append, lambda: False)
    assert [r.state for r in results] == ["failed", "skipped", "skipped", "done"]
    assert "what to do" in results[0].message
    assert {e.job for e in events if isinstance(e, JobStarted)} == {"fails", "free"}


@pytest.mark.slow
@pytest.mark.usefixtures("on_cluster")
def test_a_stop_cancels_what_is_queued_and_what_runs(tmp_path: Path) -> None:
    _, jobs = _long_training(tmp_path)
    events: list[Event] = []
    results = _launcher(tmp_path).submit_all(
        jobs, events.append, lambda: any(isinstance(e, JobStarted) for e in events)
    )
    assert {r.state for r in results} == {"stopped"}
    assert _squeue("--states=PENDING,RUNNING,COMPLETING") == ""


@pytest.mark.slow
@pytest.mark.usefixtures("on_cluster")
def test_a_training_whose_time_is_over_goes_on_later(tmp_path: Path) -> None:
    project, jobs = _long_training(tmp_path)
    announced: list[str] = []

    def announce(event: Event) -> None:
        # As Slurm does two minutes before the end of a job's time.
        content: dict[str, Any] = getattr(event, "content", {})
        if content.get("event") == "epoch_finished" and not announced:
            number = _squeue("--states=RUNNING").split()[0]
            announced.append(number)
            subprocess.run(["scancel", "--signal=USR2", number], check=True)

    def hurry() -> bool:
        # Slurm lets such a job wait for two minutes before it runs again.
        if announced and _squeue("--states=PENDING"):
            words = ["scontrol", "update", f"JobId={announced[0]}", "StartTime=now"]
            subprocess.run(words, capture_output=True, check=False)
        return False

    results = _launcher(tmp_path).submit_all(jobs, announce, hurry)
    assert [r.state for r in results] == ["done", "done"]
    assert announced
    assert "going on after iteration" in results[1].log.read_text()
    assert project.trained_folds("plain", "3d_fullres") == ("0",)


def _launcher(folder: Path) -> SlurmLauncher:
    return SlurmLauncher(folder / "launch", {"partition": "test", "time": "10"}, poll_seconds=1)


def _long_training(folder: Path) -> tuple[Project, tuple[Job, ...]]:
    from selfseg.io.datasets import open_dataset
    from selfseg.launch.trainings import jobs_for

    data = make_small_dataset(folder / "data", cases=2)
    plan = pipeline.plan(data, folder / "p", workers=1)
    project = Project.open(folder / "p")
    words = ("--epochs", "6", "--iterations", "5", "--device", "cpu", "--workers", "1")
    jobs = jobs_for(project, open_dataset(data), plan, ["3d_fullres"], "0", words=words, gpus=0)
    return project, jobs


def _squeue(states: str) -> str:
    words = ["squeue", "--me", "--noheader", states, "--format=%A"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

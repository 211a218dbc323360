"""Trainings of one project side by side, each held by one process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.errors import Cancelled, ProjectError
from selfseg.domain.events import Event, Notice
from selfseg.io.datasets import open_dataset
from selfseg.io.project import Project

_HOLDER = """
import sys
from pathlib import Path
from selfseg.io.project import Project
with Project.open(Path(sys.argv[1])).run_lock("plain", "2d", 0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("locks")
    return Project.create(folder / "p", open_dataset(make_small_dataset(folder / "data", cases=2)))


def test_one_training_is_held_and_the_others_are_free(project: Project) -> None:
    words = [sys.executable, "-c", _HOLDER, str(project.folder)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ProjectError, match="training is in use") as caught,
            project.run_lock("plain", "2d", 0),
        ):
            pass
        assert f"process {holder.pid} on " in caught.value.found
        with (
            project.run_lock("plain", "2d", 1),
            project.run_lock("plain", "3d_fullres", "all"),
            project.lock(),
        ):
            pass
        holder.communicate()
    with project.run_lock("plain", "2d", 0):
        pass


def test_a_lock_is_no_begun_training(project: Project) -> None:
    with project.run_lock("other", "2d", 0):
        assert not project.has_runs("other")
    assert not project.has_runs("other")
    (project.run_folder("other", "2d", 0) / "settings.json").touch()
    assert project.has_runs("other")


def test_who_waits_comes_next(project: Project) -> None:
    released = threading.Event()

    def hold() -> None:
        with project.lock():
            held.set()
            time.sleep(1.5)
            released.set()

    held, events = threading.Event(), list[Event]()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with project.lock(wait=True, reporter=events.append):
        assert released.is_set()
    holder.join()
    (notice,) = events
    assert isinstance(notice, Notice)
    assert "waiting for the project: it is in use by process" in notice.text


def test_waiting_can_be_stopped(project: Project) -> None:
    with (
        project.lock(),
        pytest.raises(Cancelled),
        project.lock(wait=True, should_stop=lambda: True),
    ):
        pass

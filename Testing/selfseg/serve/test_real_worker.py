"""A real worker with a real network: results, and what happens when things go wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from selfseg import pipeline
from selfseg.domain.errors import Cancelled, ModelError, ProjectError, UsageError
from selfseg.io.images import read_image, read_label_map
from selfseg.serve.client import WorkerClient
from selfseg.serve.messages import Grid, ModelKey, StatusReport
from selfseg.serve.restarts import Patience
from selfseg.serve.tasks import WorkerFailed, WorkerTask

from .conftest import ENVIRONMENT, ProjectMaker

FAST = {"mirror": False, "step": 1.0}


@pytest.fixture(scope="module")
def shared_client() -> Iterator[WorkerClient]:
    """One worker for all tests that leave it well."""
    command = [sys.executable, "-m", "selfseg", "serve", "--stdio", "--cache", "200MB"]
    with WorkerClient(command, environment=ENVIRONMENT) as client:
        yield client


@pytest.fixture
def client(command: list[str]) -> Iterator[WorkerClient]:
    """A worker that may be ill-treated."""
    patience = Patience(restart=0.01)
    with WorkerClient(command, environment=ENVIRONMENT, patience=patience) as client:
        yield client


def until_predicting(client: WorkerClient, task: WorkerTask) -> None:
    """Polls until the network runs."""
    told: list[Any] = []
    task.on_event = told.append
    while not any(event["event"] == "progress" for event in told):
        client.poll()
        assert not task.done, task.error
        time.sleep(0.005)


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_the_same_as_the_command_line(
    shared_client: WorkerClient, project: Path, image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(project), folds=("0",), device="cpu")
    told: list[Any] = []
    task = shared_client.segment(key, [image], tmp_path / "w.nii.gz", **FAST, on_event=told.append)
    shared_client.wait(task)
    finished = task.result()
    (written,) = pipeline.predict(
        project, [image], tmp_path, folds=("0",), device="cpu", mirror=False, step=1.0
    )
    labels, grid = read_label_map(tmp_path / "w.nii.gz")
    expected, expected_grid = read_label_map(written)
    assert grid == expected_grid
    np.testing.assert_array_equal(labels, expected)
    assert finished.provenance["members"] == "plain 3d_fullres fold 0"
    assert finished.predicting_after <= finished.seconds
    assert told[-1]["event"] == "progress"
    assert told[-1]["done"] == told[-1]["total"]

    # The same through plain arrays.
    voxels, geometry = read_image(image)
    np.save(tmp_path / "in.npy", voxels)
    place = Grid(geometry.spacing, geometry.origin, geometry.direction)
    task = shared_client.segment(
        key, [tmp_path / "in.npy"], tmp_path / "out.npy", grid=place, **FAST
    )
    shared_client.wait(task)
    assert task.result().paths == (str(tmp_path / "out.npy"),)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), labels)

    # And one structure of it.
    task = shared_client.segment(key, [image], tmp_path / "bud.nrrd", structures=["bud"], **FAST)
    shared_client.wait(task)
    assert task.result().provenance["structures"] == "bud"
    bud, _ = read_label_map(tmp_path / "bud.nrrd")
    np.testing.assert_array_equal(bud, np.where(labels == 2, 2, 0))


def test_models_stay_until_unloaded(
    shared_client: WorkerClient, make_project: ProjectMaker, image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(make_project("other")), device="cpu")

    def kept() -> list[str]:
        status = shared_client.status()
        shared_client.wait(status)
        report = status.result()
        assert isinstance(report, StatusReport)
        return [entry.model.source for entry in report.models if entry.bytes > 0]

    loaded = shared_client.load(key)
    shared_client.wait(loaded)
    assert loaded.result().provenance["members"] == "plain 3d_fullres fold 0 1"
    assert key.source in kept()
    shared_client.wait(shared_client.unload(key.source))
    assert key.source not in kept()


def test_what_cannot_be_done_is_said(
    shared_client: WorkerClient, project: Path, image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(project), device="cpu")
    (tmp_path / "file").write_text("")
    cases: list[tuple[Any, type[Exception], str]] = [
        (
            shared_client.segment(ModelKey(str(tmp_path / "no")), [image], tmp_path / "a.nii.gz"),
            ModelError,
            "no model of that name",
        ),
        (
            shared_client.segment(
                ModelKey(str(project), folds=("7",)), [image], tmp_path / "a.nii.gz"
            ),
            ModelError,
            "fold 7",
        ),
        (
            shared_client.segment(key, [image], tmp_path / "a.nii.gz", structures=["ear"]),
            UsageError,
            "no structure 'ear'",
        ),
        (
            shared_client.segment(key, [image], tmp_path / "file" / "a.nii.gz"),
            ProjectError,
            "cannot be written",
        ),
        (
            shared_client.segment(key, [image, image], tmp_path / "a.nii.gz"),
            ModelError,
            "number of channels",
        ),
    ]
    shared_client.wait()
    for task, kind, text in cases:
        with pytest.raises(kind, match=text):
            task.result()
    assert files_below(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(
    shared_client: WorkerClient, project: Path, image: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    task = shared_client.segment(ModelKey(str(project)), [image], tmp_path / "a.nii.gz")
    shared_client.wait(task)
    tmp_path.chmod(0o700)
    with pytest.raises(ProjectError, match="cannot be written"):
        task.result()


def test_twenty_cancels_leave_nothing(
    shared_client: WorkerClient, project: Path, image: Path, large_image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(project), folds=("0",), device="cpu")
    chance = random.Random(20)
    output = tmp_path / "out"

    def once(delay: float) -> None:
        task = shared_client.segment(key, [large_image], output / "large.nii.gz")
        end = time.monotonic() + delay
        while time.monotonic() < end:
            shared_client.poll()
            time.sleep(0.005)
        shared_client.cancel(task)
        shared_client.wait(task)
        assert isinstance(task.error, Cancelled)

    once(0.5)
    assert shared_client.process_id is not None
    process = psutil.Process(shared_client.process_id)
    state = []
    for _ in range(20):
        once(chance.uniform(0, 0.6))
        state.append((process.memory_info().rss, process.num_threads(), len(process.open_files())))
    memory, threads, files = (list(column) for column in zip(*state, strict=True))
    assert process.pid == shared_client.process_id
    assert max(memory[10:]) < max(memory[:10]) + 50 * 2**20
    assert max(threads[10:]) <= max(threads[:10])
    assert max(files[10:]) <= max(files[:10])
    if os.name != "nt":
        assert process.num_fds() < 40
    assert process.children() == []
    assert files_below(output) == []
    good = shared_client.segment(key, [image], output / "good.nii.gz", **FAST)
    shared_client.wait(good)
    assert good.result()


def test_a_cancel_while_the_network_runs_is_soon_answered(
    shared_client: WorkerClient, project: Path, large_image: Path, tmp_path: Path
) -> None:
    task = shared_client.segment(
        ModelKey(str(project), device="cpu"), [large_image], tmp_path / "a.nii.gz"
    )
    until_predicting(shared_client, task)
    shared_client.cancel(task)
    began = time.monotonic()
    shared_client.wait(task)
    assert isinstance(task.error, Cancelled)
    assert time.monotonic() - began < 2  # benchmarks/warm_worker.py measures it
    assert files_below(tmp_path) == []


def test_a_request_out_of_time(
    shared_client: WorkerClient, project: Path, large_image: Path, tmp_path: Path
) -> None:
    task = shared_client.segment(
        ModelKey(str(project), device="cpu"),
        [large_image],
        tmp_path / "a.nii.gz",
        timeout_seconds=0.3,
    )
    shared_client.wait(task)
    with pytest.raises(WorkerFailed, match="longer than it may"):
        task.result()


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_a_worker_that_is_killed_is_replaced(
    client: WorkerClient, project: Path, image: Path, large_image: Path, tmp_path: Path
) -> None:
    key = ModelKey(str(project), folds=("0",), device="cpu")
    killed = client.segment(key, [large_image], tmp_path / "large.nii.gz")
    waiting = client.segment(key, [image], tmp_path / "small.nii.gz", **FAST)
    until_predicting(client, killed)
    first = client.process_id
    assert first is not None
    assert any(name.startswith(".part-") for name in files_below(tmp_path))
    os.kill(first, signal.SIGKILL)
    client.wait()
    with pytest.raises(WorkerFailed, match="killed by signal 9"):
        killed.result()
    assert waiting.result()
    assert client.process_id != first
    assert files_below(tmp_path) == ["small.nii.gz"]
    assert not psutil.pid_exists(first)


def start_worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "selfseg", "serve", "--stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )


def test_garbage_and_the_end_of_its_input(project: Path, large_image: Path, tmp_path: Path) -> None:
    with start_worker() as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None

        def answer(line: bytes) -> dict[str, Any]:
            worker.stdin.write(line + b"\n")
            worker.stdin.flush()
            return dict(json.loads(worker.stdout.readline()))

        assert answer(b"\xff\x00 garbage")["kind"] == "refused"
        assert "too long" in answer(b"x" * 3_000_000)["what"]
        assert answer(b'{"kind": "hello", "id": "1"}')["kind"] == "welcome"
        segment = {
            "kind": "segment",
            "id": "2",
            "model": {"source": str(project), "device": "cpu"},
            "images": [str(large_image)],
            "output": str(tmp_path / "a.nii.gz"),
        }
        assert answer(json.dumps(segment).encode())["kind"] == "accepted"
        while b'"tiles"' not in worker.stdout.readline():
            pass
        worker.stdin.close()
        assert worker.wait(30) == 0
        *_, last = worker.stdout.read().splitlines()
        assert json.loads(last) == {"kind": "cancelled", "id": "2"}
    assert files_below(tmp_path) == []


def test_what_libraries_print_does_not_reach_the_client() -> None:
    program = (
        "import os, sys; from selfseg.serve.streams import *\n"
        "source, sink = take_standard_streams()\n"
        "print('python', flush=True); os.write(1, b'below\\n'); os.system('echo child')\n"
        "assert sys.stdin.readline() == '' and os.read(source, 9) == b'hello'\n"
        "os.write(sink, b'protocol')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], input=b"hello", capture_output=True, check=True
    )
    assert run.stdout == b"protocol"
    assert run.stderr.split() == [b"python", b"below", b"child"]

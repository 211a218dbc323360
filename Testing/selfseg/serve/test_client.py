"""The client, with a worker that is a short script and misbehaves as it is told."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfseg.domain.errors import Cancelled, ModelError
from selfseg.serve.client import AT_ONCE, WorkerClient
from selfseg.serve.messages import ModelKey, StatusReport
from selfseg.serve.restarts import Patience
from selfseg.serve.tasks import WorkerFailed, WorkerTask

KEY = ModelKey("/m")

PROGRAM = """
import json, os, sys, time
def say(kind, id, **more):
    print(json.dumps({"kind": kind, "id": id, **more}), flush=True)
behaviour, life = sys.argv[1], sys.argv[2]
open(life, "a").write("x")
lives = os.path.getsize(life)
if behaviour == "never-starts":
    print("ImportError: no such thing", file=sys.stderr); sys.exit(3)
if behaviour == "silent":
    time.sleep(600)
print("words of a launcher", flush=True)
if behaviour == "flood":
    print("\\n".join(map(str, range(5000))), file=sys.stderr, flush=True)
for line in sys.stdin:
    ask = json.loads(line); id = ask["id"]
    if ask["kind"] == "hello":
        if behaviour == "old":
            say("refused", id, what="another protocol", found="protocol 1")
            continue
        say("welcome", id, protocol=1, version="0", process_id=os.getpid(), instance=f"ab{lives}")
    elif ask["kind"] == "status":
        say("status", id, computing=None, waiting=[], models=[], memory_bytes=1,
            uptime_seconds=float(lives))
    elif ask["kind"] == "shutdown":
        if behaviour == "deaf":
            continue
        sys.exit(0)
    elif ask["kind"] == "cancel":
        if behaviour != "deaf":
            say("cancelled", id)
    else:
        say("accepted", id, ahead=0)
        say("started", id)
        word = os.path.basename(ask["output"])
        say("progress", id, event={"event": "notice", "text": word})
        if word == "die":
            folder = os.path.dirname(ask["output"])
            os.mkdir(f"{folder}/.part-ab{lives}-1234"); os.mkdir(f"{folder}/.part-other")
            print("the last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), 9)
        if word == "garbage":
            print("{}", flush=True); time.sleep(600)
        if word == "die-once" and lives == 1:
            os._exit(1)
        if word == "child":
            import subprocess
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            os.kill(os.getpid(), 9)
        if word == "fail":
            say("failed", id, error="ModelError", what="no model", cure="train")
        elif word != "wait":
            say("finished", id, seconds=0.5, paths=[ask["output"]])
"""

MakeClient = Callable[..., WorkerClient]


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[MakeClient]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    clients = []

    def make(behaviour: str = "good", **options: Any) -> WorkerClient:
        patience = Patience(start=20, grace=0.2, close=0.3, restart=0.01)
        options.setdefault("patience", patience)
        command = [sys.executable, "-S", str(program), behaviour, str(tmp_path / "lives")]
        client = WorkerClient(command, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def segment(client: WorkerClient, tmp_path: Path, word: str, **options: Any) -> WorkerTask:
    return client.segment(KEY, ["/i.nii"], tmp_path / word, **options)


def lives(tmp_path: Path) -> int:
    return (tmp_path / "lives").stat().st_size


def test_events_and_result(make_client: MakeClient, tmp_path: Path) -> None:
    log: list[str] = []
    events: list[Any] = []
    done: list[WorkerTask] = []
    client = make_client(on_log=log.append)
    task = segment(client, tmp_path, "good", on_event=events.append, on_done=done.append)
    assert not task.done
    with pytest.raises(RuntimeError, match="not done"):
        task.result()
    client.wait(task)
    assert task.result().paths == (str(tmp_path / "good"),)
    assert events == [{"event": "notice", "text": "good"}]
    assert done == [task]
    assert log == ["words of a launcher"]
    status = client.status()
    client.wait()
    assert isinstance(status.result(), StatusReport)


def test_nothing_holds_up_a_user_interface(make_client: MakeClient, tmp_path: Path) -> None:
    """Starting, asking, polling, cancelling and ending, a deaf worker and a dying one included."""
    longest: dict[str, float] = {}

    def timed(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = call(*arguments)
        longest[name] = max(longest.get(name, 0.0), time.perf_counter() - began)
        return result

    for behaviour, word in (("good", "wait"), ("deaf", "wait"), ("good", "child")):
        client = make_client(behaviour)
        timed("start", client.start)
        task = timed("submit", segment, client, tmp_path, word)
        while task.computing_since is None and not task.done:
            timed("poll", client.poll)
            time.sleep(0.001)
        timed("cancel", client.cancel, task)
        while not task.done:
            timed("poll", client.poll)
            time.sleep(0.001)
        if word == "wait":
            left = segment(client, tmp_path, "wait")
            timed("poll", client.poll)
            timed("end_now", client.end_now)
            assert isinstance(left.error, Cancelled)
    # A busy machine may take the processor away; benchmarks/warm_worker.py measures the times.
    assert max(longest.values()) < 0.1, longest


def test_ending_at_once_leaves_nothing(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("deaf")
    task = segment(client, tmp_path, "wait")
    while task.computing_since is None:
        client.poll()
    assert client.process_id is not None
    process = psutil.Process(client.process_id)
    (tmp_path / ".part-ab1-77").mkdir()
    (tmp_path / ".part-ab11-77").mkdir()  # another worker's
    client.end_now()
    with pytest.raises(Cancelled):
        task.result()
    process.wait(10)
    end = time.monotonic() + 10
    while (tmp_path / ".part-ab1-77").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert [path.name for path in tmp_path.glob(".part*")] == [".part-ab11-77"]
    client.end_now()  # once more does nothing
    client.close()
    assert client.poll()
    with pytest.raises(WorkerFailed, match="closed client"):
        segment(client, tmp_path, "good")


def test_ending_before_it_has_started(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("silent")
    client.start()
    child = client._child
    assert child is not None
    client.end_now()
    child.wait_until_gone(20)
    assert child.gone
    assert child.exit_status() is not None


def test_a_flood_of_words_comes_in_parts(make_client: MakeClient, tmp_path: Path) -> None:
    log: list[str] = []
    client = make_client("flood", on_log=log.append)
    task = segment(client, tmp_path, "good")
    counts = [0]
    while not task.done:
        client.poll()
        counts.append(len(log))
        time.sleep(0.01)
    assert max(b - a for a, b in itertools.pairwise(counts)) <= AT_ONCE + 1
    while len(log) < 5000:
        client.poll()


def test_polling_never_waits(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("silent")
    segment(client, tmp_path, "good")
    client.poll()
    began = time.monotonic()
    for _ in range(100):
        assert not client.poll()
    assert time.monotonic() - began < 1


def test_the_workers_own_words(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    task = segment(client, tmp_path, "fail")
    client.wait(task)
    with pytest.raises(ModelError, match="no model") as caught:
        task.result()
    assert caught.value.cure == "train"


def test_a_crash_fails_one_request_and_the_others_are_asked_again(
    make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client()
    died = segment(client, tmp_path, "die")
    others = [segment(client, tmp_path, word) for word in ("a", "b", "c")]
    client.wait()
    with pytest.raises(WorkerFailed, match="the last words") as caught:
        died.result()
    if os.name != "nt":
        assert "killed by signal 9" in caught.value.found
    assert [Path(task.result().paths[0]).name for task in others] == ["a", "b", "c"]
    assert lives(tmp_path) == 2
    # What the dead worker has left of its outputs is gone; what is not its own stays.
    assert [path.name for path in tmp_path.glob(".part*")] == [".part-other"]


def test_a_request_that_kills_two_workers_takes_no_third(
    make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client("never-starts")
    task = segment(client, tmp_path, "good")
    client.wait()
    with pytest.raises(WorkerFailed, match="no such thing"):
        task.result()
    assert lives(tmp_path) == 2


def test_restarts_wait_longer_and_longer(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("never-starts", patience=Patience(restart=0.2))
    began = time.monotonic()
    segment(client, tmp_path, "good")
    client.wait()
    segment(client, tmp_path, "good")
    client.wait()
    assert lives(tmp_path) == 4
    assert time.monotonic() - began >= 0.2 + 0.4 + 0.8


def test_a_worker_that_says_garbage_is_ended(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    task = segment(client, tmp_path, "garbage")
    client.wait()
    with pytest.raises(WorkerFailed, match="an answer that is none"):
        task.result()
    good = segment(client, tmp_path, "good")
    client.wait()
    assert good.result()


def test_cancelling(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    tasks = [segment(client, tmp_path, "wait") for _ in range(4)]
    early = segment(client, tmp_path, "good")
    client.cancel(early)
    assert early.done
    while tasks[0].computing_since is None:
        client.poll()
    for task in tasks:
        client.cancel(task)
    client.wait()
    for task in (*tasks, early):
        with pytest.raises(Cancelled):
            task.result()
    assert lives(tmp_path) == 1


def test_a_worker_that_does_not_listen_is_ended(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("deaf")
    stuck = segment(client, tmp_path, "wait")
    late = segment(client, tmp_path, "wait", timeout_seconds=0.1)
    good = segment(client, tmp_path, "good")
    client.wait(while_waiting=lambda: stuck.computing_since and client.cancel(stuck))
    with pytest.raises(Cancelled):
        stuck.result()
    with pytest.raises(WorkerFailed, match=r"no end after 0\.1 s"):
        late.result()
    assert good.result()


def test_no_answer_at_all(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("silent", patience=Patience(start=0.1, restart=0.01))
    task = segment(client, tmp_path, "good")
    client.wait()
    with pytest.raises(WorkerFailed, match=r"no answer after 0\.1 s"):
        task.result()


def test_another_protocol_is_final(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client("old")
    task = segment(client, tmp_path, "good")
    client.wait()
    with pytest.raises(WorkerFailed, match="another protocol"):
        task.result()
    assert lives(tmp_path) == 1


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    with WorkerClient([str(tmp_path / "none")]) as client:
        task = segment(client, tmp_path, "good")
        client.wait()
        with pytest.raises(WorkerFailed, match="cannot be started"):
            task.result()


@pytest.mark.parametrize("behaviour", ["good", "deaf"])
def test_closing_ends_everything(make_client: MakeClient, tmp_path: Path, behaviour: str) -> None:
    with make_client(behaviour) as client:
        task = segment(client, tmp_path, "wait")
        while task.computing_since is None:
            client.poll()
        assert client.process_id is not None
        process = psutil.Process(client.process_id)
    with pytest.raises(Cancelled):
        task.result()
    assert not process.is_running()
    with pytest.raises(WorkerFailed, match="closed client"):
        segment(client, tmp_path, "good")


@pytest.mark.skipif(os.name == "nt", reason="taskkill finds no children of what has ended")
def test_children_of_a_dead_worker_are_ended(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    task = segment(client, tmp_path, "child")
    client.wait()
    assert task.error is not None
    marks = [p for p in psutil.process_iter(["cmdline", "environ"]) if p.info["cmdline"]]
    own = [p for p in marks if p.info["cmdline"][-1:] == ["import time; time.sleep(600)"]]
    assert not own

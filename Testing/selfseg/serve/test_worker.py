"""The worker's loop, in this process, with a computation that does as it is told."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from selfseg.domain.errors import Cancelled, ModelError
from selfseg.domain.events import Progress, Reporter
from selfseg.serve import messages
from selfseg.serve.messages import (
    Accepted,
    Answer,
    CancelledMessage,
    Failed,
    Finished,
    KeptModel,
    ModelKey,
    Refused,
    Segment,
    Started,
    Welcome,
)
from selfseg.serve.segmentation import WorkResult
from selfseg.serve.wire import write_line
from selfseg.serve.worker import Worker

KEY = ModelKey("/m")


class FakeComputing:
    """Segments as the name of the output says."""

    def __init__(self) -> None:
        self.unloads: list[str | None] = []
        self.running = 0
        self.most = 0

    def warm_up(self) -> None:
        raise ImportError("no such thing")

    def load(self, key: ModelKey, reporter: Reporter, should_stop: Any) -> WorkResult:
        return WorkResult(provenance={"model": key.source})

    def segment(self, request: Segment, reporter: Reporter, should_stop: Any) -> WorkResult:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return self._segment(request.output.strip("/"), reporter, should_stop)
        finally:
            self.running -= 1

    def _segment(
        self, word: str, reporter: Reporter, should_stop: Callable[[], bool]
    ) -> WorkResult:
        match word:
            case "wait":
                while not should_stop():
                    time.sleep(0.001)
                raise Cancelled("stopped")
            case "progress":
                for done in range(1000):
                    reporter(Progress("tiles", done + 1, 1000))
            case "model":
                raise ModelError("no model", expected="one", found="none", cure="train", path="/m")
            case "memory":
                raise MemoryError
            case "fault":
                raise KeyError("x" * 100_000)
        return WorkResult(("/" + word,), {"plan": "plain"}, None, 0.01)

    def unload(self, source: str | None = None) -> int:
        self.unloads.append(source)
        return 1

    def kept(self) -> tuple[KeptModel, ...]:
        return (KeptModel(KEY, 5, 0.0),)


class Conversation:
    """Says lines to a worker in a thread of its own, and hears its answers."""

    def __init__(self, **options: Any) -> None:
        self.lines: queue.Queue[Any] = queue.Queue()
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.computing = FakeComputing()
        worker = Worker(self.answers.put, self.computing, **options)
        self.thread = threading.Thread(target=worker.run, args=(iter(self.lines.get, "end"),))
        self.thread.start()

    def say(self, *requests: messages.Request | bytes | None) -> None:
        for request in requests:
            line = write_line(request) if isinstance(request, messages.Request) else request
            self.lines.put(line)

    def hear(self, kind: type[Answer], identifier: str | None = None) -> Any:
        """The next answer, which is of this kind, and to this request."""
        answer = self.answers.get(timeout=10)
        assert isinstance(answer, kind), answer
        assert identifier in (None, answer.id), answer
        return answer

    def segment(self, word: str, **options: Any) -> str:
        self.say(Segment(word, KEY, ("/i.nii",), f"/{word}", **options))
        self.hear(Accepted, word)
        return word

    def close(self) -> None:
        self.lines.put("end")
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def talk() -> Iterator[Conversation]:
    conversation = Conversation(queue_length=2)
    conversation.say(messages.Hello("h"))
    conversation.hear(Welcome, "h")
    yield conversation
    conversation.close()


def test_hello_comes_first_and_in_our_protocol() -> None:
    talk = Conversation()
    talk.say(messages.Status("1"), messages.Hello("2", protocol=99))
    assert "hello" in talk.hear(Refused, "1").what
    assert talk.hear(Refused, "2").found == "protocol 99"
    talk.say(messages.Hello("3"))
    talk.hear(Welcome, "3")
    talk.close()


def test_a_request_is_accepted_started_and_finished(talk: Conversation) -> None:
    talk.segment("good")
    talk.hear(Started, "good")
    finished = talk.hear(Finished, "good")
    assert finished.paths == ("/good",)
    assert finished.provenance == {"plan": "plain"}
    assert finished.predicting_after == 0.01


def test_garbage_is_refused_and_the_worker_lives_on(talk: Conversation) -> None:
    talk.say(b"garbage", None, b'{"kind": "status", "id": "7", "x": 1}', b'{"kind": "x"}')
    assert talk.hear(Refused).id == messages.NO_ID
    assert "too long" in talk.hear(Refused, messages.NO_ID).what
    assert "unknown field x" in talk.hear(Refused, "7").found
    talk.hear(Refused, messages.NO_ID)
    talk.segment("good")
    talk.hear(Started)
    talk.hear(Finished, "good")


def test_every_failure_is_answered(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    talk.segment("model")
    talk.hear(Started)
    failed = talk.hear(Failed, "model")
    assert failed == Failed("model", "ModelError", "no model", "one", "none", "train", "/m")
    talk.segment("memory")
    talk.hear(Started)
    assert "memory" in talk.hear(Failed, "memory").what
    assert talk.computing.unloads == [None]
    talk.segment("fault")
    talk.hear(Started)
    failed = talk.hear(Failed, "fault")
    assert len(failed.found) < 30_000
    write_line(failed)
    assert "Traceback" in capsys.readouterr().err


def test_cancelling_what_waits_and_what_is_computed(talk: Conversation) -> None:
    talk.segment("wait")
    talk.hear(Started)
    talk.segment("good")
    talk.say(messages.Cancel("good"))
    talk.hear(CancelledMessage, "good")
    began = time.monotonic()
    talk.say(messages.Cancel("wait"))
    talk.hear(CancelledMessage, "wait")
    assert time.monotonic() - began < 2
    talk.say(messages.Cancel("wait"))
    assert "nothing to cancel" in talk.hear(Refused, "wait").what


def test_the_same_id_twice(talk: Conversation) -> None:
    talk.segment("wait")
    talk.hear(Started)
    talk.say(Segment("wait", KEY, ("/i.nii",), "/good"))
    assert "this id" in talk.hear(Refused, "wait").what
    talk.say(messages.Status("s"))
    assert talk.hear(messages.StatusReport).computing == "wait"
    talk.say(messages.Cancel("wait"))
    talk.hear(CancelledMessage)
    talk.say(Segment("wait", KEY, ("/i.nii",), "/good"))
    while not isinstance(answer := talk.answers.get(timeout=10), Accepted):
        # The id is free a moment after the answer.
        assert isinstance(answer, Refused)
        talk.say(Segment("wait", KEY, ("/i.nii",), "/good"))
    talk.hear(Started)
    talk.hear(Finished, "wait")


def test_the_queue_is_bounded_and_one_computes_at_a_time(talk: Conversation) -> None:
    talk.segment("wait")
    talk.hear(Started)
    talk.say(*(Segment(str(number), KEY, ("/i.nii",), "/good") for number in range(3)))
    assert talk.hear(Accepted, "0").ahead == 1
    assert talk.hear(Accepted, "1").ahead == 2
    assert "full" in talk.hear(Refused, "2").what
    talk.say(messages.Status("s"))
    report = talk.hear(messages.StatusReport, "s")
    assert (report.computing, report.waiting) == ("wait", ("0", "1"))
    assert report.models == (KeptModel(KEY, 5, 0.0),)
    assert report.memory_bytes > 0
    talk.say(messages.Cancel("wait"))
    talk.hear(CancelledMessage)
    for number in ("0", "1"):
        talk.hear(Started, number)
        talk.hear(Finished, number)
    assert talk.computing.most == 1


def test_a_request_that_takes_too_long_fails(talk: Conversation) -> None:
    talk.segment("wait", timeout_seconds=0.05)
    talk.hear(Started)
    assert "longer than it may" in talk.hear(Failed, "wait").what


def test_progress_is_no_flood_and_its_end_is_told(talk: Conversation) -> None:
    talk.segment("progress")
    talk.hear(Started)
    told = []
    while isinstance(answer := talk.answers.get(timeout=10), messages.ProgressMessage):
        told.append(answer.event)
    assert 1 < len(told) < 100
    assert told[-1]["done"] == told[-1]["total"]


def test_loading_and_unloading(talk: Conversation) -> None:
    talk.say(messages.Load("l", KEY))
    talk.hear(Accepted)
    talk.hear(Started)
    assert talk.hear(Finished, "l").provenance == {"model": "/m"}
    talk.say(messages.Unload("u", "/m"))
    talk.hear(Accepted)
    talk.hear(Started)
    talk.hear(messages.ProgressMessage)
    talk.hear(Finished, "u")
    assert talk.computing.unloads == ["/m"]


@pytest.mark.parametrize("shutdown", [True, False])
def test_the_end_cancels_everything(talk: Conversation, shutdown: bool) -> None:
    talk.segment("wait")
    talk.hear(Started)
    talk.segment("good")
    if shutdown:
        talk.say(messages.Shutdown("x"))
    else:
        talk.lines.put("end")
    ends = {talk.hear(CancelledMessage).id, talk.hear(CancelledMessage).id}
    assert ends == {"wait", "good"}
    talk.thread.join(10)
    assert not talk.thread.is_alive()


def test_a_computation_that_does_not_stop_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfseg.serve.worker._END_SECONDS", 0.05)
    abandoned = threading.Event()
    talk = Conversation(abandon=abandoned.set)
    talk.lines.put("end")
    assert abandoned.wait(10)
    talk.close()


def test_idle_models_are_forgotten() -> None:
    talk = Conversation(unload_after=0.01)
    end = time.monotonic() + 10
    while not talk.computing.unloads and time.monotonic() < end:
        time.sleep(0.01)
    assert talk.computing.unloads[0] is None
    talk.close()


def test_a_stop_from_outside_ends_it() -> None:
    stop = threading.Event()
    talk = Conversation(should_end=stop.is_set)
    stop.set()
    talk.thread.join(10)
    assert not talk.thread.is_alive()
    talk.close()

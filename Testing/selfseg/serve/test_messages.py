"""Messages as lines and back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import UsageError
from selfseg.serve.lines import bounded_lines
from selfseg.serve.messages import (
    NO_ID,
    Accepted,
    Answer,
    CancelledMessage,
    Failed,
    Finished,
    Grid,
    Hello,
    KeptModel,
    Load,
    ModelKey,
    ProgressMessage,
    Refused,
    Request,
    Segment,
    Shutdown,
    Started,
    Status,
    StatusReport,
    Unload,
    Welcome,
)
from selfseg.serve.wire import ANSWERS, MAX_LINE_BYTES, REQUESTS, Unreadable, read_line, write_line

KEY = ModelKey("/models/liver", folds=("0", "all"), device="cpu", precision="float32")
REQUEST_EXAMPLES: list[Request] = [
    Hello("h"),
    Load("1", KEY, 3.0),
    Segment(
        "2", KEY, ("/i/ä\udc80.nii.gz",), "/o.nii.gz", Grid((1.0, 2.0, 3.0)), False, 0.7, ("a",)
    ),
    Segment(
        "8",
        ModelKey("liver", checkpoint="best"),
        ("/a.npy", "/b.npy"),
        "/o.npy",
        Grid((1.0, 2.0, 3.0)),
        limit=((0, 4), (2, 3), (5, 10)),
        confidence=True,
    ),
    Unload("3"),
    Unload("4", "liver@1"),
    Status("5"),
    Shutdown("6"),
    REQUESTS["cancel"]("7"),
]
ANSWER_EXAMPLES: list[Answer] = [
    Welcome("h", 1, "0.1", 7, "00ff"),
    Accepted("1", 0),
    Started("1"),
    ProgressMessage("1", {"event": "progress", "done": 1.5, "scores": {"a": None}}),
    Finished("1", 2.5, ("/o",), {"plan": "plain"}, {"entropy": 0.5}, 0.01),
    Failed("1", "ModelError", "what", "expected", "found", "cure", "/p"),
    Refused(NO_ID, "what"),
    CancelledMessage("1"),
    StatusReport("1", None, ("2",), (KeptModel(KEY, 10, 0.5),), 11, 12.0),
]


@pytest.mark.parametrize("message", [*REQUEST_EXAMPLES, *ANSWER_EXAMPLES], ids=repr)
def test_round_trip(message: Request | Answer) -> None:
    line = write_line(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    kinds: Any = REQUESTS if isinstance(message, Request) else ANSWERS
    assert read_line(line, kinds) == message


def test_every_kind_has_an_example() -> None:
    assert {type(m) for m in REQUEST_EXAMPLES} == set(REQUESTS.values())
    assert {type(m) for m in ANSWER_EXAMPLES} == set(ANSWERS.values())


SEGMENT = {
    "kind": "segment",
    "id": "1",
    "model": {"source": "/m"},
    "images": ["/i.npy"],
    "output": "/o",
}


@pytest.mark.parametrize(
    ("line", "identifier", "text"),
    [
        (b"", NO_ID, "Expecting value"),
        (b"garbage\x00\xff", NO_ID, "utf-8"),
        (b"[" * 100_000, NO_ID, "deeper nesting|recursion|Expecting"),
        (b'"text"', NO_ID, "expected an object"),
        (b'{"kind": "reboot", "id": "1"}', "1", "'reboot'"),
        (b'{"kind": ["hello"], "id": "1"}', "1", "hello"),
        (b'{"kind": "hello"}', NO_ID, "missing field id"),
        (b'{"kind": "hello", "id": "1", "protocol": NaN}', NO_ID, "NaN is no number"),
        (b'{"kind": "status", "id": "1", "more": 1}', "1", "unknown field more"),
        (b'{"kind": "status", "id": "a b"}', NO_ID, "id is not valid"),
        (b'{"kind": "status", "id": 5}', NO_ID, "expected text"),
        (json.dumps({**SEGMENT, "output": "o"}).encode(), "1", "output is no absolute path"),
        (json.dumps({**SEGMENT, "model": {"source": "a/m"}}).encode(), "1", "model.source"),
        (json.dumps({**SEGMENT, "images": []}).encode(), "1", "no image"),
        (json.dumps({**SEGMENT, "images": ["/a\0b"]}).encode(), "1", "absolute path"),
        (json.dumps({**SEGMENT, "step": 0}).encode(), "1", "step"),
        (json.dumps({**SEGMENT, "timeout_seconds": -1}).encode(), "1", "timeout_seconds"),
        (json.dumps({**SEGMENT, "limit": [[0, 4], [2, 3]]}).encode(), "1", "list of 3"),
        (json.dumps({**SEGMENT, "limit": [[0, 4], [2, 3], [5, 5]]}).encode(), "1", "limit"),
        (json.dumps({**SEGMENT, "limit": [[0, 4], [2, 3], [-1, 5]]}).encode(), "1", "limit"),
        (json.dumps({**SEGMENT, "limit": [[0, 4], [2, 3], [1, 5.5]]}).encode(), "1", "whole"),
        (
            json.dumps({**SEGMENT, "model": {"source": "/m", "precision": "half"}}).encode(),
            "1",
            "'auto' or 'float32'",
        ),
        (json.dumps({**SEGMENT, "mirror": 1}).encode(), "1", "true or false"),
        (json.dumps({**SEGMENT, "grid": {"spacing": [1, 1]}}).encode(), "1", "list of 3"),
        (json.dumps({**SEGMENT, "model": {"source": "/m", "folds": [0]}}).encode(), "1", "folds"),
    ],
)
def test_what_is_refused(line: bytes, identifier: str, text: str) -> None:
    with pytest.raises(Unreadable, match=text) as caught:
        read_line(line, REQUESTS)
    assert caught.value.id == identifier


def test_a_checkpoint_may_be_left_to_the_model() -> None:
    for checkpoint in (None, "final", "best"):
        model = {"source": "/m", "checkpoint": checkpoint}
        request = read_line(json.dumps({**SEGMENT, "model": model}).encode(), REQUESTS)
        assert isinstance(request, Segment)
        assert request.model.checkpoint == checkpoint
    assert ModelKey("/m").checkpoint is None


@given(st.binary(max_size=60))
def test_no_garbage_does_more_than_be_refused(line: bytes) -> None:
    # Hypothesis also tries literals of this file, which may be a whole and valid request.
    with contextlib.suppress(Unreadable):
        assert isinstance(read_line(line, REQUESTS), tuple(REQUESTS.values()))


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(UsageError, match="too long"):
        write_line(Failed("1", "ModelError", "x" * MAX_LINE_BYTES))


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(1, 9), st.integers(1, 40))
def test_bounded_lines(parts: list[bytes], limit: int, chunk: int) -> None:
    data = b"\n".join(parts)
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        position += chunk
        return data[position - chunk : position]

    whole = [line for line in data.split(b"\n") if line.strip() or len(line) > limit]
    expected = [None if len(line) > limit else line for line in whole]
    assert list(bounded_lines(read, limit)) == expected


def test_the_client_needs_the_standard_library_alone() -> None:
    program = (
        "import sys; before = set(sys.modules); import selfseg.serve.client;"
        "foreign = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(foreign - set(sys.stdlib_module_names) - {'selfseg'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"

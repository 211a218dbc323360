"""Bad lines to a real worker: each is answered, nothing is written, and the worker goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bad_input.kit import make_kit
from bad_input.worker_rows import LINES, Line, prepare

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and paths of Unix")


FINAL = ("welcome", "refused", "failed", "finished", "cancelled")


@dataclass(frozen=True)
class Talk:
    """What became of all lines, told one after the other to one worker."""

    answers: tuple[Mapping[str, Any], ...]
    status: int
    log: str
    new: tuple[str, ...]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    place = make_kit(tmp_path_factory.mktemp("worker"))
    prepare(place)
    before = set(place.rglob("*"))
    command = [sys.executable, "-m", "selfseg", "serve", "--stdio", "--queue", str(len(LINES))]
    lines = [line.line.replace(b"HERE", os.fsencode(place)) for line in LINES]
    with (
        (place.parent / "log.txt").open("w+") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as worker,
    ):  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(b"\n".join([b'{"kind": "hello", "id": "first"}', *lines]) + b"\n")
        worker.stdin.flush()
        answers: list[dict[str, Any]] = []
        while sum(answer["kind"] in FINAL for answer in answers) <= len(LINES):
            answers.append(json.loads(worker.stdout.readline()))
        worker.stdin.close()
        status = worker.wait(60)
        log.seek(0)
        told = log.read()
    new = tuple(str(path) for path in place.rglob("*") if path not in before)
    return Talk(tuple(answers), status, told, new)


@pytest.mark.parametrize("line", LINES, ids=[line.name for line in LINES])
def test_each_line_is_answered(line: Line, talk: Talk) -> None:
    kinds = [answer for answer in talk.answers if answer["kind"] in ("refused", "failed")]
    told = [json.dumps(answer, ensure_ascii=False) for answer in kinds]
    name = _id_of(line)
    of_it = [
        text
        for answer, text in zip(kinds, told, strict=True)
        if answer["kind"] == line.answer and answer["id"] in (name, "-")
    ]
    fitting = [text for text in of_it if all(word in text for word in line.says)]
    assert fitting, "\n".join(of_it or [text for text in told if f'"{name}"' in text])
    assert all(json.loads(text)["cure"] for text in fitting)


def test_the_worker_went_on_and_ended_well(talk: Talk) -> None:
    assert talk.status == 0, talk.log
    assert "Traceback" not in talk.log


def test_every_line_has_one_answer(talk: Talk) -> None:
    named = [answer["id"] for answer in talk.answers if answer["kind"] in FINAL]
    assert len(named) == len(LINES) + 1
    assert all(named.count(name) == 1 for name in {*named} - {"-"})


def test_nothing_was_written_or_run(talk: Talk) -> None:
    assert talk.new == ()


def _id_of(line: Line) -> str:
    try:
        found = json.loads(line.line)
    except (ValueError, RecursionError):
        return "-"
    return str(found["id"]) if isinstance(found, dict) and "id" in found else "-"

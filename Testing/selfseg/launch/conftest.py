"""A stand-in for selfseg whose behaviour the job's arguments say, and jobs made of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selfseg.launch.jobs import Job

PROGRAM = """
import json, os, sys, time, threading
words = sys.argv[1:]
assert words[-3:] == ["--progress", "json", "--stop-on-stdin-close"], words
def tell(**event):
    print(json.dumps(event), flush=True)
tell(event="notice", text="begun", level="info")
tell(event="cards", cards=os.environ.get("CUDA_VISIBLE_DEVICES"),
     threads=os.environ.get("OMP_NUM_THREADS"), at=time.time())
if words[0] == "fail":
    print("Traceback of something", file=sys.stderr)
    print("the cause of it all", file=sys.stderr)
    sys.exit(1)
if words[0] == "die":
    os.kill(os.getpid(), 9)
if words[0] == "work":
    time.sleep(float(words[1]))
if words[0] == "until-stopped":
    sys.stdin.read()
    print("saved", flush=True)
    sys.exit(130)
if words[0] == "deaf":
    time.sleep(600)
tell(event="cards_back", at=time.time())
"""


@pytest.fixture
def program(tmp_path: Path) -> tuple[str, ...]:
    """Runs in the place of `python -m selfseg`."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return (sys.executable, str(file))


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Makes a job of the stand-in."""

    def make(name: str, *words: str, needs: tuple[str, ...] = (), gpus: int = 1) -> Job:
        return Job(name, words or ("work", "0"), needs, gpus)

    return make

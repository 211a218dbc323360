"""Trains once undisturbed, then once more with a kill at random moments; compares the weights.

Run by test_kill.py as a program: its children are forked from a process that has imported
torch but not used it, so that each round takes a fraction of a second.

    python kill_script.py FOLDER ROUNDS
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from conftest import make_ball_case, make_small_plan
from selfseg.domain.events import silent
from selfseg.train.loop import train
from selfseg.train.task import TrainingTask

FOLDER, ROUNDS = Path(sys.argv[1]), int(sys.argv[2])


def task(name: str) -> TrainingTask:
    cases = tuple(make_ball_case(i) for i in range(4))
    plan = make_small_plan((8, 12, 12), epochs=12, iterations_per_epoch=5, validation_iterations=2)
    return TrainingTask(
        plan, "3d", "0", cases[:3], cases[3:], FOLDER / name, "cpu", seed=3, deterministic=True
    )


def start(name: str) -> int:
    """Begins or goes on with the training in a child, and says its number."""
    child = os.fork()
    if child == 0:
        try:
            train(task(name), reporter=silent)
        except BaseException as error:  # whatever it is, the parent must hear of it
            sys.stderr.write(f"{error}\n")
            os._exit(1)
        os._exit(0)
    return child


def undisturbed() -> float:
    began = time.monotonic()
    _, status = os.waitpid(start("undisturbed"), 0)
    assert status == 0
    return time.monotonic() - began


def disturbed(seconds: float) -> int:
    """Kills until `ROUNDS` kills have landed or the training is done; says how many landed."""
    moments, kills = random.Random(), 0
    while True:
        child = start("killed")
        if kills < ROUNDS:
            # Some at the very start, most later: a part of the whole time each.
            time.sleep(moments.uniform(0, 3 * seconds / ROUNDS))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kills += 1
            continue
        assert status == 0
        return kills


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def losses(name: str) -> list[tuple[int, float]]:
    lines = (FOLDER / name / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [(e["iteration"], e["loss"]) for e in events if e["event"] == "iteration_finished"]


if __name__ == "__main__":
    landed = disturbed(undisturbed())
    same = [
        digest(FOLDER / "undisturbed" / name) == digest(FOLDER / "killed" / name)
        for name in ("weights_final.safetensors", "weights_best.safetensors")
    ]
    left = [path.name for path in (FOLDER / "killed").glob(".part-*")]
    print(
        json.dumps(
            {
                "kills": landed,
                "same_weights": same,
                "same_log": losses("undisturbed") == losses("killed"),
                "left_behind": left,
            }
        )
    )

"""Kills `selfseg run` at random moments, gives the command again, and compares the projects.

    python benchmarks/faults.py FOLDER --rounds 50

A tiny data set of two folds is measured, planned for, preprocessed, trained and judged on both
folds, reported, selected from and installed (`selfseg run --install`), deterministically. First
twice undisturbed: both projects must be the same, or comparing would mean nothing. Then, in every
round, with a new project: a process is killed (signal 9) at a random moment of one phase of the
run, the phases taken in turn; in every other round the next one too, at any moment of the run;
then the command runs to its end. With `--each-file` one more project is made by processes that
each die as soon as they have written one file that none before has written.

Compared are the project and the library of models, as benchmarks/project_contents.py says. Nothing
may be left over: no `.part-`, no `.lock-owner.json`, no process. The speed of the
machine is not measured but given, as it decides the network.

Processes are forked from one that has imported everything, so that a round takes seconds. The last
line is JSON; the exit status is 1 where a project differs. POSIX only.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import pkgutil
import random
import re
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import psutil
import torch
from project_contents import contents, differences

import selfseg
from selfseg.cli import main as command_line
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.plan import SpeedProfile, SpeedSample
from selfseg.io.atomic_files import write_bytes_atomically
from selfseg.stages import summary
from selfseg.train import speed

PROFILE = SpeedProfile(
    device="cpu",
    threads=1,
    autocast="off",
    samples=(
        SpeedSample((16, 32, 64), 3, (24, 24, 24), 2, 2.0, 2913408.0, 1300893696.0, 611696640),
        SpeedSample((32, 64, 128), 3, (24, 24, 24), 2, 6.0, 5733504.0, 5176369152.0, 652460032),
    ),
)
"""So slow that the smallest network is planned."""

FOLDS = (("case_000", "case_001"), ("case_002", "case_003"))


@dataclass(frozen=True)
class Moment:
    """An event of a run: its name, and seconds since the run before it."""

    name: str
    seconds: float


def prepare(folder: Path, *, short: bool) -> None:
    """Imports everything, and makes the data set.

    Args:
        folder: for the data.
        short: leaves the report empty, whose pictures take most of the time.
    """
    for module in pkgutil.walk_packages(selfseg.__path__, "selfseg."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError:  # an extra that is not installed
                continue
    torch.set_num_threads(1)
    figure = matplotlib.figure.Figure()
    figure.subplots().set_title("loads the fonts")
    figure.savefig(io.BytesIO(), format="png")
    speed.measure_speed = lambda *arguments, **more: PROFILE
    if short:
        summary.write_report = lambda path, content: write_bytes_atomically(path, b"</html>")
    data = make_small_dataset(folder / "data", cases=4, test_cases=0, shape=(12, 16, 16))
    splits = [{"train": FOLDS[1 - k], "val": FOLDS[k]} for k in (0, 1)]
    (data / "splits_final.json").write_text(json.dumps(splits))


def words(folder: Path, name: str) -> list[str]:
    """The command; `name` has the same length for all projects, as their paths are in files."""
    return [
        "run", str(folder / "data"), "-p", str(folder / name), "-c", "3d_fullres",
        "--epochs", "2", "--iterations", "2", "--device", "cpu", "--workers", "1",
        "--deterministic", "--augmentation", "mirror", "--progress", "json",
        "--install", "--library", str(folder / f"{name}_models"),
    ]  # fmt: skip


class Run:
    """A process with the command, and the events it tells.

    Args:
        folder: of the data and the projects.
        name: of the project.
        dies_after: a file with the paths that were written before; the process adds one and dies.
    """

    def __init__(self, folder: Path, name: str, dies_after: Path | None = None) -> None:
        sys.stdout.flush()
        source, sink = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.setsid()
            os.close(source)
            os.dup2(sink, 1)
            errors = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(errors, 2)
            status = 70
            try:
                if dies_after is not None:
                    die_after_a_new_file(dies_after)
                status = command_line(words(folder, name))
                sys.stdout.flush()
            except BaseException as error:  # whatever it is, it must not go on as our parent
                sys.stderr.write(f"{error!r}\n")
                sys.stderr.flush()
            os._exit(status)
        os.close(sink)
        self._source, self._rest = source, b""
        self._last = time.monotonic()
        self.moments: list[Moment] = []

    def listen(self, seconds: float, until: int | None = None) -> bool:
        """Takes events for so long, or until so many stages have begun and ended.

        Returns:
            False where the process has said its last word.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and len(self.moments) != until:
            if not select.select([self._source], [], [], left)[0]:
                continue
            data = os.read(self._source, 65536)
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line) if line.startswith(b'{"event"') else {}
                if str(event.get("event")).startswith("stage_"):
                    now = time.monotonic()
                    name = f"{event['stage']} {event['event'].removeprefix('stage_')}"
                    self.moments.append(Moment(name, now - self._last))
                    self._last = now
        return True

    def kill(self) -> None:
        """Signal 9."""
        os.kill(self.process, signal.SIGKILL)

    def end(self) -> int:
        """Waits for the end; the signal that ended it, negative, or the exit status."""
        os.close(self._source)
        _, status = os.waitpid(self.process, 0)
        left = [p.pid for p in psutil.process_iter() if _session(p.pid) == self.process]
        assert not left, f"processes are left: {left}"
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def to_the_end(self) -> None:
        """Lets it run, and insists that all went well."""
        while self.listen(60):
            pass
        status = self.end()
        assert status == 0, f"exit status {status}: see the log beside the project"


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:
        return None


def die_after_a_new_file(known: Path) -> None:
    """Makes this process kill itself after the first file that is not in the list `known`."""
    real, seen = os.replace, set(known.read_text().splitlines())

    def replace(source: Any, target: Any) -> None:
        real(source, target)
        path = re.sub(r"\.part-\w+", ".part", str(target))  # a new folder for every process
        if path not in seen:
            with known.open("a") as stream:
                stream.write(f"{path}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def undisturbed(folder: Path, name: str) -> list[Moment]:
    """One run from start to end; its events."""
    run = Run(folder, name)
    run.to_the_end()
    return run.moments


def disturbed(folder: Path, name: str, plan: Sequence[tuple[int, float]]) -> list[str]:
    """Runs that are killed, and one that is not.

    Args:
        folder: of the data and the projects.
        name: of the project.
        plan: for each kill, how many events to wait for, and how many seconds then.

    Returns:
        the last event before each kill that landed.
    """
    landed = []
    for events, seconds in plan:
        run = Run(folder, name)
        alive = run.listen(600, until=events) and run.listen(seconds)
        if alive:
            run.kill()
        status = run.end()
        assert status in (0, -signal.SIGKILL), f"exit status {status}"
        if status:
            landed.append(run.moments[-1].name if run.moments else "the beginning")
    undisturbed(folder, name)
    return landed


def each_file(folder: Path, name: str) -> int:
    """Processes that die after every file; how many there were."""
    known, deaths = folder / "written.txt", 0
    known.write_text("")
    while True:
        run = Run(folder, name, known)
        while run.listen(60):
            pass
        status = run.end()
        assert status in (0, -signal.SIGKILL), f"exit status {status}"
        if status == 0:
            return deaths
        deaths += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new, for data and projects")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no round after these")
    parser.add_argument("--each-file", action="store_true")
    parser.add_argument("--seed", type=int, default=None, help="of the moments")
    parser.add_argument("--keep", action="store_true", help="the projects that are as they should")
    parser.add_argument(
        "--spread", action="store_true", help="few rounds: from all over the run, no second control"
    )
    parser.add_argument("--short", action="store_true", help="no pictures in the report")
    options = parser.parse_args()
    began = time.monotonic()
    options.folder.mkdir(parents=True)
    folder = options.folder.resolve()
    prepare(folder, short=options.short)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    chance = random.Random(seed)  # noqa: S311
    moments = undisturbed(folder, "run_000")
    wanted = contents(folder, "run_000")
    if not options.spread:
        undisturbed(folder, "run_001")
        control = differences(wanted, contents(folder, "run_001"))
        assert not control, f"two undisturbed runs differ: {control}"
    phases = [moment.seconds for moment in moments]
    print(
        f"seed {seed}; {len(wanted)} files and folders, {len(phases)} phases, "
        f"{sum(phases):.1f} s undisturbed",
        flush=True,
    )
    wrong: dict[str, list[str]] = {}
    landed: Counter[str] = Counter()
    rounds = 0
    for rounds in range(options.rounds):
        if time.monotonic() - began > 60 * options.minutes:
            break
        name = f"run_{rounds + 100:03d}"
        phase = (rounds * len(phases) // options.rounds if options.spread else rounds) % len(phases)
        plan = [(phase, chance.uniform(0, phases[phase]))]
        if rounds % 2:
            plan.append((0, chance.uniform(0, sum(phases))))
        last = disturbed(folder, name, plan)
        landed.update(last)
        found = differences(wanted, contents(folder, name))
        told = "; ".join(f"after {moment}" for moment in last) or "too late"
        print(f"{name}: killed {told}: {', '.join(found) or 'the same'}", flush=True)
        if found:
            wrong[name] = found
        elif not options.keep:
            shutil.rmtree(folder / name)
            shutil.rmtree(folder / f"{name}_models")
    else:
        rounds = options.rounds
    deaths = 0
    if options.each_file:
        deaths = each_file(folder, "run_002")
        found = differences(wanted, contents(folder, "run_002"))
        print(f"killed after each of {deaths} files: {', '.join(found) or 'the same'}", flush=True)
        if found:
            wrong["run_002"] = found
    print(
        json.dumps(
            {
                "rounds": rounds,
                "kills": sum(landed.values()),
                "killed_after": dict(landed),
                "files": len(wanted),
                "deaths_after_each_file": deaths,
                "minutes": round((time.monotonic() - began) / 60, 1),
                "seed": seed,
                "wrong": wrong,
            }
        )
    )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

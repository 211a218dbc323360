"""Commands run in turn, with time and memory, and the row they make.

Both sides do the same work, each as its users run it: a command of its own, in alternating
order. Memory is that of the whole process tree, sampled every tenth of a second: `rss` counts
shared pages once for each process, `pss` once in all. A row is written as JSON
(`benchmarks/results/<name>.json`); `benchmarks/write_page.py` makes the table of all of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SAMPLING_SECONDS = 0.1
OURS, PEER = "ours", "peer"


@dataclass(frozen=True)
class Run:
    """One measured command; bytes are the peak over the process tree."""

    side: str
    seconds: float
    rss_bytes: int
    pss_bytes: int
    stages: Mapping[str, float] = field(default_factory=dict)
    survived: bool = True
    output: str = ""


@dataclass(frozen=True)
class Quantity:
    """What was measured on both sides, turn by turn (None: not reached, or died).

    `at_most` and `at_least` are the target for ours / peer (medians); `limit` (not above) and
    `least` (not below) are for ours alone. Values are in `unit`.
    """

    name: str
    unit: str
    ours: Sequence[float | None]
    peer: Sequence[float | None] = ()
    at_most: float | None = None
    at_least: float | None = None
    limit: float | None = None
    least: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of the table: `name` is the file's, `order` its place, `notes` what a reader needs."""

    name: str
    order: int
    what: str
    quantities: Sequence[Quantity]
    notes: Sequence[str] = ()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that every side-by-side benchmark has."""
    parser.add_argument("folder", type=Path, help="keeps data and models for the next run")
    parser.add_argument(
        "--peer-python", type=Path, help="one that has nnunetv2 2.8.1 (default: set up in .peer)"
    )
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the row is written")


def alternate(sides: Mapping[str, Callable[[], Run]], repetitions: int) -> dict[str, list[Run]]:
    """Runs the sides in turn, the other one first each time; prints every run."""
    found: dict[str, list[Run]] = {side: [] for side in sides}
    for turn in range(repetitions):
        for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            run = sides[side]()
            found[side].append(run)
            print(f"turn {turn + 1}, {line_of(run)}", flush=True)
    return found


def measure(
    side: str,
    command: Sequence[object],
    *,
    stages: Callable[[Sequence[tuple[float, str]], float], dict[str, float]] | None = None,
    most_bytes: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Runs a command to its end, or until it takes more than `most_bytes` (all free but 1 GB).

    Raises:
        SystemExit: it failed for another reason than memory.
    """
    limit = psutil.virtual_memory().available - 1e9 if most_bytes is None else most_bytes
    lines: list[tuple[float, str]] = []
    errors: list[str] = []
    started = time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(environment or {}),
    )
    readers = [
        threading.Thread(target=_collect, args=(process.stdout, lines, started)),
        threading.Thread(target=lambda: errors.extend(process.stderr or [])),
    ]
    ended: list[float] = []
    waiter = threading.Thread(target=lambda: ended.append(_end_of(process)))
    for thread in (*readers, waiter):
        thread.start()
    rss = pss = 0
    survived = True
    while waiter.is_alive():
        looked = time.monotonic()
        now_rss, now_pss = tree_memory(process.pid)
        rss, pss = max(rss, now_rss), max(pss, now_pss)
        if now_pss > limit and survived:
            survived = False
            _stop(process.pid)
        # Looking at many gigabytes takes time, which must not slow what is measured.
        waiter.join(max(SAMPLING_SECONDS, 10 * (time.monotonic() - looked)))
    seconds = ended[0] - started
    for reader in readers:
        reader.join()
    if process.returncode != 0 and survived:
        text = "".join(errors)
        survived = not _died_of_memory(process.returncode, text)
        if survived:
            raise SystemExit(f"{side} failed:\n{text[-3000:]}")
    parts = stages(lines, seconds) if stages is not None else {}
    output = "\n".join(text for _, text in lines)
    return Run(side, seconds, rss, pss, parts, survived, output)


def tree_memory(root: int) -> tuple[int, int]:
    """Bytes of a process and all below it: resident, and shared pages counted once."""
    rss = pss = 0
    try:
        parent = psutil.Process(root)
        for process in (parent, *parent.children(recursive=True)):
            try:
                memory = process.memory_full_info()
            except psutil.Error:
                continue
            rss, pss = rss + memory.rss, pss + getattr(memory, "pss", memory.rss)
    except psutil.Error:
        pass
    return rss, pss


def seconds_of(
    runs: Mapping[str, Sequence[Run]], *, at_most: float | None = None, limit: float | None = None
) -> Quantity:
    """Wall clock of the runs that survived."""
    values = {s: [r.seconds if r.survived else None for r in some] for s, some in runs.items()}
    return Quantity(
        "wall clock", "s", values.get(OURS, []), values.get(PEER, []), at_most, limit=limit
    )


def memory_of(
    runs: Mapping[str, Sequence[Run]], *, at_most: float | None = None, limit: float | None = None
) -> Quantity:
    """Peak memory in GB (1e9 bytes), shared pages once; of a run that died, what it had reached."""
    values = {s: [r.pss_bytes / 1e9 for r in some] for s, some in runs.items()}
    return Quantity(
        "peak memory", "GB", values.get(OURS, []), values.get(PEER, []), at_most, limit=limit
    )


def stage_medians(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """For a row's notes: the median seconds of every stage, one line for each side."""
    lines = []
    for side, some in runs.items():
        names = dict.fromkeys(name for run in some for name in run.stages)
        reached = {n: [run.stages[n] for run in some if n in run.stages] for n in names}
        parts = [f"{name} {statistics.median(v):.1f} s" for name, v in reached.items()]
        if parts:
            lines.append(f"{side}: " + "; ".join(parts))
    return lines


def line_of(run: Run) -> str:
    """One run on one line."""
    memory = f"{run.rss_bytes / 1e9:.2f} GB rss, {run.pss_bytes / 1e9:.2f} GB pss"
    return f"{run.side}: {run.seconds:.2f} s, {memory}" + ("" if run.survived else ", DIED")


def median(values: Sequence[float | None]) -> float | None:
    """None where half of the turns or more did not get there."""
    reached = sorted(float("inf") if value is None else value for value in values)
    middle = statistics.median(reached) if reached else float("inf")
    return None if middle == float("inf") else middle


def ratio_of(quantity: Quantity) -> float | None:
    """Median of ours / median of the peer's; None where one is missing."""
    ours, peer = median(quantity.ours), median(quantity.peer)
    return None if ours is None or not peer else ours / peer


def write_row(row: Row, folder: Path, peer: Path | None = None) -> Path:
    """Writes the row with machine, versions, command and date; prints medians and ratios."""
    command = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    content = asdict(row) | {
        "command": shlex.join(_without_folders(command)),
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(peer),
        "load": os.getloadavg()[1],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{row.name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    for quantity in row.quantities:
        ours, peer_median = median(quantity.ours), median(quantity.peer)
        ratio = ratio_of(quantity)
        print(f"{row.name}, {quantity.name}: ours {ours} {quantity.unit}", end="")
        print(f", peer {peer_median}" if quantity.peer else "", end="")
        print(f", ratio {ratio:.3f}" if ratio is not None else "")
    return path


def machine() -> dict[str, Any]:
    """What a reader has to know of it; no name of a host."""
    model = platform.processor() or "unknown"
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        flags = " ".join(line for line in lines if line.startswith("flags"))
        model = names[0] if names else model
        model += " with AMX" if "amx_bf16" in flags else ""
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(peer: Path | None) -> dict[str, str]:
    """Of Python and the packages that decide, on both sides."""
    names = ("selfseg", "torch", "numpy", "scipy", "SimpleITK")
    found = {"python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in names}
    if peer is not None:
        names = ("nnunetv2", "torch", "numpy", "scipy", "SimpleITK")
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"  # noqa: E501
        answer = subprocess.run([peer, "-c", code], check=True, capture_output=True, text=True)
        found |= {f"peer's {name}": text for name, text in json.loads(answer.stdout).items()}
    return found


def _without_folders(words: Sequence[str]) -> list[str]:
    """Paths by their last part, so that the row names no folder of this machine."""
    short = [
        Path(word).name if "/" in word and not word.startswith("-") else word for word in words
    ]
    short[1] = words[1]
    for i, word in enumerate(short):
        if word == "--peer-python":
            short[i + 1] = "PEER_PYTHON"
    return short


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for name in ("raw", "preprocessed", "results"):  # the peer wants them named
        environment.setdefault(f"nnUNet_{name}", tempfile.gettempdir())
    return environment | dict(more)


def _end_of(process: subprocess.Popen[str]) -> float:
    process.wait()
    return time.monotonic()


def _died_of_memory(code: int, errors: str) -> bool:
    # The peer says of a worker that the system has killed that it may have run out of RAM.
    return code == -signal.SIGKILL or "memory" in errors or "out of RAM" in errors


def _collect(stream: Any, lines: list[tuple[float, str]], started: float) -> None:
    for text in stream:
        lines.append((time.monotonic() - started, text.strip()))


def _stop(root: int) -> None:
    try:
        parent = psutil.Process(root)
        below = parent.children(recursive=True)
    except psutil.Error:
        return  # it has just ended
    for process in (*below, parent):
        try:
            process.kill()
        except psutil.Error:
            continue

"""nnU-Net's checkpoints, opened in a process of their own.

A checkpoint is a pickle, and a pickle can run anything; so it is followed with inert stand-ins
(`nnunet_inert`), its numbers are read as numbers (`nnunet_numbers`), and both happen in a child
process with bounded memory and time that hands back text and safetensors.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..domain.errors import ModelError

_CHILD = (sys.executable, "-P", "-m", "selfseg.registry.nnunet_child")
"""-P: the folder it is started in is no place to import from."""

SECONDS = 120
BYTES_PER_SECOND = 10 * 2**20
"""Time for one checkpoint, the start of the process included; both are generous."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says of itself.

    Args:
        trainer: name of the class that trained it.
        configuration: which one of the plans.
        mirror_axes: axes of the patch that prediction may mirror.
        epochs: trained.
        shapes: of the weights, under nnU-Net's names.
    """

    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    epochs: int | None
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Conversion:
    """One checkpoint whose weights are to be written as safetensors.

    `names`: the weights to take, nnU-Net's name to the one they get.
    """

    checkpoint: Path
    names: Mapping[str, str]
    target: Path


def describe_checkpoints(paths: Sequence[Path]) -> tuple[CheckpointFacts, ...]:
    """What each checkpoint says; its numbers are not read.

    Raises:
        ModelError: one is refused, and why.
    """
    jobs = [{"checkpoint": str(path)} for path in paths]
    return tuple(_answers("describe", paths, jobs, SECONDS * max(1, len(paths))))


def convert_checkpoints(conversions: Sequence[Conversion]) -> Iterator[CheckpointFacts]:
    """Writes weights as safetensors, one after the other; yields when one is done.

    Raises:
        ModelError: one is refused, and why.
    """
    paths = [conversion.checkpoint for conversion in conversions]
    seconds = sum(SECONDS + path.stat().st_size // BYTES_PER_SECOND for path in paths)
    jobs = [
        {"checkpoint": str(c.checkpoint), "names": dict(c.names), "target": str(c.target)}
        for c in conversions
    ]
    yield from _answers("convert", paths, jobs, seconds)


def _answers(
    task: str, paths: Sequence[Path], jobs: Sequence[Mapping[str, Any]], seconds: int
) -> Iterator[CheckpointFacts]:
    request = json.dumps({"task": task, "jobs": jobs, "seconds": seconds})
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            _CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
        )
        clock = threading.Timer(seconds, process.kill)
        clock.daemon = True
        clock.start()
        try:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
            try:
                with process.stdin as stream:
                    stream.write(request)
            except OSError:  # it has died; the reason is told below
                pass
            for path in paths:
                line = process.stdout.readline()
                if not line.endswith("\n"):
                    raise _died(path, process.wait(), complaints, seconds)
                yield _facts(path, line)
        finally:
            clock.cancel()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _facts(path: Path, line: str) -> CheckpointFacts:
    try:
        answer = json.loads(line)
        if "error" in answer:
            text = msgspec.convert(answer["error"], dict[str, str])
            raise ModelError(
                text["what"],
                expected=text["expected"],
                found=text["found"],
                cure=text["cure"],
                path=text["path"] or path,
            )
        return msgspec.convert(answer["facts"], CheckpointFacts)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise ModelError(
            "the checkpoint is refused: nothing sensible was read from it",
            expected="a checkpoint of nnU-Net v2",
            found=str(error)[:300],
            cure="get the model again from where it was published",
            path=path,
        ) from error


def _died(path: Path, status: int, complaints: Any, seconds: int) -> ModelError:
    complaints.seek(0)
    lines = complaints.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
    last = f"; it said: {lines[-1][:200]}" if lines else ""
    ended = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
    return ModelError(
        "the checkpoint is refused: the process that read it did not finish",
        expected=f"to be read within {seconds} s and the memory a checkpoint of its size needs",
        found=ended + last,
        cure="get the model again from where it was published; where the machine is short of "
        "memory, close other programs",
        path=path,
    )

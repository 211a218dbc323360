"""The process that opens checkpoints, with little memory and time; see `nnunet_checkpoint`.

It reads one request from standard input and answers a line of JSON per checkpoint. Nothing else
of the program runs in it, so that a checkpoint that breaks the reading breaks nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..domain.errors import ModelError, SelfsegError
from .nnunet_inert import StoredTensor, read_structure

SPARE_BYTES = 2 * 2**30
"""Memory beyond what the interpreter has at the start, and twice the file."""


def main() -> int:
    """Answers one request; see `nnunet_checkpoint`."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    paths = [Path(job["checkpoint"]) for job in request["jobs"]]
    _limit(paths, int(request["seconds"]))
    for job, path in zip(request["jobs"], paths, strict=True):
        try:
            content = read_structure(path)
            facts = describe(path, content)
            if request["task"] == "convert":
                convert(path, content, job["names"], Path(job["target"]))
            answer: dict[str, Any] = {"facts": facts}
        except SelfsegError as error:
            answer = {"error": _parts(error)}
        except MemoryError:
            answer = {"error": _parts(_too_much(path))}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if "error" in answer:
            return 1
    return 0


def describe(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint with this structure says of itself, in plain values.

    Raises:
        ModelError: it is refused.
    """
    weights = content.get("network_weights")
    arguments = content.get("init_args")
    if not isinstance(weights, dict) or not isinstance(arguments, dict):
        raise _foreign(path, "network_weights and init_args", ", ".join(list(content)[:20]))
    for name, tensor in weights.items():
        if type(name) is not str or not isinstance(tensor, StoredTensor):
            raise _foreign(path, "tensors by name", f"{type(tensor).__name__} {str(name)[:100]}")
    axes = content.get("inference_allowed_mirroring_axes")
    if axes is not None and not (
        isinstance(axes, list | tuple) and all(type(axis) is int for axis in axes)
    ):
        raise _foreign(path, "inference_allowed_mirroring_axes, or none", type(axes).__name__)
    epochs = content.get("current_epoch")
    return {
        "trainer": _text(path, content, "trainer_name"),
        "configuration": _text(path, arguments, "configuration"),
        # As in nnunetv2: a checkpoint that does not say is not mirrored.
        "mirror_axes": [] if axes is None else list(axes),
        "epochs": epochs if type(epochs) is int else None,
        "shapes": {name: tensor.shape for name, tensor in weights.items()},
    }


def convert(path: Path, content: Mapping[str, Any], names: Mapping[str, str], target: Path) -> None:
    """Writes the weights as float32 safetensors.

    Args:
        path: a checkpoint that `describe` took.
        content: its structure.
        names: of the weights, in the checkpoint, to their names in the new file.
        target: new file.

    Raises:
        ModelError: its numbers cannot be read.
    """
    from ..io.weights import write_weights
    from .nnunet_numbers import read_numbers

    try:
        tensors = {ours: content["network_weights"][theirs] for theirs, ours in names.items()}
        arrays = read_numbers(path, tensors)
    except MemoryError:
        raise
    except Exception as error:  # a damaged zip file can raise many kinds
        raise ModelError(
            "the checkpoint is refused: its weights cannot be read",
            expected="a complete checkpoint",
            found=f"{type(error).__name__}: {error}"[:300],
            cure="get the model again from where it was published",
            path=path,
        ) from error
    write_weights(target, arrays, {})


def _limit(paths: Sequence[Path], seconds: int) -> None:
    """Bounds what this process may use from now on, where the system can (not on Windows)."""
    with suppress(ImportError):
        import resource

        import psutil

        largest = max((path.stat().st_size for path in paths), default=0)
        now = int(psutil.Process().memory_info().vms)
        for kind, limit in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_FSIZE, 2 * largest + 2**20),
            (resource.RLIMIT_AS, now + 2 * largest + SPARE_BYTES),
        ):
            # macOS knows some of them by name only.
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (limit, limit))


def _text(path: Path, content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if type(value) is not str or not 0 < len(value) <= 200 or not value.isprintable():
        raise _foreign(path, f"{key}, a name", type(value).__name__)
    return value


def _foreign(path: Path, expected: str, found: str) -> ModelError:
    return ModelError(
        "this is no checkpoint of nnU-Net v2",
        expected=expected,
        found=found[:300],
        cure="give a model that nnU-Net v2 has trained; others, and those of nnU-Net v1, cannot "
        "be imported",
        path=path,
    )


def _too_much(path: Path) -> ModelError:
    return ModelError(
        "the checkpoint is refused: reading it takes too much memory",
        expected=f"at most twice its {path.stat().st_size / 2**20:.0f} MB and 2 GB",
        found="more",
        cure="get the model again from where it was published; do not use this copy",
        path=path,
    )


def _parts(error: SelfsegError) -> dict[str, str]:
    return {
        "what": error.what,
        "expected": error.expected,
        "found": error.found,
        "cure": error.cure,
        "path": str(error.path or ""),
    }


if __name__ == "__main__":
    raise SystemExit(main())

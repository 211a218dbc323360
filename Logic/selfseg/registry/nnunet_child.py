"""The process that opens checkpoints, with little memory and time; see `nnunet_checkpoint`.

It reads one request from standard input and answers a line of JSON per checkpoint. Nothing else
of the program runs in it, so that a checkpoint that breaks PyTorch breaks nothing else.
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
from .nnunet_inert import NUMPY_TYPES, StoredTensor, read_structure

SPARE_BYTES = 2 * 2**30
"""Memory beyond what the interpreter and PyTorch have at the start, and twice the file."""


def main() -> int:
    """Answers one request; see `nnunet_checkpoint`."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    paths = [Path(job["checkpoint"]) for job in request["jobs"]]
    if request["task"] == "convert":
        import torch

        torch.set_num_threads(1)
    _limit(paths, int(request["seconds"]))
    for job, path in zip(request["jobs"], paths, strict=True):
        try:
            facts = describe(path)
            if request["task"] == "convert":
                convert(path, job["names"], Path(job["target"]))
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


def describe(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, in plain values.

    Raises:
        ModelError: it is refused.
    """
    content = read_structure(path)
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


def convert(path: Path, names: Mapping[str, str], target: Path) -> None:
    """Writes the weights as float32 safetensors.

    Args:
        path: a checkpoint that `describe` took.
        names: of the weights, in the checkpoint, to their names in the new file.
        target: new file.

    Raises:
        ModelError: PyTorch does not read it.
    """
    import numpy as np
    import torch

    from ..io.weights import write_weights

    try:
        with torch.serialization.safe_globals(_safe_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights = {
            ours: content["network_weights"][theirs].detach().to(torch.float32).contiguous()
            for theirs, ours in names.items()
        }
    except MemoryError:
        raise
    except Exception as error:  # PyTorch raises many kinds for files that are damaged
        raise ModelError(
            "the checkpoint is refused: PyTorch cannot read its weights",
            expected="a checkpoint that torch.load reads with weights_only",
            found=f"{type(error).__name__}: {error}"[:300],
            cure="get the model again from where it was published",
            path=path,
        ) from error
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in weights.items()}
    write_weights(target, arrays, {})


def _safe_globals() -> list[Any]:
    """What PyTorch's own reader is told to take: the NumPy numbers of the training's log."""
    import numpy as np
    from numpy._core import multiarray

    scalar: Any = multiarray.scalar
    named: list[Any] = [(scalar, "numpy._core.multiarray.scalar")]
    named += [(scalar, "numpy.core.multiarray.scalar"), (np.dtype, "numpy.dtype")]
    return named + [type(np.dtype(name)) for name in NUMPY_TYPES]


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

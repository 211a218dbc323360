"""The arithmetic, threads and memory of training on a device."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import psutil
import torch

from ..domain.errors import TrainingError
from ..network.devices import cpu_has_bfloat16

CACHE_SHARE = 0.25
"""Preprocessed cases are kept in memory where they fit this share of what is free."""

MAX_LOADER_THREADS = 12

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def choose_autocast(setting: str, device: torch.device) -> torch.dtype | None:
    """The half precision to compute in, None for float32 throughout.

    "auto" takes bfloat16 where the hardware multiplies it, float16 on older graphics cards and
    float32 elsewhere.
    """
    if setting == "off":
        return None
    if setting in ("bfloat16", "float16"):
        return torch.bfloat16 if setting == "bfloat16" else torch.float16
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device.type == "cpu" and cpu_has_bfloat16():
        return torch.bfloat16
    return None


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """The context in which the network runs forward."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def loader_threads(device: torch.device, cores: int | None = None) -> int:
    """Threads that make batches: one beside the processor's own work, else most cores.

    Args:
        device: that trains.
        cores: that may be used; None: all there are.
    """
    if device.type == "cpu":
        return 1
    return max(1, min(MAX_LOADER_THREADS, (cores or available_cores()) - 1))


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_limit() -> float:
    """Bytes that preprocessed cases may fill."""
    return CACHE_SHARE * float(psutil.virtual_memory().available)


def peak_memory(device: torch.device) -> int:
    """Bytes in use: of the graphics card at its fullest, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


@contextmanager
def fast_arithmetic(device: torch.device, *, deterministic: bool = False) -> Iterator[None]:
    """Settings that cost no accuracy.

    Numbers below 1e-38 count as 0; cuDNN tries algorithms; on the processor the memory of
    feature maps is kept from step to step.

    Args:
        device: that computes.
        deterministic: only algorithms that give the same bits every time.
    """
    if device.type == "cpu":
        keep_freed_memory()
    if deterministic and device.type == "cuda":
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    benchmark = torch.backends.cudnn.benchmark
    strict = torch.are_deterministic_algorithms_enabled()
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    torch.use_deterministic_algorithms(deterministic or strict)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(strict)


def memory_error_explained(error: RuntimeError, patch: object, batch_size: int) -> Exception:
    """A full memory as an error with a cure; any other error as it is."""
    if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
        return error
    return TrainingError(
        "the memory of this device is full",
        expected=f"room for batches of {batch_size} patches of {patch}",
        found=str(error).splitlines()[0],
        cure="close other programs that use it, or plan for less with `selfseg plan --memory GB`",
    )


def keep_freed_memory() -> None:
    """Tells the C library to keep large blocks for reuse (glibc; elsewhere nothing happens).

    By default every feature map is given back to the system and fetched again, page by page:
    measured, 15% of a training step on two cores.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 64 * 2**20)

"""Memory of a training step: predicted on the processor, caught on the graphics card.

A processor that runs out of memory is not told so: the system kills the process. So the need
is predicted before the first step, and where it is too large each batch goes through the
network in parts (micro-batches), whose gradients are added up. A graphics card says when it is
full, and the step is tried again with smaller parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from ..domain.errors import TrainingError
from ..domain.events import Notice
from ..domain.plan import NetworkPlan
from ..network.blocks import ConvNorm
from ..network.unet import build_network

# Measured with torch 2.13 on two cores: peaks of 21 trainings (plain and residual, 2D and 3D,
# float32 and bfloat16, batches of 1 to 128, 3 and 61 heads). `test_memory` measures two anew.
LIBRARY_BYTES = 115e6
"""Code and work space that the libraries take with their first step."""

BYTES_PER_WEIGHT = 20
"""Weight, gradient, momentum, copies in half precision and in the kernels' own order."""

WORK_PER_KEPT = 1.9
"""What is kept for the way back, with the gradients, work space and gaps of the heap beside it."""

BYTES_PER_LOGIT = 28
"""The loss works in float32 and keeps several maps per head."""

WAITING_BATCHES = 4
"""Batches being made and waiting."""

MARGIN = 1.15
"""The prediction may be too low by this factor."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes: `process` now, `fixed` further ones whatever the batch, and for each sample.

    `waiting` is for each sample of the whole batch, also where it is computed in parts.
    """

    process: float
    fixed: float
    per_sample: float
    waiting: float

    def further(self, micro_batch: int, batch_size: int) -> float:
        """Bytes that training will take beyond those of the process now."""
        return self.fixed + self.per_sample * micro_batch + self.waiting * batch_size

    def peak(self, micro_batch: int, batch_size: int) -> float:
        """Bytes of the process at its fullest."""
        return self.process + self.further(micro_batch, batch_size)


def predict_memory(
    network: NetworkPlan,
    patch_size: Sequence[int],
    input_channels: int,
    output_channels: int,
    *,
    half: bool,
    adamw: bool = False,
) -> MemoryNeed:
    """What training on the processor needs, from the sizes of the feature maps alone.

    To be called before the network is built: its weights are counted here.

    Args:
        network: stages, features, kernels.
        patch_size: voxels per axis.
        input_channels: C, cascade input included.
        output_channels: heads.
        half: whether the network runs in half precision.
        adamw: whether the optimiser keeps two numbers per weight instead of one.
    """
    kept, logits, weights = _count(network, patch_size, input_channels, output_channels)
    images = input_channels * math.prod(patch_size)
    element = 2 if half else 4
    return MemoryNeed(
        process=float(psutil.Process().memory_info().rss),
        fixed=LIBRARY_BYTES + weights * (BYTES_PER_WEIGHT + 4 * int(adamw)),
        per_sample=WORK_PER_KEPT * element * (kept + images) + BYTES_PER_LOGIT * logits,
        waiting=WAITING_BATCHES * (4 * images + 2 * math.prod(patch_size)),
    )


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: the machine's, and those of its control groups.

    Args:
        root: of the file system, for tests.
    """
    free = [int(psutil.virtual_memory().available)]
    for folder, limit_name, used_name, cache_name in _control_groups(root):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None:
            # Cached files count as used and are given up when memory is wanted.
            free.append(max(0, limit - used + _statistic(folder / "memory.stat", cache_name)))
    return min(free)


def fitting_micro_batch(
    need: MemoryNeed, batch_size: int, available: float, *, reserved: float = 0.0
) -> int:
    """The largest number of samples that can go through the network at once.

    Args:
        need: from `predict_memory`.
        batch_size: samples per step of the optimiser (of this rank).
        available: bytes, from `available_memory`, divided among the ranks of this machine.
        reserved: bytes of it that others will take, as the cases kept in memory.

    Raises:
        TrainingError: not even one sample fits.
    """
    free = available - reserved
    for size in range(batch_size, 0, -1):
        if MARGIN * need.further(size, batch_size) <= free:
            return size
    raise TrainingError(
        "there is not enough memory for a single sample",
        expected=f"{_gb(MARGIN * need.further(1, batch_size))} of free memory",
        found=f"{_gb(max(0.0, free))}",
        cure="close other programs, use a machine with more memory, or plan for less with "
        "`selfseg plan --memory GB`",
    )


def micro_batch_notice(micro_batch: int) -> Notice:
    """Says that batches go through the network in parts, and what that changes."""
    return Notice(
        f"memory: batches go through the network in parts of at most {micro_batch} "
        f"{'samples' if micro_batch > 1 else 'sample'}. Each part has a loss of its own: where "
        "Dice is taken over the batch it is taken over the part, and results differ a little "
        "from those with more memory",
        level="warning",
    )


def parts(count: int, micro_batch: int) -> tuple[slice, ...]:
    """A batch of `count` samples in parts of at most `micro_batch`, as even as possible."""
    number = math.ceil(count / micro_batch)
    edges = [round(i * count / number) for i in range(number + 1)]
    return tuple(slice(a, b) for a, b in pairwise(edges))


def after_out_of_memory(
    micro_batch: int, error: RuntimeError, *, ranks: int = 1
) -> tuple[int, Notice]:
    """Half the samples at a time, to take the step again with, and words that say so.

    The step's gradients must be computed anew. Leave the `except` block first: until then the
    error's traceback holds the feature maps of the step that failed.

    Args:
        micro_batch: samples that were too many.
        error: of torch.
        ranks: processes of this training. The others are in the middle of the same step and
            wait for its sums, so that with several it cannot be taken again.

    Raises:
        TrainingError: it was a single sample, or there are other ranks.
    """
    if micro_batch == 1 or ranks > 1:
        raise TrainingError(
            "the memory of this device is full",
            expected=f"room for {micro_batch} {'samples' if micro_batch > 1 else 'sample'}",
            found=str(error).splitlines()[0],
            cure="close other programs that use it, or plan for less with "
            "`selfseg plan --memory GB`"
            + (", or give --micro-batch a smaller number" if micro_batch > 1 else ""),
        ) from error
    smaller = math.ceil(micro_batch / 2)
    return smaller, micro_batch_notice(smaller)


def is_memory_full(error: BaseException) -> bool:
    """Whether an error of torch means that memory is full, on a card or on the processor."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "out of memory" in text
    )


def _count(
    network: NetworkPlan, patch_size: Sequence[int], input_channels: int, output_channels: int
) -> tuple[int, int, int]:
    """Kept elements and logits of one sample, and weights; nothing is computed or allocated."""
    with torch.device("meta"):
        built = build_network(network, input_channels, output_channels)
        images = torch.empty((1, input_channels, *patch_size))
    built.deep_supervision = True
    kept = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal kept
        # A convolution's output and the normalised one; upsampling's joined to the encoder's.
        if isinstance(module, ConvNorm | nn.ConvTranspose2d | nn.ConvTranspose3d):
            kept += 2 * output.numel()

    for module in built.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        outputs = built(images)
    return kept, sum(output.numel() for output in outputs), built.parameter_count


def _control_groups(root: Path) -> list[tuple[Path, str, str, str]]:
    """Folders of this process's groups and their parents, with the names of their files."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be the host's, and the group itself lies at the top.
        steps = [step for step in path.split("/") if step not in ("", "..")]
        for depth in range(len(steps) + 1):
            found.append((top.joinpath(*steps[:depth]), *names))
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"

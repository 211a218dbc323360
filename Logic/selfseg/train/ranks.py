"""One training in several processes, each with its part of every batch.

torchrun starts the processes and says in the environment which of them this one is. A process
alone needs none of it: then nothing of torch.distributed is touched.

Every rank computes the loss of the whole batch from statistics gathered over all ranks, and
the ranks' gradients are summed, so that the steps are those of a single process. Decisions
that hang on a clock or a signal are taken by rank 0, because clocks differ.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..domain.errors import Cancelled, TrainingError, UsageError
from ..domain.events import Reporter, silent
from ..network.devices import pick_device
from ..network.unet import UNet
from .device import available_cores
from .loss import deep_supervision_weights

TIMEOUT = timedelta(hours=2)
"""A rank that is not heard of for so long is lost. Rank 0 may predict whole cases meanwhile."""

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class OtherRankLost(TrainingError):
    """Another process of this training has ended or is not heard of; this one is not to blame."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True)
class Ranks:
    """This process among those of one training; the default is a process alone.

    `on_this_machine` counts the ranks that share processor and memory with this one.
    """

    rank: int = 0
    world_size: int = 1
    on_this_machine: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this rank writes the files and reports."""
        return self.rank == 0

    @property
    def cores(self) -> int:
        """Processor cores for this rank."""
        return max(1, available_cores() // self.on_this_machine)

    def reporter(self, reporter: Reporter) -> Reporter:
        """The reporter for rank 0, silence for the others."""
        return reporter if self.leads else silent

    def share(self, batch_size: int) -> range:
        """The samples of each batch that this rank makes; the first ranks take what is left over.

        The parts are nnU-Net's, and so which samples must hold foreground stays the same.

        Raises:
            UsageError: there are more ranks than samples.
        """
        if batch_size < self.world_size:
            raise UsageError(
                "there are more processes than samples in a batch",
                expected=f"at most {batch_size} for batches of {batch_size}",
                found=str(self.world_size),
                cure=f"give --gpus {batch_size}, or plan for more memory (`selfseg plan "
                "--memory GB`), which makes larger batches",
            )
        each, left_over = divmod(batch_size, self.world_size)
        start = self.rank * each + min(self.rank, left_over)
        return range(start, start + each + int(self.rank < left_over))

    def gather(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, with the gradient of this rank's part alone.

        All ranks get the same bits. For the loss: a sum over samples of which each rank knows
        its own; the derivative by them is right without a second exchange.
        """
        if self.world_size == 1:
            return tensor
        total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
        return total

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks of plain numbers, as counts or samples per second; no gradient."""
        if self.world_size == 1:
            return values
        summed = values.detach().clone()
        dist.all_reduce(summed)
        return summed

    def same(self, *values: float) -> tuple[float, ...]:
        """What rank 0 gives: times, rates, decisions (0 or 1). Every rank must call it."""
        if self.world_size == 1:
            return values
        # On the processor, so that a graphics card need not be waited for.
        shared = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return tuple(shared.tolist())

    def agree(self, flag: bool) -> bool:
        """Whether rank 0 says yes. Every rank must call it."""
        return self.same(float(flag))[0] == 1.0

    def any(self, flag: bool) -> bool:
        """Whether some rank says yes, as for a stop that was asked of one of them."""
        if self.world_size == 1:
            return flag
        return float(self.total(torch.tensor(float(flag), dtype=torch.float64))) > 0

    def summing_gradients(self, network: UNet) -> nn.Module:
        """The network whose gradients are summed over ranks, while they are being computed.

        All ranks begin with the weights of rank 0. Save and look at `network` itself, which
        shares its weights with the result.

        Args:
            network: with deep supervision.
        """
        if self.world_size == 1:
            return network
        on_cpu = self.device.type == "cpu"
        # Every parameter that is waited for must get a gradient, and the head of the lowest
        # resolution has no part in the loss.
        for head, weight in zip(
            reversed(network.heads), deep_supervision_weights(len(network.heads)), strict=True
        ):
            head.requires_grad_(weight > 0)
        parallel = DistributedDataParallel(
            network,
            device_ids=None if on_cpu else [self.device],
            gradient_as_bucket_view=True,
        )
        # A kernel of one voxel lies the same in memory whatever its strides say.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        # By itself it takes the mean. (A lambda, because it reads a function's annotations.)
        parallel.register_comm_hook(None, lambda state, bucket: _summed(bucket.buffer()))
        return parallel

    def locally(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Within it gradients are kept for a later exchange: for all micro-batches but the last.

        Args:
            network: from `summing_gradients`.
        """
        if isinstance(network, DistributedDataParallel):
            return network.no_sync()
        return nullcontext()


@contextmanager
def join_ranks(
    device: str = "auto", *, environment: Mapping[str, str] = os.environ
) -> Iterator[Ranks]:
    """Joins the other processes that torchrun started; a process alone just gets its device.

    Args:
        device: "auto", "cpu", "cuda"; of several ranks each takes the card of its number.
        environment: torchrun's variables.

    Raises:
        UsageError: the variables are not complete, or the device cannot be shared out.
        OtherRankLost: another rank has ended or is not heard of.
    """
    if not is_started_by_torchrun(environment):
        yield Ranks(device=pick_device(device))
        return
    ranks = _from_environment(device, environment)
    threads = torch.get_num_threads()
    backend = "gloo"
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
        if dist.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
    else:
        torch.set_num_threads(ranks.cores)
    in_order = False
    try:
        dist.init_process_group(
            backend, timeout=TIMEOUT, rank=ranks.rank, world_size=ranks.world_size
        )
        yield ranks
        in_order = True
    except Cancelled:  # all ranks stop at the same step
        in_order = True
        raise
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise OtherRankLost(
            "another process of this training has ended",
            expected=f"an answer from all {ranks.world_size} processes",
            found=str(error).splitlines()[0].split("] ")[-1].split(". This is")[0],
            cure="see the other process's message; the same command goes on from the last "
            "checkpoint",
        ) from error
    finally:
        torch.set_num_threads(threads)
        # After an error the end of the process tells the others. To take the group down in
        # order could wait for a rank that is stuck.
        if in_order:
            dist.destroy_process_group()


def is_started_by_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several of a training."""
    return "RANK" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


def is_first_rank(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the first of its training, or alone."""
    return not is_started_by_torchrun(environment) or environment["RANK"] == "0"


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _summed(gradients: Tensor) -> torch.futures.Future[Tensor]:
    work = dist.all_reduce(gradients, async_op=True)
    done: torch.futures.Future[Sequence[Tensor]] = work.get_future()
    return done.then(lambda future: future.value()[0])


def _from_environment(device: str, environment: Mapping[str, str]) -> Ranks:
    missing = [name for name in _VARIABLES if name not in environment]
    if missing:
        raise UsageError(
            "the processes of this training were not started by torchrun",
            expected="the variables " + ", ".join(_VARIABLES),
            found="without " + ", ".join(missing),
            cure="start it as `selfseg train --gpus N`, or with torchrun",
        )
    number, count = int(environment["LOCAL_RANK"]), int(environment["LOCAL_WORLD_SIZE"])
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", number)
    cards = torch.cuda.device_count()
    if (chosen.type == "cuda" and (chosen.index != number or count > cards)) or (
        chosen.type not in ("cuda", "cpu")
    ):
        raise UsageError(
            "the device cannot be shared out among the processes",
            expected=f"--device cuda with {count} graphics cards, or --device cpu",
            found=f"{device} with {cards} graphics cards",
            cure=f"give --gpus {max(1, cards)}, and no number with --device",
        )
    return Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]), count, chosen)


def _is_lost_connection(error: RuntimeError) -> bool:
    # gloo has no error class of its own.
    text = str(error).casefold()
    return isinstance(error, dist.DistError) or any(
        word in text for word in ("gloo", "connection closed", "connection reset", "nccl")
    )

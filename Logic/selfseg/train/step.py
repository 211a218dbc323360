"""One step of the optimiser on one batch: whole, or in micro-batches where memory is short."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from ..domain.events import Reporter
from ..domain.labels import LabelScheme
from . import device as devices
from .batches import Batch
from .loss import alone, segmentation_loss
from .memory import (
    after_out_of_memory,
    available_memory,
    fitting_micro_batch,
    is_memory_full,
    micro_batch_notice,
    parts,
    predict_memory,
)
from .ranks import Ranks
from .task import TrainingTask


@dataclass
class Stepper:
    """Takes steps; `micro_batch` shrinks where the device runs out of memory.

    Args:
        network: as `Ranks.summing_gradients` gave it.
        optimiser: of its parameters.
        scaler: for float16; disabled otherwise.
        scheme: the labels.
        batch_dice: see `segmentation_loss`.
        half: arithmetic of the forward pass; None: float32.
        gradient_clip: the gradients' norm is cut to this.
        ranks: the processes of this training.
        batch_size: of all ranks together.
        micro_batch: samples that go through the network at a time.
        reporter: is told when there must be fewer.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    scheme: LabelScheme
    batch_dice: bool
    half: torch.dtype | None
    gradient_clip: float
    ranks: Ranks
    batch_size: int
    micro_batch: int
    reporter: Reporter

    def __call__(self, batch: Batch) -> float:
        """Takes a step and says the loss; where that is not finite, nothing has changed.

        Raises:
            TrainingError: the memory does not hold a single sample.
        """
        loss = self._gradients_that_fit(batch)
        if not math.isfinite(loss):
            return loss
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        # With a scaler infinite gradients are its business: it leaves the step out by itself.
        if not self.scaler.is_enabled() and not math.isfinite(float(norm)):
            return float(norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss

    def _gradients_that_fit(self, batch: Batch) -> float:
        while True:
            try:
                return self._gradients(batch)
            except RuntimeError as error:
                if not is_memory_full(error):
                    raise
                self.micro_batch, notice = after_out_of_memory(
                    self.micro_batch, error, ranks=self.ranks.world_size
                )
            # Out here the failed step's feature maps are no longer held by its traceback.
            if self.ranks.device.type == "cuda":
                torch.cuda.empty_cache()
            self.reporter(notice)

    def _gradients(self, batch: Batch) -> float:
        """The loss of the batch; its gradients are left in the parameters."""
        self.optimiser.zero_grad(set_to_none=True)
        count, total = len(batch.images), 0.0
        # All ranks decide alike. Sums over ranks are for whole batches alone: ranks that make
        # different numbers of parts would wait for each other for ever.
        whole = self.micro_batch >= math.ceil(self.batch_size / self.ranks.world_size)
        for part in parts(count, self.micro_batch):
            images, labels = batch.images[part], batch.labels[part]
            last = part.stop == count
            with nullcontext() if last else self.ranks.locally(self.network):
                with devices.autocast(self.ranks.device, self.half):
                    outputs = self.network(images)  # [(b, K, *patch), (b, K, *patch / 2), ...]
                loss = segmentation_loss(
                    outputs,
                    labels,
                    self.scheme,
                    batch_dice=self.batch_dice,
                    gather=self.ranks.gather if whole else alone,
                )
                if not whole:
                    loss = loss * (len(images) / self.batch_size)
                torch.autograd.backward(self.scaler.scale(loss))
            total += float(loss.detach())
        if whole:
            return total
        return float(self.ranks.total(torch.tensor(total, dtype=torch.float64)))


def choose_micro_batch(
    task: TrainingTask,
    ranks: Ranks,
    half: torch.dtype | None,
    cache: float,
    reporter: Reporter,
) -> int:
    """Samples that go through the network at a time.

    A processor's memory is looked at beforehand, because the system kills who takes too much;
    a graphics card says by itself when it is full.

    Args:
        task: with plan and configuration.
        ranks: the processes of this training; several always take whole batches.
        half: arithmetic of the forward pass; None: float32.
        cache: bytes that cases in memory may take.
        reporter: is told of less than a whole batch.

    Raises:
        TrainingError: not even one sample fits.
    """
    configuration = task.plan.configuration(task.configuration)
    batch_size = configuration.batch_size
    if task.micro_batch is not None:
        return min(task.micro_batch, batch_size)
    if ranks.device.type != "cpu" or ranks.world_size > 1:
        return batch_size
    need = predict_memory(
        configuration.network,
        configuration.patch_size,
        task.plan.input_channels(task.configuration),
        task.plan.description.labels.head_count,
        half=half is not None,
        adamw=task.plan.schedule.optimiser == "adamw",
    )
    size = fitting_micro_batch(need, batch_size, available_memory(), reserved=cache)
    if size < batch_size:
        reporter(micro_batch_notice(size))
    return size

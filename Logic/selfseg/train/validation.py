"""The pseudo Dice: a quick look at patches of unseen cases while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import islice

import torch
from torch import Tensor

from ..domain.labels import LabelScheme
from ..network.unet import UNet
from . import device as devices
from .batches import BatchMaker, training_batches
from .loss import head_targets, segmentation_loss
from .ranks import Ranks

EMA_KEPT = 0.9
"""Share of the former value in the running mean of the pseudo Dice (RECIPE)."""


class PseudoDice:
    """Counts of overlap per structure, summed over all patches of an epoch."""

    def __init__(self, scheme: LabelScheme) -> None:
        self.scheme = scheme
        self.counts = torch.zeros(3, len(scheme.foreground), dtype=torch.float64)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Takes in one batch: logits (B, K, *size), label values (B, *size)."""
        heads, ignored = head_targets(labels, self.scheme)
        valid = torch.ones_like(labels, dtype=torch.bool) if ignored is None else ignored == 0
        chosen = None if self.scheme.has_regions else logits.argmax(dim=1)
        for i in range(len(self.scheme.foreground)):
            predicted = logits[:, i] > 0 if chosen is None else chosen == i + 1
            wanted = heads[:, i] > 0 if chosen is None else heads == i + 1
            predicted, wanted = predicted & valid, wanted & valid
            both = int((predicted & wanted).sum())
            self.counts[:, i] += torch.tensor([both, int(predicted.sum()), int(wanted.sum())])

    def scores(self) -> dict[str, float | None]:
        """Dice per structure, by its name; None where neither prediction nor label has any."""
        both, predicted, wanted = self.counts
        total = predicted + wanted
        return {
            label.name: float(2 * both[i] / total[i]) if total[i] > 0 else None
            for i, label in enumerate(self.scheme.foreground)
        }


@torch.no_grad()
def look_at_patches(
    network: UNet,
    make: BatchMaker,
    count: int,
    scheme: LabelScheme,
    half: torch.dtype | None,
    ranks: Ranks,
    *,
    workers: int,
) -> tuple[float, dict[str, float | None]]:
    """Loss and pseudo Dice on the same patches every time, so that epochs can be compared.

    Args:
        network: is in training, and is so again afterwards.
        make: makes the batches, without augmentation.
        count: of batches.
        scheme: the labels.
        half: arithmetic of the forward pass; None: float32.
        ranks: each looks at its part of every batch.
        workers: threads that make batches.

    Returns:
        Mean loss, and the pseudo Dice per structure, as `PseudoDice.scores` gives it.
    """
    network.eval()
    total, counts = 0.0, PseudoDice(scheme)
    with closing(training_batches(make, 0, ranks.device, workers=workers)) as stream:
        for batch in islice(stream, count):
            with devices.autocast(ranks.device, half):
                outputs = network(batch.images)
            loss = segmentation_loss(
                outputs,
                batch.labels,
                scheme,
                batch_dice=make.configuration.batch_dice,
                gather=ranks.gather,
            )
            total += float(loss)
            counts.add(outputs[0], batch.labels)
    network.train()
    counts.counts = ranks.total(counts.counts)
    return total / max(count, 1), counts.scores()


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values there are, None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def running_mean(former: float | None, value: float | None) -> float | None:
    """The exponential running mean after one more value."""
    if former is None or value is None:
        return former if value is None else value
    return EMA_KEPT * former + (1 - EMA_KEPT) * value

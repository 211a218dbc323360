"""The pseudo Dice: a quick look at patches of unseen cases while training goes on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..domain.labels import LabelScheme
from .loss import head_targets

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


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values there are, None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def running_mean(former: float | None, value: float | None) -> float | None:
    """The exponential running mean after one more value."""
    if former is None or value is None:
        return former if value is None else value
    return EMA_KEPT * former + (1 - EMA_KEPT) * value

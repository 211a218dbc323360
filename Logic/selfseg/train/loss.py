"""The loss: soft Dice plus cross entropy, at every resolution of the decoder.

Constants and form are RECIPE's. All arithmetic is in float32, whatever the network used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..domain.errors import TrainingError
from ..domain.labels import LabelScheme

SMOOTH = 1e-5
"""Added to numerator and denominator of Dice (RECIPE)."""


def segmentation_loss(
    outputs: Sequence[Tensor], labels: Tensor, scheme: LabelScheme, *, batch_dice: bool
) -> Tensor:
    """The training loss, a scalar.

    Args:
        outputs: logits (B, K, *size), the highest resolution first.
        labels: (B, *size of the first output) label values, ignore included.
        scheme: says which values each head stands for.
        batch_dice: Dice over the whole batch as if it were one image.
    """
    heads, ignored = head_targets(labels, scheme)
    total = outputs[0].new_zeros((), dtype=torch.float32)
    for weight, logits in zip(deep_supervision_weights(len(outputs)), outputs, strict=True):
        if weight == 0:
            continue
        target = _shrunk(heads, logits.shape[2:])
        mask = None if ignored is None else _shrunk(ignored, logits.shape[2:]) == 0
        if scheme.has_regions:
            loss = region_loss(logits, target, mask, batch_dice=batch_dice)
        else:
            loss = label_loss(logits, target, mask, batch_dice=batch_dice)
        total = total + weight * loss
    return total


def deep_supervision_weights(count: int) -> tuple[float, ...]:
    """1, 1/2, 1/4, ... with the lowest resolution left out, normalised to sum 1."""
    weights = [0.5**i for i in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return tuple(weight / sum(weights) for weight in weights)


def head_targets(labels: Tensor, scheme: LabelScheme) -> tuple[Tensor, Tensor | None]:
    """What the heads should say.

    Args:
        labels: (B, *size) label values.
        scheme: maps values to heads.

    Returns:
        Without regions the index of the right head (B, *size) int64, with regions a yes or no
        per head (B, K, *size) uint8; and (B, *size) uint8, 1 where the voxel is to be ignored,
        None where the scheme has no ignore value.

    Raises:
        TrainingError: the labels hold a value that the scheme does not know.
    """
    known = sorted(scheme.allowed_values)
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > known[-1]:
        raise _unknown_value(lowest if lowest < 0 else highest, known)
    ignored = None if scheme.ignore is None else (labels == scheme.ignore).to(torch.uint8)
    index = labels.long()
    if scheme.has_regions:
        table = torch.zeros((known[-1] + 1, scheme.head_count), dtype=torch.uint8)
        for head, region in enumerate(scheme.foreground):
            table[list(region.values), head] = 1
        heads = table.to(labels.device)[index].movedim(-1, 1)  # (B, K, *size)
        return heads, ignored
    lookup = torch.zeros(known[-1] + 1, dtype=torch.int64)
    for head, label in enumerate(scheme.foreground, start=1):
        lookup[label.values[0]] = head
    return lookup.to(labels.device)[index], ignored


def label_loss(logits: Tensor, target: Tensor, mask: Tensor | None, *, batch_dice: bool) -> Tensor:
    """Softmax heads: cross entropy over all voxels minus mean soft Dice of the foreground.

    Args:
        logits: (B, K, *size), head 0 is background.
        target: (B, *size) int64 head indices.
        mask: (B, *size) bool, False where nothing is learnt; None: everywhere.
        batch_dice: see `segmentation_loss`.
    """
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    entropy = functional.nll_loss(log_probabilities, target, reduction="none")
    probabilities = log_probabilities[:, 1:].exp()  # (B, K-1, *size): background left out
    one_hot = torch.stack([target == k for k in range(1, logits.shape[1])], dim=1)
    return _masked_mean(entropy, mask) - soft_dice(probabilities, one_hot, mask, batch_dice)


def region_loss(logits: Tensor, target: Tensor, mask: Tensor | None, *, batch_dice: bool) -> Tensor:
    """Sigmoid heads: binary cross entropy, mean over voxels and heads, minus mean soft Dice.

    Args:
        logits: (B, K, *size).
        target: (B, K, *size), 1 where the voxel belongs to the region.
        mask: (B, *size) bool, False where nothing is learnt; None: everywhere.
        batch_dice: see `segmentation_loss`.
    """
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    dice = soft_dice(torch.sigmoid(logits), target, mask, batch_dice)
    return _masked_mean(entropy.mean(dim=1), mask) - dice


def soft_dice(
    probabilities: Tensor, one_hot: Tensor, mask: Tensor | None, batch_dice: bool
) -> Tensor:
    """Mean over structures (and samples, unless `batch_dice`) of the soft Dice, a scalar.

    Args:
        probabilities: (B, K, *size) float32.
        one_hot: (B, K, *size), 1 where the structure is.
        mask: (B, *size) bool or None.
        batch_dice: see `segmentation_loss`.
    """
    if mask is not None:
        probabilities = probabilities * mask[:, None]
        one_hot = one_hot * mask[:, None]
    axes = tuple(range(2, probabilities.ndim))
    if batch_dice:
        axes = (0, *axes)
    common = (probabilities * one_hot).sum(axes)
    sizes = probabilities.sum(axes) + one_hot.sum(axes)
    return ((2 * common + SMOOTH) / (sizes + SMOOTH).clamp_min(1e-8)).mean()


def _masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the voxels of (B, *size) that count; 0 where none does."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp_min(1)


def _shrunk(values: Tensor, size: Sequence[int]) -> Tensor:
    """(B, *size) or (B, K, *size) whole numbers by nearest neighbour; size may be unchanged."""
    if tuple(values.shape[-len(size) :]) == tuple(size):
        return values
    channels = values if values.ndim == len(size) + 2 else values[:, None]
    small = functional.interpolate(channels.float(), list(size), mode="nearest-exact")
    return small.to(values.dtype) if channels is values else small[:, 0].to(values.dtype)


def _unknown_value(found: int, known: Sequence[int]) -> TrainingError:
    return TrainingError(
        "a label map holds a value that the data set does not declare",
        expected=", ".join(map(str, known)),
        found=str(found),
        cure="run `selfseg check` on the data set, then preprocess it again",
    )

"""The loss: soft Dice plus cross entropy, at every resolution of the decoder.

Constants and form are RECIPE's, equal to nnU-Net 2.8.1's (docs/reference/training-parity.md). All
arithmetic is in float32, whatever the network used. A batch may lie on several ranks: the loss
is a function of sums over voxels and samples, and these sums are what the ranks exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..domain.errors import TrainingError
from ..domain.labels import LabelScheme

SMOOTH = 1e-5
"""Added to numerator and denominator of Dice (RECIPE)."""

Gather = Callable[[Tensor], Tensor]
"""The sum of a tensor over ranks, with the gradient of the local part only."""


class Targets(NamedTuple):
    """What the heads should say at one resolution.

    `heads`: without regions (B, *size) int64, the index of the right head; with regions
    (B, K, *size) bool, whether the voxel belongs to the region of that head.
    `ignored`: (B, *size) bool, True where nothing is learnt; None: the scheme has no ignore value.
    """

    heads: Tensor
    ignored: Tensor | None


def alone(sums: Tensor) -> Tensor:
    """The gather of a single process: what it has is all there is."""
    return sums


def segmentation_loss(
    outputs: Sequence[Tensor],
    labels: Tensor,
    scheme: LabelScheme,
    *,
    batch_dice: bool,
    gather: Gather = alone,
) -> Tensor:
    """The training loss of the whole batch, a scalar.

    Every rank returns the same value, and the sum of the ranks' gradients is the gradient of
    a single process that has the whole batch; the parts may differ in size.

    Args:
        outputs: logits (B, K, *size) of this rank's samples, the highest resolution first.
        labels: (B, *size of the first output) label values, ignore included.
        scheme: says which values each head stands for.
        batch_dice: Dice over the whole batch as if it were one image.
        gather: sums over ranks; called once.

    Raises:
        TrainingError: the labels hold a value that the scheme does not declare.
    """
    check_values(labels, scheme)
    weights = deep_supervision_weights(len(outputs))
    used = [(weight, logits) for weight, logits in zip(weights, outputs, strict=True) if weight]
    local = []
    for _, logits in used:
        targets = head_targets(shrunk_labels(labels, logits.shape[2:]), scheme)
        local.append(loss_sums(logits, targets, batch_dice=batch_dice))
    sums = gather(torch.stack(local))  # (resolutions, S)
    # With regions and an ignore label nnU-Net adds the heads' cross entropies up, and takes
    # their mean without one. Where the ignore label comes into use, results depend on it.
    per_voxel = scheme.head_count if scheme.has_regions and scheme.ignore is None else 1
    losses = [
        weight * _loss_of(row, per_voxel, batch_dice=batch_dice)
        for (weight, _), row in zip(used, sums, strict=True)
    ]
    return torch.stack(losses).sum()


def deep_supervision_weights(count: int) -> tuple[float, ...]:
    """1, 1/2, 1/4, ... with the lowest resolution left out, normalised to sum 1."""
    weights = [0.5**i for i in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return tuple(weight / sum(weights) for weight in weights)


def check_values(labels: Tensor, scheme: LabelScheme) -> None:
    """Refuses label maps with values that the scheme does not declare.

    Raises:
        TrainingError: there is one.
    """
    known = sorted(scheme.allowed_values)
    lowest, highest = (int(value) for value in torch.aminmax(labels))
    if lowest >= 0 and highest <= known[-1]:
        declared = torch.zeros(known[-1] + 1, dtype=torch.bool)
        declared[known] = True
        if declared.all() or declared.to(labels.device)[labels.long()].all():
            return
    wrong = sorted(set(torch.unique(labels).tolist()) - set(known))
    raise TrainingError(
        "a label map holds a value that the data set does not declare",
        expected=", ".join(map(str, known)),
        found=", ".join(map(str, wrong)),
        cure="run `selfseg check` on the data set, then preprocess it again",
    )


def head_targets(labels: Tensor, scheme: LabelScheme) -> Targets:
    """What the heads should say where the label map (B, *size) has declared values.

    Ignored voxels are background without regions, and in no region otherwise.
    """
    size = max(scheme.allowed_values) + 1
    index = labels.long()
    if scheme.has_regions:
        table = torch.zeros((scheme.head_count, size), dtype=torch.bool)
        for head, region in enumerate(scheme.foreground):
            table[head, list(region.values)] = True
        table = table.to(labels.device)
        heads = torch.stack([row[index] for row in table], dim=1)  # (B, K, *size)
    else:
        lookup = torch.zeros(size, dtype=torch.int64)
        for head, label in enumerate(scheme.foreground, start=1):
            lookup[label.values[0]] = head
        heads = lookup.to(labels.device)[index]
    return Targets(heads, None if scheme.ignore is None else labels == scheme.ignore)


def shrunk_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """(B, *size) label values by nearest neighbour: the voxel at the centre, rounded up."""
    if tuple(labels.shape[1:]) == tuple(size):
        return labels
    small = functional.interpolate(labels[:, None].float(), list(size), mode="nearest-exact")
    return small[:, 0].to(labels.dtype)


def loss_sums(logits: Tensor, targets: Targets, *, batch_dice: bool) -> Tensor:
    """All that the loss at one resolution needs to know of these samples, as sums over them.

    Args:
        logits: (B, K, *size).
        targets: for the same voxels.
        batch_dice: see `segmentation_loss`.

    Returns:
        (S,) float32: cross entropy, voxels that count, and with `batch_dice` the sums of
        `_overlaps` (3 per structure), else the samples' mean Dice and their number.
    """
    logits = logits.float()
    entropy, probabilities, reference = (
        _softmax_parts(logits, targets)
        if targets.heads.ndim < logits.ndim
        else _sigmoid_parts(logits, targets)
    )
    voxels = logits[:, 0].numel() if targets.ignored is None else (~targets.ignored).sum()
    overlaps = _overlaps(probabilities, reference)  # (3, B, K)
    dice = (
        overlaps.sum(dim=1).flatten()
        if batch_dice
        else torch.stack((_dice(overlaps).mean(dim=1).sum(), entropy.new_tensor(len(logits))))
    )
    head = torch.stack((entropy, torch.as_tensor(voxels, device=logits.device).float()))
    return torch.cat((head, dice))


def _loss_of(sums: Tensor, heads_per_voxel: int, *, batch_dice: bool) -> Tensor:
    """Cross entropy minus Dice from the sums (S,) of the whole batch; 0 entropy if no voxel."""
    entropy, voxels = sums[0], sums[1]
    dice = _dice(sums[2:].reshape(3, -1)).mean() if batch_dice else sums[2] / sums[3]
    return entropy / (voxels * heads_per_voxel).clamp_min(1) - dice


def _softmax_parts(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """Summed cross entropy; probabilities and reference (B, K - 1, *size), without background."""
    heads, ignored = targets
    log_probabilities = functional.log_softmax(logits, dim=1)
    # Not `nll_loss`: on graphics cards it has no deterministic form.
    entropy = -log_probabilities.gather(1, heads[:, None])  # (B, 1, *size)
    probabilities = log_probabilities[:, 1:].exp()
    # Ignored voxels have head 0, background, and so belong to no structure.
    reference = torch.stack([heads == k for k in range(1, logits.shape[1])], dim=1)
    if ignored is not None:
        counts = ~ignored[:, None]
        entropy, probabilities = entropy * counts, probabilities * counts
    return entropy.sum(), probabilities, reference


def _sigmoid_parts(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """Binary cross entropy summed over heads; probabilities and reference (B, K, *size)."""
    heads, ignored = targets
    counts = None if ignored is None else ~ignored[:, None]  # (B, 1, *size)
    weight = None if counts is None else counts.to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, heads.to(logits.dtype), weight, reduction="sum"
    )
    probabilities = torch.sigmoid(logits)
    if counts is not None:
        probabilities = probabilities * counts  # `heads` is False there already
    return entropy, probabilities, heads


def _overlaps(probabilities: Tensor, reference: Tensor) -> Tensor:
    """(3, B, K): what both share, what is predicted, what is there."""
    axes = tuple(range(2, probabilities.ndim))
    return torch.stack(
        (
            (probabilities * reference).sum(axes),
            probabilities.sum(axes),
            reference.sum(axes).float(),
        )
    )


def _dice(overlaps: Tensor) -> Tensor:
    """Soft Dice of (3, ...) sums; 1 where a structure is neither there nor predicted."""
    common, predicted, present = overlaps
    dice: Tensor = (2 * common + SMOOTH) / (predicted + present + SMOOTH).clamp_min(1e-8)
    return dice

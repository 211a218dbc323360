"""Made logits, labels, weights and batches, the same on both sides of the training parity.

Everything follows from names and NumPy seeds, so that the golden file holds results only.
benchmarks/loss_parity.py lets nnunetv2 compute them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent / "selfseg" / "train" / "peer_losses.json"

_LABELS: dict[str, Any] = {"background": 0, "a": 1, "b": 2, "c": 3}
_REGIONS: dict[str, Any] = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "top": 3}
SCHEMES: dict[str, tuple[dict[str, Any], tuple[int, ...] | None]] = {
    "labels": (_LABELS, None),
    "labels+ignore": ({**_LABELS, "ignore": 4}, None),
    "regions": (_REGIONS, (1, 2, 3)),
    "regions+ignore": ({**_REGIONS, "ignore": 4}, (1, 2, 3)),
}
IGNORE = 4


@dataclass(frozen=True)
class LossCase:
    """One call of the loss. `blank` samples are ignored altogether."""

    scheme: str
    batch_dice: bool
    size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    samples: int = 3
    blank: int = 0

    @property
    def name(self) -> str:
        dice = "batch Dice" if self.batch_dice else "sample Dice"
        return f"{self.scheme}, {dice}, {len(self.size)}D, {self.blank} of {self.samples} blank"

    @property
    def head_count(self) -> int:
        return 3 if self.scheme.startswith("regions") else 4

    def labels(self) -> NDArray[np.int16]:
        """(B, *size); a tenth of the voxels ignored where the scheme can say so."""
        generator = _generator(f"labels {self.name}")
        labels = generator.integers(0, 4, (self.samples, *self.size)).astype(np.int16)
        labels[labels == 2] *= generator.random((labels == 2).sum()) < 0.5  # not all alike
        if self.scheme.endswith("ignore"):
            labels[generator.random(labels.shape) < 0.1] = IGNORE
            labels[: self.blank] = IGNORE
        return labels

    def logits(self) -> list[NDArray[np.float32]]:
        """(B, K, *size) per resolution, the highest first."""
        whole = np.cumprod(np.array(self.strides), axis=0)
        sizes = [tuple(np.array(self.size) // step) for step in whole]
        return [
            3 * seeded_array(f"logits {i} {self.name}", (self.samples, self.head_count, *size))
            for i, size in enumerate(sizes)
        ]


_SHAPES: tuple[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]], ...] = (
    ((6, 12, 8), ((1, 1, 1), (1, 3, 2), (2, 2, 2))),
    ((16, 8), ((1, 1), (2, 2), (2, 2))),
)
LOSS_CASES = tuple(
    LossCase(scheme, batch_dice, *shape, blank=blank)
    for scheme, batch_dice, shape, blank in product(SCHEMES, (False, True), _SHAPES, (0, 1, 3))
    if blank == 0 or scheme.endswith("ignore")
)

TINY_NETWORK: dict[str, Any] = {
    "architecture": "plain",
    "features_per_stage": (4, 8, 8),
    "kernel_sizes": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    "blocks_per_stage": (2, 2, 2),
    "convs_per_decoder_stage": (2, 2),
}
HIPPOCAMPUS_NETWORK: dict[str, Any] = {
    "architecture": "plain",
    "features_per_stage": (32, 64, 128, 256),
    "kernel_sizes": ((3, 3, 3),) * 4,
    "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    "blocks_per_stage": (2, 2, 2, 2),
    "convs_per_decoder_stage": (2, 2, 2),
}


@dataclass(frozen=True)
class Course:
    """Some steps of training: epochs x iterations, the learning rate falling by epoch."""

    name: str
    network: Mapping[str, Any]
    patch: tuple[int, ...]
    scheme: str
    batch_dice: bool = False
    channels: int = 2
    batch: int = 2
    epochs: int = 5
    iterations: int = 4

    @property
    def head_count(self) -> int:
        return 3 if self.scheme.startswith("regions") else 4

    def images_and_labels(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """(B, C, *patch) and (B, *patch): blocks of labels seen through noise."""
        generator = _generator(f"batch {step} {self.name}")
        coarse = tuple(n // 4 for n in self.patch)
        labels = generator.integers(0, 4, (self.batch, *coarse)).astype(np.int16)
        for axis in range(1, labels.ndim):
            labels = labels.repeat(4, axis=axis)
        shape = (self.batch, self.channels, *self.patch)
        images = generator.standard_normal(shape).astype(np.float32) + labels[:, None]
        if self.scheme.endswith("ignore"):
            labels[generator.random(labels.shape) < 0.3] = IGNORE
        return images, labels


COURSES = (
    Course("tiny, labels", TINY_NETWORK, (4, 16, 16), "labels"),
    Course(
        "tiny, regions and ignore, batch Dice", TINY_NETWORK, (4, 16, 16), "regions+ignore", True
    ),
)
LONG_COURSES = (
    Course(
        "hippocampus's standard network", HIPPOCAMPUS_NETWORK, (40, 56, 40), "labels", channels=1
    ),
)


def our_loss(case: LossCase) -> tuple[float, list[NDArray[np.float32]]]:
    """Value and gradients of `segmentation_loss`."""
    import torch

    from selfseg.domain.labels import LabelScheme
    from selfseg.train.loss import segmentation_loss

    outputs = [torch.from_numpy(x).requires_grad_() for x in case.logits()]
    loss = segmentation_loss(
        outputs,
        torch.from_numpy(case.labels()),
        LabelScheme.from_mapping(*SCHEMES[case.scheme]),
        batch_dice=case.batch_dice,
    )
    torch.autograd.backward(loss)
    return float(loss.detach()), [gradient_of(x) for x in outputs]


def our_course(course: Course) -> list[float]:
    """The loss before each step of our optimiser on our network."""
    import torch

    from selfseg.domain.labels import LabelScheme
    from selfseg.domain.plan import NetworkPlan, Schedule
    from selfseg.network.unet import build_network
    from selfseg.train.loss import segmentation_loss
    from selfseg.train.schedule import Position, learning_rate, make_optimiser, set_learning_rate

    network = build_network(NetworkPlan(**course.network), course.channels, course.head_count)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    values = seeded_weights(shapes)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
    network.deep_supervision = True
    scheme = LabelScheme.from_mapping(*SCHEMES[course.scheme])
    schedule = Schedule(epochs=course.epochs, iterations_per_epoch=course.iterations)
    optimiser = make_optimiser(network, schedule)
    losses = []
    for step in range(course.epochs * course.iterations):
        set_learning_rate(optimiser, learning_rate(schedule, Position(step)))
        images, labels = (torch.from_numpy(x) for x in course.images_and_labels(step))
        optimiser.zero_grad(set_to_none=True)
        loss = segmentation_loss(network(images), labels, scheme, batch_dice=course.batch_dice)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_clip)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def gradient_of(x: Any) -> NDArray[np.float32]:
    """Zeros where the loss does not look at this output at all."""
    result: NDArray[np.float32] = (
        np.zeros(x.shape, dtype=np.float32) if x.grad is None else x.grad.numpy()
    )
    return result


def seeded_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """By name and shape: He-like convolutions, norms near their start, small biases."""
    weights = {}
    for name, shape in shapes.items():
        values = seeded_array(name, tuple(shape))
        if len(shape) > 1:
            values *= np.sqrt(2 / np.prod(shape[1:], dtype=float))
        else:
            values = 0.1 * values + (1 if name.endswith("norm.weight") else 0)
        weights[name] = values.astype(np.float32)
    return weights


def seeded_array(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal numbers that depend on the name alone."""
    return _generator(name).standard_normal(shape).astype(np.float32)


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))

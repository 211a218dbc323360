"""Random errors in the cascade's input: the label map of the first stage.

Without them the second stage would learn to trust a map that is better on cases the first
stage was trained on than on new ones. Everything works on the label map itself: its one-hot
channels never overlap, for what one label gains is taken from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .policy import Augmentation

Operation = Literal["dilation", "erosion", "opening", "closing"]
BoolArray = NDArray[np.bool_]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True)
class Morphology:
    """A change of label number `label` by a ball of `radius` voxels."""

    label: int
    operation: Operation
    radius: float


@dataclass(frozen=True)
class Removal:
    """The removal of one component of label number `label` that is smaller than `below` voxels.

    `choice`, from 0 to below 1, says which of those there are.
    """

    label: int
    below: float
    choice: float


PreviousStep = Morphology | Removal


def draw_previous(
    policy: Augmentation, patch_size: Sequence[int], labels: int, rng: np.random.Generator
) -> tuple[PreviousStep, ...]:
    """Draws changes of the previous stage's label map, labels in random order.

    Args:
        policy: probabilities and ranges.
        patch_size: voxels per axis.
        labels: how many there are.
        rng: the sample's own generator.
    """

    def some() -> list[int]:
        order = rng.permutation(labels).tolist()
        return [label for label in order if rng.random() < policy.previous_per_label]

    steps: list[PreviousStep] = []
    if rng.random() < policy.previous_morphology:
        for label in some():
            operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
            steps.append(Morphology(label, operation, float(rng.uniform(*policy.previous_radius))))
    if rng.random() < policy.previous_removal:
        below = policy.component_share * float(np.prod(patch_size))
        steps += [Removal(label, below, float(rng.random())) for label in some()]
    return tuple(steps)


def change_previous(
    labels: NDArray[np.int16], steps: Sequence[PreviousStep], values: Sequence[int]
) -> NDArray[np.int16]:
    """The label map (*size) with all steps applied in order.

    Args:
        labels: what the first stage says.
        steps: what to do.
        values: of label number 0, 1, ...
    """
    if not steps:
        return labels
    labels = labels.copy()
    for step in steps:
        value = values[step.label]
        inside = labels == value
        if isinstance(step, Morphology):
            changed = apply_operation(inside, step.operation, step.radius)
            labels[inside & ~changed] = 0
            labels[changed] = value  # also where another label was
        else:
            labels[small_component(inside, step.below, step.choice)] = 0
    return labels


def apply_operation(inside: BoolArray, operation: Operation, radius: float) -> BoolArray:
    """Dilation, erosion, opening or closing of a mask by a ball; nothing comes in from outside.

    Computed in a box around the mask. nnU-Net's balls of a radius that is no whole number have
    even sizes and shift what they change by half a voxel; these are centred.

    Args:
        inside: (*size).
        operation: its name.
        radius: voxels.
    """
    if not inside.any():
        return inside
    margin = int(radius) + 2
    box = tuple(
        slice(max(found.start - margin, 0), found.stop + margin)
        for found in ndimage.find_objects(inside.astype(np.uint8))[0]
    )
    part = inside[box]
    if operation == "dilation":
        part = _dilated(part, radius)
    elif operation == "erosion":
        part = _eroded(part, radius)
    elif operation == "opening":
        part = _dilated(_eroded(part, radius), radius)
    else:
        part = _eroded(_dilated(part, radius), radius)
    result = inside.copy()
    result[box] = part
    return result


def _dilated(inside: BoolArray, radius: float) -> BoolArray:
    """A union of shifted copies, one for each row of the ball along the last axis."""
    reach = int(radius)
    rows: dict[int, list[tuple[int, ...]]] = {}  # by half their length
    for offset in product(range(-reach, reach + 1), repeat=inside.ndim - 1):
        rest = radius**2 - sum(step**2 for step in offset)
        if rest >= 0:
            rows.setdefault(isqrt(int(rest)), []).append(offset)
    result = inside.copy()
    widened = inside.copy()
    for half in range(reach + 1):
        if half > 0:
            widened[..., half:] |= inside[..., :-half]
            widened[..., :-half] |= inside[..., half:]
        for offset in rows.get(half, ()):
            to, source = [], []
            for step, n in zip(offset, inside.shape, strict=False):
                step = max(-n, min(step, n))
                to.append(slice(max(step, 0), n + min(step, 0)))
                source.append(slice(max(-step, 0), n - max(step, 0)))
            result[tuple(to)] |= widened[tuple(source)]
    return result


def _eroded(inside: BoolArray, radius: float) -> BoolArray:
    return ~_dilated(~inside, radius)


def small_component(inside: BoolArray, below: float, choice: float) -> BoolArray:
    """A mask of one connected component (neighbours over corners count); may be empty.

    Args:
        inside: (*size).
        below: components of this many voxels and more are not chosen.
        choice: from 0 to below 1, which of the others.
    """
    numbered, _ = ndimage.label(inside, ndimage.generate_binary_structure(inside.ndim, inside.ndim))
    sizes = np.bincount(numbered.ravel())[1:]
    candidates = np.flatnonzero(sizes < below) + 1
    if not len(candidates):
        return np.zeros_like(inside)
    found: BoolArray = numbered == candidates[int(choice * len(candidates))]
    return found

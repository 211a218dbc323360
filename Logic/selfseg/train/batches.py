"""Batches of training samples, made ahead of their use by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..domain.plan import ConfigurationPlan
from .augment import Augmentation, apply_spatial, change_intensities, draw_spatial, mirror
from .sampling import (
    CasesInMemory,
    Patch,
    choose_start,
    first_forced,
    generator_for,
    read_patch,
)

TRAINING_STREAM, VALIDATION_STREAM = 0, 1


@dataclass(frozen=True)
class Batch:
    """images (B, C, *patch) float32 and labels (B, *patch) int16."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class BatchMaker:
    """Makes batch number n, always the same one: a pure function of seed, stream and n.

    `augmentation` None leaves samples as they are. `foreground_share`: see `first_forced`.
    """

    cases: CasesInMemory
    configuration: ConfigurationPlan
    foreground_share: float
    augmentation: Augmentation | None
    seed: int
    stream: int

    def __call__(self, index: int) -> Batch:
        """The batch of that number."""
        rng = generator_for(self.seed, self.stream, index)
        batch_size = self.configuration.batch_size
        forced_from = first_forced(batch_size, self.foreground_share)
        patches = [self._sample(i >= forced_from, rng) for i in range(batch_size)]
        return Batch(
            torch.from_numpy(np.stack([patch.image for patch in patches])),
            torch.from_numpy(np.stack([patch.labels for patch in patches])),
        )

    def _sample(self, forced: bool, rng: np.random.Generator) -> Patch:
        """One sample with as many spatial axes as the patch size has."""
        case = self.cases[int(rng.integers(len(self.cases)))]
        size = self.configuration.patch_size
        flat = (1,) * (3 - len(size))
        start = choose_start(case, size, forced, rng)
        policy = self.augmentation
        draw = None if policy is None else draw_spatial(policy, size, rng)
        if draw is None:
            patch = _without_slice_axis(read_patch(case, start, flat + size), len(size))
        else:
            wide = draw.source_size(size)
            wide_start = [
                a - (n - m) // 2 for a, n, m in zip(start, flat + wide, flat + size, strict=True)
            ]
            source = _without_slice_axis(read_patch(case, wide_start, flat + wide), len(size))
            patch = apply_spatial(source, draw, size)
        if policy is None:
            return patch
        patch = Patch(change_intensities(patch.image, policy, rng), patch.labels, patch.nonzero)
        patch = mirror(patch, policy, rng)
        if patch.nonzero is not None:
            image = patch.image.copy()
            for channel, within in enumerate(self.configuration.normalise_in_mask):
                if within:
                    image[channel] *= patch.nonzero
            patch = Patch(image, patch.labels, patch.nonzero)
        return patch


def batches(make: Callable[[int], Batch], first: int, threads: int) -> Generator[Batch, None, None]:
    """Batches `first`, first + 1, ... without end, made ahead by threads and given in order.

    Without threads each is made when it is asked for. Close the iterator when done.
    """
    if threads == 0:
        while True:
            yield make(first)
            first += 1
    with ThreadPoolExecutor(threads, "batches", _one_thread_each) as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for index in range(first, first + 2 * threads):
                waiting.append(pool.submit(make, index))
            index = first + 2 * threads
            while True:
                batch = waiting.popleft().result()
                waiting.append(pool.submit(make, index))
                index += 1
                yield batch
        finally:
            for future in waiting:
                future.cancel()


def _one_thread_each() -> None:
    # Else every loader thread would start as many helpers of its own as there are cores.
    torch.set_num_threads(1)


def _without_slice_axis(patch: Patch, dimensions: int) -> Patch:
    """A 2D patch without its first spatial axis of length 1; a 3D patch as it is."""
    if dimensions == 3:
        return patch
    nonzero = None if patch.nonzero is None else patch.nonzero[0]
    return Patch(patch.image[:, 0], patch.labels[0], nonzero)

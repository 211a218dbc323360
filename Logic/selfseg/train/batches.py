"""Batches: places are drawn and read, samples are changed, cascade input is added.

    number n -> BatchMaker, in a worker -> finish, on the training's device -> Batch

Batch n is a pure function of the seed, the stream and n; which workers make which part of it
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..domain.errors import TrainingError
from ..domain.plan import ConfigurationPlan
from .augment.draws import SampleDraw, draw_sample
from .augment.in_loader import augment_sample, finish_previous
from .augment.on_device import RawSample, augment_batch
from .augment.policy import Augmentation, Family
from .augment.spatial import values_in
from .case_choice import ForegroundCases
from .loader import produce
from .sampling import (
    CasesInMemory,
    Patch,
    draw_place,
    first_forced,
    generator_for,
    read_patch,
)

TRAINING_STREAM, VALIDATION_STREAM = 0, 1


@dataclass(frozen=True)
class Batch:
    """images (B, C, *patch) float32 and labels (B, *patch) int16.

    In a cascade the last channels are one-hot: what the first stage says.
    """

    images: Tensor
    labels: Tensor


RawBatch = Batch | tuple[RawSample, ...]
"""What a worker makes: a batch, or samples that are still to be changed on the device."""


@dataclass(frozen=True)
class BatchMaker:
    """Makes batch number n.

    Args:
        cases: to draw from.
        configuration: patch and batch size, spacing, what is normalised within the mask.
        foreground_share: see `first_forced`.
        augmentation: None leaves samples as they are.
        seed: of everything random.
        stream: batches of different streams differ.
        foreground_cases: see `case_choice`.
        previous_values: label values of the previous stage that become channels, as
            `Plan.previous_values` gives them; empty without a cascade.
        samples: the part of every batch that is made; None: all of it.
        family: where samples are changed.
    """

    cases: CasesInMemory
    configuration: ConfigurationPlan
    foreground_share: float
    augmentation: Augmentation | None
    seed: int
    stream: int
    foreground_cases: ForegroundCases = "with_foreground"
    previous_values: tuple[int, ...] = ()
    samples: range | None = None
    family: Family = "loader"

    def __call__(self, index: int) -> RawBatch:
        """The batch of that number, on the processor; `finish` makes a `Batch` of it.

        Raises:
            TrainingError: a case has no label map of the previous stage.
        """
        numbers = range(self.configuration.batch_size) if self.samples is None else self.samples
        read = [self._read(index, number) for number in numbers]
        if self.family == "device" and self.augmentation is not None:
            return tuple(self._raw(patch, draw) for patch, draw in read if draw is not None)
        size, values = self.configuration.patch_size, self.previous_values
        return self._stacked(
            [
                patch if draw is None else augment_sample(patch, draw, size, values)
                for patch, draw in read
            ]
        )

    def finish(self, made: RawBatch, device: torch.device) -> Batch:
        """Brings what a worker made to the device, changed as drawn."""
        if isinstance(made, Batch):
            return Batch(
                made.images.to(device, non_blocking=True),
                made.labels.to(device, non_blocking=True),
            )
        images, labels, masks = augment_batch(made, self.configuration.patch_size, device)
        if masks is not None:
            for channel in self._masked_channels:
                images[:, channel] *= masks
        heads = [
            torch.stack(
                [sample.previous.to(device, non_blocking=True) == v for v in self.previous_values]
            )
            for sample in made
            if sample.previous is not None
        ]
        if heads:
            images = torch.cat([images, torch.stack(heads).float()], dim=1)
        return Batch(images, labels)

    def _read(self, index: int, number: int) -> tuple[Patch, SampleDraw | None]:
        """One sample with as many spatial axes as the patch size has, and what to do with it."""
        rng = generator_for(self.seed, self.stream, index, number)
        configuration = self.configuration
        size = configuration.patch_size
        forced = number >= first_forced(configuration.batch_size, self.foreground_share)
        case, start = draw_place(self.cases, size, forced, rng, self.foreground_cases)
        draw = None
        if self.augmentation is not None:
            draw = draw_sample(
                self.augmentation,
                size,
                configuration.spacing,
                case.channel_count,
                len(self.previous_values),
                rng,
            )
        flat = (1,) * (3 - len(size))
        source = size
        if draw is not None and draw.spatial is not None:
            source = draw.spatial.source_size(size)
        wide_start = [
            a - (n - m) // 2 for a, n, m in zip(start, flat + source, flat + size, strict=True)
        ]
        patch = _without_slice_axis(read_patch(case, wide_start, flat + source), len(size))
        if self.previous_values and patch.previous is None:
            raise TrainingError(
                f"the case {case.identifier} has no segmentation by the previous stage",
                expected="an out-of-fold prediction of every training case by "
                f"{configuration.previous_stage}",
                found="none",
                cure=f"train all folds of {configuration.previous_stage} first",
            )
        return patch, draw

    def _raw(self, patch: Patch, draw: SampleDraw) -> RawSample:
        """A sample for the device; its previous stage is finished here."""
        previous = None
        if self.previous_values and patch.previous is not None:
            size = self.configuration.patch_size
            finished = finish_previous(patch.previous, draw, size, self.previous_values)
            previous = torch.from_numpy(np.ascontiguousarray(finished))
        return RawSample(
            torch.from_numpy(patch.image),
            torch.from_numpy(patch.labels),
            () if draw.spatial is None else values_in(patch.labels),
            None if patch.nonzero is None else torch.from_numpy(patch.nonzero),
            previous,
            draw,
        )

    def _stacked(self, patches: Sequence[Patch]) -> Batch:
        """Finished samples as one batch."""
        channels, size = len(patches[0].image), patches[0].labels.shape
        images = np.empty((len(patches), channels + len(self.previous_values), *size), np.float32)
        labels = np.empty((len(patches), *size), np.int16)
        for image, label_map, patch in zip(images, labels, patches, strict=True):
            image[:channels] = patch.image
            label_map[...] = patch.labels
            if patch.nonzero is not None:
                for channel in self._masked_channels:
                    image[channel] *= patch.nonzero
            if patch.previous is not None:
                for head, value in zip(image[channels:], self.previous_values, strict=True):
                    np.equal(patch.previous, value, out=head, casting="unsafe")
        return Batch(torch.from_numpy(images), torch.from_numpy(labels))

    @property
    def _masked_channels(self) -> tuple[int, ...]:
        """Channels that are 0 outside of the mask, whatever was done to them."""
        return tuple(c for c, within in enumerate(self.configuration.normalise_in_mask) if within)


def training_batches(
    make: BatchMaker,
    first: int,
    device: torch.device,
    *,
    workers: int,
    processes: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Batch, None, None]:
    """Batches `first`, first + 1, ... without end, on the device; see `loader.produce`.

    Args:
        make: makes them.
        first: number of the first.
        device: where they are wanted.
        workers: threads or processes that make them ahead; 0: made when asked for.
        processes: whether workers are processes.
        should_stop: polled while a batch is waited for.
    """
    pinned = device.type == "cuda" and not processes
    with closing(
        produce(
            _Pinned(make) if pinned else make,
            first,
            workers=workers,
            processes=processes,
            should_stop=should_stop,
        )
    ) as stream:
        for made in stream:
            yield make.finish(made, device)


@dataclass(frozen=True)
class _Pinned:
    """Leaves batches in memory that a graphics card copies from without waiting."""

    make: BatchMaker

    def __call__(self, index: int) -> RawBatch:
        made = self.make(index)
        if isinstance(made, Batch):
            return Batch(made.images.pin_memory(), made.labels.pin_memory())
        return tuple(
            RawSample(
                sample.image.pin_memory(),
                sample.labels.pin_memory(),
                sample.values,
                None if sample.nonzero is None else sample.nonzero.pin_memory(),
                None if sample.previous is None else sample.previous.pin_memory(),
                sample.draw,
            )
            for sample in made
        )


def _without_slice_axis(patch: Patch, dimensions: int) -> Patch:
    """A 2D patch without its first spatial axis of length 1; a 3D patch as it is."""
    if dimensions == 3:
        return patch
    return Patch(
        patch.image[:, 0],
        patch.labels[0],
        None if patch.nonzero is None else patch.nonzero[0],
        None if patch.previous is None else patch.previous[0],
    )

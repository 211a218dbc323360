"""Which family of augmentation a training uses: the one that this machine runs faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch

from ...domain.errors import UsageError
from ..batches import Batch, BatchMaker, RawBatch
from .policy import Family

Result = TypeVar("Result")

LIMIT_SECONDS = 1.5
"""Once this has gone by, no further batch is timed."""

TIMED_BATCHES = 6
"""About a third of the samples are turned, which takes longest: fewer could have none."""

TIMED_SAMPLES = 4
"""Larger batches are timed in part."""

CLEARLY_FASTER = 0.8
"""The device must take at most this share of the loader's time: families that are equally fast
would be chosen by chance, and two trainings of one seed differ in their last digits."""


@dataclass(frozen=True)
class FamilyChoice:
    """The family, and a sentence for the log that says why."""

    family: Family
    reason: str


def choose_family(
    setting: Literal["auto", "loader", "device"],
    make: BatchMaker,
    device: torch.device,
    *,
    workers: int,
    clock: Callable[[], float] = time.perf_counter,
) -> FamilyChoice:
    """Takes what is set, or the clearly faster one on the same batches.

    What workers do goes on beside the training. A graphics card waits for whichever takes
    longer, its workers or itself; on the processor both have the same cores. Where both are
    about as fast it is the loader.

    Args:
        setting: "auto" times, at most about two seconds.
        make: makes batches, of either family.
        device: that trains.
        workers: threads or processes that make batches.
        clock: seconds.

    Raises:
        UsageError: another setting.
    """
    if setting in ("loader", "device"):
        where = {"loader": "in the loader", "device": "on the device"}[setting]
        return FamilyChoice(setting, f"augmentation {where}, as set")
    if setting != "auto":
        raise UsageError(
            "there is no such place for augmentation",
            expected="auto, loader or device",
            found=str(setting),
            cure="choose one of these",
        )
    if make.augmentation is None:
        return FamilyChoice("loader", "no augmentation")
    numbers = range(make.configuration.batch_size) if make.samples is None else make.samples
    share = len(numbers) / min(len(numbers), TIMED_SAMPLES)
    in_loader = replace(make, samples=numbers[:TIMED_SAMPLES], family="loader")
    on_device = replace(in_loader, family="device")

    def timed(action: Callable[[Any], Result], given: Any) -> tuple[float, Result]:
        began = clock()
        result = action(given)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - began, result

    def finish(made: RawBatch) -> Batch:
        return on_device.finish(made, device)

    loaded = raw = finished = 0.0
    began, count = clock(), 0
    finish(on_device(0))  # reads cases and starts kernels: not timed
    while count < TIMED_BATCHES and (count == 0 or clock() - began < LIMIT_SECONDS):
        with _one_thread():
            loaded += timed(in_loader, count)[0]
            seconds, made = timed(on_device, count)
        raw += seconds
        finished += timed(finish, made)[0]
        count += 1

    side_by_side = max(workers, 1)
    loader_ms = 1e3 * share * loaded / count / side_by_side
    raw_ms = 1e3 * share * raw / count / side_by_side
    finished_ms = 1e3 * share * finished / count
    device_ms = raw_ms + finished_ms if device.type == "cpu" else max(raw_ms, finished_ms)
    if device_ms < CLEARLY_FASTER * loader_ms:
        return FamilyChoice(
            "device",
            f"augmentation on the device: {device_ms:.3g} ms per batch, in the loader "
            f"{loader_ms:.3g} ms",
        )
    return FamilyChoice(
        "loader",
        f"augmentation in the loader: {loader_ms:.3g} ms per batch, on the device "
        f"{device_ms:.3g} ms",
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in the workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""The events of a training for TensorBoard, where it is installed (`selfseg[tensorboard]`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from ..domain.errors import TrainingError
from ..domain.events import EpochFinished, Event, IterationFinished, ValidationFinished


class TensorBoard:
    """Writes the numbers of events as scalars.

    Steps of the group "iteration" are iterations, those of the others epochs, both from 1.
    Structures without a score are left out.

    Args:
        folder: receives TensorBoard's files; `tensorboard --logdir` shows it.
        iterations_done: those a resumed training has behind it; later points of the part that
            is repeated are taken back.

    Raises:
        TrainingError: TensorBoard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, iterations_done: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "TensorBoard's files cannot be written",
                expected="the Python package tensorboard",
                found=str(error),
                cure='install it with `pip install "selfseg[tensorboard]"`, '
                "or train without --tensorboard",
            ) from error
        try:
            self._writer = SummaryWriter(
                str(folder), purge_step=iterations_done + 1 if iterations_done else None
            )
        except OSError as error:
            raise TrainingError(
                "TensorBoard's files cannot be written",
                expected="a folder with the right to write and enough free space",
                found=error.strerror or str(error),
                cure="free some space, or train without --tensorboard",
                path=folder,
            ) from error

    def __call__(self, event: Event) -> None:
        """Writes the event's numbers, where it is one of training."""
        match event:
            case IterationFinished():
                step = event.iteration
            case EpochFinished() | ValidationFinished():
                step = event.epoch + 1
            case _:
                return
        for name, value in scalars(event):
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what still waits."""
        self._writer.close()


def scalars(event: Event) -> Iterator[tuple[str, float | None]]:
    """The numbers of an event by the names that TensorBoard groups them under."""
    match event:
        case IterationFinished():
            yield "iteration/loss", event.loss
            yield "iteration/learning_rate", event.learning_rate
            yield "iteration/samples_per_second", event.samples_per_second
            yield "iteration/memory_gb", event.memory_bytes / 1e9
        case EpochFinished():
            yield "loss/training", event.train_loss
            yield "loss/validation", event.validation_loss
            yield "pseudo_dice/mean", event.mean_pseudo_dice
            yield "pseudo_dice/ema", event.ema_pseudo_dice
            for name, value in event.pseudo_dice.items():
                yield f"pseudo_dice_per_structure/{name}", value
            yield "epoch/seconds", event.seconds
        case ValidationFinished():
            yield "whole_cases/dice", event.mean_dice
            yield "whole_cases/hd95_mm", event.mean_hd95_mm
            yield "whole_cases/surface_dice_2mm", event.mean_surface_dice_2mm
            yield "whole_cases/composite", event.composite
            for name, value in event.dice.items():
                yield f"whole_cases_dice_per_structure/{name}", value
        case _:
            return

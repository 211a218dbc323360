"""Training one fold: the loop, from fresh weights to weights_final.safetensors.

    images (B, C, *patch), labels (B, *patch) -> logits [(B, K, *patch), (B, K, *patch / 2), ...]
    -> loss -> one step of the optimiser

Everything random is a function of the task's seed and the number of the batch, so that a
training that was stopped goes on exactly where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ..domain.errors import Cancelled, TrainingError
from ..domain.events import EpochFinished, IterationFinished, Notice, Reporter
from ..domain.labels import LabelScheme
from ..domain.plan import ConfigurationPlan, Plan, Schedule
from ..io.json_files import write_json
from ..network.devices import pick_device
from ..network.unet import UNet, build_network
from . import device as devices
from .augment import POLICIES
from .batches import TRAINING_STREAM, VALIDATION_STREAM, BatchMaker, batches
from .checkpoint import read_checkpoint, write_checkpoint, write_network
from .log import TrainingLog
from .loss import segmentation_loss
from .sampling import CasesInMemory, PatchSource
from .schedule import Position, learning_rate, make_optimiser, progress, set_learning_rate
from .validation import PseudoDice, mean_known, running_mean

CHECKPOINT, LOG, SETTINGS = "checkpoint_latest.pt", "log.jsonl", "settings.json"
WEIGHTS_FINAL, WEIGHTS_BEST = "weights_final.safetensors", "weights_best.safetensors"

CHECKPOINT_SECONDS = 60.0
"""At most about this much work is lost when the process is killed."""

CLOSING_SECONDS = 1.0
"""Kept back from a time limit for writing the last files."""


@dataclass(frozen=True)
class TrainingTask:
    """What to train.

    Args:
        plan: holds network, patch, batch and schedule.
        configuration: its name in the plan.
        fold: for names and messages.
        training: preprocessed cases to learn from.
        validation: cases for the pseudo Dice; none: the training cases, without augmentation.
        run_folder: receives checkpoint, weights, log and settings.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        seed: of everything random.
        seconds: wall clock that the whole call may take, earlier parts of a resumed training
            included; None leaves it to the plan's schedule.
        resume: go on from the run folder's checkpoint, where there is one.
    """

    plan: Plan
    configuration: str
    fold: str
    training: tuple[PatchSource, ...]
    validation: tuple[PatchSource, ...]
    run_folder: Path
    device: str = "auto"
    seed: int = 0
    seconds: float | None = None
    resume: bool = True

    @property
    def schedule(self) -> Schedule:
        """The plan's schedule under the task's time limit."""
        schedule = self.plan.schedule
        return schedule if self.seconds is None else replace(schedule, seconds=self.seconds)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result but the length, as plain values."""
        schedule = asdict(self.plan.schedule)
        del schedule["seconds"], schedule["epochs"]
        return {
            "plan": self.plan.name,
            "configuration": asdict(self.plan.configuration(self.configuration)),
            "schedule": schedule,
            "labels": self.plan.description.labels.to_mapping(),
            "fold": self.fold,
            "seed": self.seed,
            "training": [case.identifier for case in self.training],
            "validation": [case.identifier for case in self.validation],
        }


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training left: files, length, running mean of the pseudo Dice."""

    weights_final: Path
    weights_best: Path
    epochs: int
    iterations: int
    ema: float | None
    log: Path


def train(
    task: TrainingTask,
    *,
    reporter: Reporter,
    clock: Callable[[], float] = time.monotonic,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Trains until the schedule ends or the time is used.

    Args:
        task: what to train.
        reporter: is told of every iteration and epoch.
        clock: seconds; passed in for tests.
        should_stop: polled after every step; True writes a checkpoint and stops.

    Raises:
        Cancelled: `should_stop` said so; the same call goes on from there.
        TrainingError: no cases, the loss is no number, no memory, or a foreign checkpoint.
    """
    if not task.training:
        raise TrainingError(
            f"fold {task.fold} has no training case",
            expected="at least one preprocessed case",
            found="none",
            cure="check splits_final.json, or choose another fold",
        )
    device = pick_device(task.device)
    configuration = task.plan.configuration(task.configuration)
    try:
        with devices.fast_arithmetic(device):
            return _train(task, configuration, device, reporter, clock, should_stop)
    except RuntimeError as error:  # torch's way of saying that memory is full
        explained = devices.memory_error_explained(
            error, configuration.patch_size, configuration.batch_size
        )
        raise explained from error


def _train(
    task: TrainingTask,
    configuration: ConfigurationPlan,
    device: torch.device,
    reporter: Reporter,
    clock: Callable[[], float],
    should_stop: Callable[[], bool],
) -> TrainingResult:
    started = clock()
    schedule, scheme = task.schedule, task.plan.description.labels

    # --- network, optimiser, arithmetic
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network: UNet = build_network(
            configuration.network,
            task.plan.input_channels(task.configuration),
            scheme.head_count,
        ).to(device)
    network.deep_supervision = True
    network.train()
    optimiser = make_optimiser(network, schedule)
    half = devices.choose_autocast(task.plan.autocast, device)
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)

    # --- where an earlier run stopped
    iteration, used, rate, last_saved = 0, 0.0, 0.0, started
    ema: float | None = None
    best: float | None = None
    losses: list[float] = []  # of the present epoch
    folder = task.run_folder
    settings_hash = _hash(task.settings)
    log_position = 0
    if task.resume and (folder / CHECKPOINT).is_file():
        state = read_checkpoint(folder / CHECKPOINT, settings_hash)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        iteration, used = state["iteration"], state["seconds"]
        ema, best, losses = state["ema"], state["best"], state["losses"]
        log_position = state["log_position"]
        reporter(Notice(f"going on after iteration {iteration} ({used:.0f} s of training)"))
    log = TrainingLog(folder / LOG, log_position)
    write_json(folder / SETTINGS, task.settings, schema="selfseg.training-settings/1")

    def save() -> None:
        state = {
            "settings_hash": settings_hash,
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "scaler": scaler.state_dict(),
            "iteration": iteration,
            "seconds": used + clock() - started,
            "ema": ema,
            "best": best,
            "losses": losses,
            "log_position": log.position,
        }
        write_checkpoint(folder / CHECKPOINT, state)

    def write(name: str) -> None:
        write_network(folder / name, network, _metadata(task, iteration, ema))

    # --- data
    watched = task.validation or task.training
    if not task.validation:
        reporter(Notice("no validation cases: the pseudo Dice looks at the training cases"))
    limit = devices.cache_limit()
    maker = BatchMaker(
        CasesInMemory(task.training, limit),
        configuration,
        schedule.foreground_share,
        POLICIES[schedule.augmentation],
        task.seed,
        TRAINING_STREAM,
    )
    look = replace(
        maker, cases=CasesInMemory(watched, limit), augmentation=None, stream=VALIDATION_STREAM
    )

    # --- the loop
    total = schedule.epochs * schedule.iterations_per_epoch
    slowest = 0.0  # seconds of the slowest recent step
    look_seconds: float | None = None  # of the last look at unseen patches
    epoch_started, epoch_first = started, iteration
    with closing(batches(maker, iteration, devices.loader_threads(device))) as stream:
        while True:
            step_started = clock()
            elapsed = used + step_started - started
            finished = iteration >= total
            if schedule.seconds is not None and iteration > 0:
                guess = schedule.validation_iterations * slowest
                left = schedule.seconds - elapsed - CLOSING_SECONDS
                finished |= left < slowest + (guess if look_seconds is None else look_seconds)

            # --- end of an epoch: look at unseen patches, remember the best, save
            if losses and (finished or len(losses) >= schedule.iterations_per_epoch):
                validation_loss, dice = _look(network, look, device, half, scheme, schedule)
                mean_dice = mean_known(list(dice.values()))
                ema = running_mean(ema, mean_dice)
                epoch = math.ceil(iteration / schedule.iterations_per_epoch) - 1
                now = clock()
                look_seconds = now - step_started
                over = progress(schedule, Position(iteration, used + now - started))
                samples = (iteration - epoch_first) * configuration.batch_size
                event = EpochFinished(
                    configuration=task.configuration,
                    fold=task.fold,
                    epoch=epoch,
                    epochs=min(schedule.epochs, max(epoch + 1, round((epoch + 1) / over))),
                    train_loss=sum(losses) / len(losses),
                    validation_loss=validation_loss,
                    pseudo_dice=dice,
                    mean_pseudo_dice=mean_dice,
                    ema_pseudo_dice=ema,
                    learning_rate=rate,
                    samples_per_second=samples / max(now - epoch_started, 1e-9),
                    seconds=now - epoch_started,
                    eta_seconds=0.0 if finished else (used + now - started) * (1 / over - 1),
                    memory_bytes=devices.peak_memory(device),
                )
                log.write(event)
                losses, epoch_started, epoch_first = [], now, iteration
                if best is None or (ema is not None and ema > best):
                    best = ema
                    write(WEIGHTS_BEST)
                if finished or now - last_saved >= CHECKPOINT_SECONDS:
                    save()
                    last_saved = now
                reporter(event)
            if finished:
                break

            # --- one step
            rate = learning_rate(schedule, Position(iteration, elapsed))
            set_learning_rate(optimiser, rate)
            batch = next(stream)
            images, labels = batch.images.to(device), batch.labels.to(device)
            optimiser.zero_grad(set_to_none=True)
            with devices.autocast(device, half):
                outputs = network(images)  # [(B, K, *patch), (B, K, *patch / 2), ...]
            loss = segmentation_loss(outputs, labels, scheme, batch_dice=configuration.batch_dice)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise _not_finite(value, iteration, rate)
            torch.autograd.backward(scaler.scale(loss))
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(network.parameters(), schedule.gradient_clip)
            scaler.step(optimiser)
            scaler.update()
            iteration += 1
            losses.append(value)
            seconds = clock() - step_started
            slowest = max(seconds, 0.9 * slowest)
            reporter(IterationFinished(iteration, value, rate, seconds))
            if should_stop():
                save()
                raise _cancelled(iteration)

    write(WEIGHTS_FINAL)
    epochs = math.ceil(iteration / schedule.iterations_per_epoch)
    return TrainingResult(
        folder / WEIGHTS_FINAL, folder / WEIGHTS_BEST, epochs, iteration, ema, log.path
    )


@torch.no_grad()
def _look(
    network: UNet,
    make: BatchMaker,
    device: torch.device,
    half: torch.dtype | None,
    scheme: LabelScheme,
    schedule: Schedule,
) -> tuple[float, dict[str, float | None]]:
    """Loss and pseudo Dice on the same patches every time, so that epochs can be compared."""
    network.eval()
    total, counts = 0.0, PseudoDice(scheme)
    threads = devices.loader_threads(device)
    with closing(batches(make, 0, threads)) as stream:
        for batch in islice(stream, schedule.validation_iterations):
            images, labels = batch.images.to(device), batch.labels.to(device)
            with devices.autocast(device, half):
                outputs = network(images)
            loss = segmentation_loss(
                outputs, labels, scheme, batch_dice=make.configuration.batch_dice
            )
            total += float(loss)
            counts.add(outputs[0], labels)
    network.train()
    return total / max(schedule.validation_iterations, 1), counts.scores()


def _hash(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _metadata(task: TrainingTask, iteration: int, ema: float | None) -> dict[str, str]:
    return {
        "plan": task.plan.name,
        "configuration": task.configuration,
        "fold": task.fold,
        "iterations": str(iteration),
        "ema_pseudo_dice": "" if ema is None else f"{ema:.6f}",
    }


def _not_finite(value: float, iteration: int, rate: float) -> TrainingError:
    return TrainingError(
        "the training has diverged",
        expected="a loss that is a number",
        found=f"{value} in iteration {iteration + 1} at a learning rate of {rate:.2g}",
        cure="run `selfseg check` on the data set; if that is clean, lower learning_rate in the "
        'plan or set its autocast to "off"',
    )


def _cancelled(iteration: int) -> Cancelled:
    return Cancelled(
        f"training was stopped after iteration {iteration}",
        cure="run the same command again, and it goes on from there",
    )

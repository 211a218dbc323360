"""Training one fold: the loop, from fresh weights to weights_final.safetensors.

    images (B, C, *patch), labels (B, *patch) -> logits [(B, K, *patch), (B, K, *patch / 2), ...]
    -> loss -> one step of the optimiser

Everything random is a function of the task's seed and the numbers of batch and sample, so that
a training that was stopped goes on exactly where it was, in any number of processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch

from ..domain.errors import Cancelled, ProjectError, TrainingError
from ..domain.events import EpochFinished, IterationFinished, Notice, Reporter
from ..domain.plan import ConfigurationPlan
from ..io.atomic_files import remove_unfinished
from ..io.json_files import write_json
from ..network.channels_last import order_weights
from ..network.unet import UNet, build_network
from . import device as devices
from .augment import POLICIES
from .augment.choose import choose_family
from .batches import TRAINING_STREAM, VALIDATION_STREAM, BatchMaker, training_batches
from .checkpoint import (
    TrainingState,
    check_room,
    read_checkpoint,
    write_checkpoint,
    write_network,
)
from .finetune import parameter_groups, start_from
from .ranks import Ranks, join_ranks
from .record import LOG, RunRecord, SilentRecord
from .sampling import CasesInMemory
from .schedule import Position, learning_rate, make_optimiser, progress, set_learning_rate
from .step import Stepper, choose_micro_batch
from .task import (
    CHECKPOINT,
    SETTINGS,
    SETTINGS_SCHEMA,
    WEIGHTS_BEST,
    WEIGHTS_FINAL,
    TrainingResult,
    TrainingTask,
)
from .validation import look_at_patches, mean_known, running_mean
from .watch import CollapseAlarm, EarlyStopping

CLOSING_SECONDS = 1.0
"""Kept back from a time limit for writing the last files."""

BAD_STEPS = 5
"""So many steps in a row without a finite loss end the training."""


def train(
    task: TrainingTask,
    *,
    reporter: Reporter,
    clock: Callable[[], float] = time.monotonic,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Trains until the schedule ends, the time is used, or nothing gets better any more.

    In a process that torchrun started, trains together with the others.

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
    configuration = task.plan.configuration(task.configuration)
    try:
        with (
            join_ranks(task.device) as ranks,
            devices.fast_arithmetic(ranks.device, deterministic=task.deterministic),
        ):
            return _train(task, configuration, ranks, ranks.reporter(reporter), clock, should_stop)
    except RuntimeError as error:  # torch's way of saying that memory is full
        explained = devices.memory_error_explained(
            error, configuration.patch_size, configuration.batch_size
        )
        raise explained from error


def _train(
    task: TrainingTask,
    configuration: ConfigurationPlan,
    ranks: Ranks,
    reporter: Reporter,
    clock: Callable[[], float],
    should_stop: Callable[[], bool],
) -> TrainingResult:
    started = clock()
    device, schedule, folder = ranks.device, task.schedule, task.run_folder
    scheme = task.plan.description.labels
    batch_size, per_epoch = configuration.batch_size, schedule.iterations_per_epoch
    half = devices.choose_autocast(task.plan.autocast, device)
    cache = devices.cache_limit() / ranks.on_this_machine
    micro_batch = choose_micro_batch(task, ranks, half, cache, reporter)

    # --- network, optimiser, arithmetic
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        network: UNet = build_network(
            configuration.network,
            task.plan.input_channels(task.configuration),
            scheme.head_count,
        )
    if task.start is not None:
        reporter(start_from(network, task.plan, task.configuration, task.start))
    network = network.to(device)
    if device.type == "cpu" and half is torch.bfloat16:
        order_weights(network)
    network.deep_supervision = True
    network.train()
    groups = None if task.start is None else parameter_groups(network)
    optimiser = make_optimiser(network, schedule, groups)
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)

    # --- where an earlier run stopped
    state = TrainingState()
    parts = {"network": network, "optimiser": optimiser, "scaler": scaler}
    if task.resume and (folder / CHECKPOINT).is_file():
        state = read_checkpoint(folder / CHECKPOINT, task.settings_hash, parts)
        text = f"going on after iteration {state.iteration} ({state.seconds:.0f} s of training)"
        reporter(Notice(text))
    used = state.seconds  # by earlier runs
    if ranks.leads:
        remove_unfinished(folder)
        check_room(folder, network)
        write_json(folder / SETTINGS, task.settings, schema=SETTINGS_SCHEMA)

    # --- data
    watched = task.validation or task.training
    if not task.validation:
        reporter(Notice("no validation cases: the pseudo Dice looks at the training cases"))
    workers = devices.loader_threads(device, ranks.cores)
    make = BatchMaker(
        CasesInMemory(task.training, cache),
        configuration,
        schedule.foreground_share,
        POLICIES[schedule.augmentation],
        task.seed,
        TRAINING_STREAM,
        foreground_cases=schedule.foreground_cases,
        previous_values=task.plan.previous_values(task.configuration),
        samples=None if ranks.world_size == 1 else ranks.share(batch_size),
    )
    if state.family is None:
        wanted = task.augmentation_family
        if task.deterministic and wanted == "auto":  # the faster one may be another next time
            wanted = "loader" if device.type == "cpu" else "device"
        choice = choose_family(wanted, make, device, workers=workers)
        state.family = "device" if ranks.agree(choice.family == "device") else "loader"
        reporter(Notice(choice.reason))
    make = replace(make, family=state.family)
    look = replace(
        make, cases=CasesInMemory(watched, cache), augmentation=None, stream=VALIDATION_STREAM
    )

    # --- what watches over it
    held = {structure for structures in make.cases.structures for structure in structures}
    alarm = CollapseAlarm(
        [label.name for label in scheme.foreground if label.values in held],
        by_structure=schedule.foreground_cases == "by_structure",
    )
    stopping = EarlyStopping(validates=task.validator is not None)
    if state.alarm:
        alarm.load(state.alarm)
        stopping.load(state.stopping)

    step = Stepper(
        ranks.summing_gradients(network),
        optimiser,
        scaler,
        scheme,
        configuration.batch_dice,
        half,
        schedule.gradient_clip,
        ranks,
        batch_size,
        micro_batch,
        reporter,
    )
    tell: RunRecord | SilentRecord = SilentRecord()
    if ranks.leads:
        tell = RunRecord(
            folder,
            title=f"{task.configuration}, fold {task.fold}",
            reporter=reporter,
            position=state.log_position,
            iterations_done=state.iteration,
            tensorboard=task.tensorboard,
            clock=clock,
        )

    def write(name: str) -> None:
        if ranks.leads:
            write_network(folder / name, network, _metadata(task, state))

    def save() -> None:
        if ranks.leads:
            state.seconds = used + clock() - started
            state.alarm, state.stopping = alarm.state(), stopping.state()
            state.log_position = tell.position
            write_checkpoint(folder / CHECKPOINT, task.settings_hash, state, parts)

    def keep(action: Callable[[], None]) -> None:
        """A full disk must not end a training of days: the next epoch tries again."""
        try:
            action()
        except ProjectError as error:
            text = f"{error.what} ({error.found}); the training goes on, please {error.cure}"
            tell(Notice(text, level="warning"))

    # --- the loop
    total = schedule.epochs * per_epoch
    slowest = 0.0  # seconds of the slowest recent step
    look_seconds: float | None = None  # of the last look at unseen patches
    memory, bad_steps = devices.peak_memory(device), 0
    epoch_started, epoch_first = started, state.iteration
    # Several ranks stop together, after a step: one that stopped here would leave the others.
    waiting_stop = should_stop if ranks.world_size == 1 else (lambda: False)
    stream = training_batches(
        make, state.iteration, device, workers=workers, should_stop=waiting_stop
    )
    with tell, closing(stream):
        while True:
            step_started = clock()
            elapsed = used + step_started - started
            finished = state.iteration >= total or state.stopped
            if schedule.seconds is not None and state.iteration > 0:
                guess = schedule.validation_iterations * slowest
                left = schedule.seconds - elapsed - CLOSING_SECONDS - tell.closing_seconds
                finished |= left < slowest + (guess if look_seconds is None else look_seconds)
            elapsed, ends = ranks.same(elapsed, float(finished))
            finished = ends > 0

            # --- end of an epoch: look at unseen cases, remember the best, save
            at_end = finished or state.iteration % per_epoch == 0
            if at_end and state.iteration > state.looked_at:
                epoch = math.ceil(state.iteration / per_epoch) - 1
                validation_loss, dice = look_at_patches(
                    network,
                    look,
                    schedule.validation_iterations,
                    scheme,
                    half,
                    ranks,
                    workers=workers,
                )
                look_seconds = clock() - step_started
                validated = None
                if task.validator is not None and ranks.leads and task.validator.due(epoch):
                    left = (schedule.seconds or math.inf) - (used + clock() - started)
                    left -= CLOSING_SECONDS + tell.closing_seconds
                    validated = task.validator(network, epoch, left)
                if ranks.any(should_stop()):
                    save()  # with the losses: this epoch's end comes again
                    raise _cancelled(state.iteration)
                mean_dice = mean_known(list(dice.values()))
                state.ema = running_mean(state.ema, mean_dice)
                memory, now = devices.peak_memory(device), clock()
                over = progress(schedule, Position(state.iteration, used + now - started))
                samples = (state.iteration - epoch_first) * batch_size
                event = EpochFinished(
                    configuration=task.configuration,
                    fold=task.fold,
                    epoch=epoch,
                    epochs=min(schedule.epochs, max(epoch + 1, round((epoch + 1) / over))),
                    train_loss=sum(state.losses) / max(len(state.losses), 1),
                    validation_loss=validation_loss,
                    pseudo_dice=dice,
                    mean_pseudo_dice=mean_dice,
                    ema_pseudo_dice=state.ema,
                    learning_rate=state.rate,
                    samples_per_second=samples / max(now - epoch_started, 1e-9),
                    seconds=now - epoch_started,
                    eta_seconds=0.0 if finished else (used + now - started) * (1 / over - 1),
                    memory_bytes=memory,
                )
                tell(event)
                for further in (validated, alarm.update(event)):
                    if further is not None:
                        tell(further)
                state.losses, state.looked_at = [], state.iteration
                epoch_started, epoch_first = now, state.iteration
                verdict = stopping.update(event, validated)
                improved = state.best is None or (state.ema or 0.0) > state.best
                if task.early_stopping:
                    improved = verdict.is_best
                    state.stopped = ranks.agree(verdict.stop)
                if improved:
                    state.best = state.ema
                    keep(lambda: write(WEIGHTS_BEST))
                if state.stopped:
                    tell(stopping.notice())
                if bad_steps == 0:  # else the checkpoint from before is the better one
                    keep(save)
            if finished or state.stopped:
                break

            # --- one step
            state.rate = learning_rate(schedule, Position(state.iteration, elapsed))
            set_learning_rate(optimiser, state.rate)
            try:
                batch = next(stream)
            except Cancelled:
                save()
                raise _cancelled(state.iteration) from None
            loss = step(batch)
            bad_steps = 0 if math.isfinite(loss) else bad_steps + 1
            if bad_steps == BAD_STEPS:
                raise _diverged(loss, state)
            if bad_steps:
                text = f"iteration {state.iteration + 1} has a loss of {loss}: left out"
                tell(Notice(text, level="warning"))
            state.iteration += 1
            state.losses += [loss] if math.isfinite(loss) else []
            now = clock()
            seconds = now - step_started
            slowest = max(seconds, 0.9 * slowest)
            over = progress(schedule, Position(state.iteration, used + now - started))
            tell(
                IterationFinished(
                    state.iteration,
                    loss,
                    state.rate,
                    seconds,
                    batch_size / max(seconds, 1e-9),
                    (used + now - started) * (1 / over - 1),
                    memory,
                    per_epoch,
                )
            )
            if ranks.any(should_stop()):
                save()
                raise _cancelled(state.iteration)

    # Last, when log and picture are whole: with the final weights the training is over.
    if not (folder / WEIGHTS_BEST).is_file():
        write(WEIGHTS_BEST)
    write(WEIGHTS_FINAL)
    return TrainingResult(
        folder / WEIGHTS_FINAL,
        folder / WEIGHTS_BEST,
        math.ceil(state.iteration / per_epoch),
        state.iteration,
        state.ema,
        folder / LOG,
    )


def _metadata(task: TrainingTask, state: TrainingState) -> dict[str, str]:
    return {
        "plan": task.plan.name,
        "configuration": task.configuration,
        "fold": task.fold,
        "iterations": str(state.iteration),
        "ema_pseudo_dice": "" if state.ema is None else f"{state.ema:.6f}",
    }


def _diverged(value: float, state: TrainingState) -> TrainingError:
    return TrainingError(
        "the training has diverged",
        expected="a loss that is a number",
        found=f"{value} in {BAD_STEPS} iterations up to {state.iteration + 1}, at a learning rate "
        f"of {state.rate:.2g}",
        cure="run `selfseg check` on the data set; if that is clean, lower learning_rate in the "
        'plan or set its autocast to "off". The last checkpoint is from before',
    )


def _cancelled(iteration: int) -> Cancelled:
    return Cancelled(
        f"training was stopped after iteration {iteration}",
        cure="run the same command again, and it goes on from there",
    )

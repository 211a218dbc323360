"""What to train, and what a training leaves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ..domain.plan import Plan, Schedule
from ..domain.starting_point import StartingPoint
from .finetune import digest
from .sampling import PatchSource
from .watch import Validator

CHECKPOINT, SETTINGS = "checkpoint_latest.pt", "settings.json"
SETTINGS_SCHEMA = "selfseg.training-settings/1"
WEIGHTS_FINAL, WEIGHTS_BEST = "weights_final.safetensors", "weights_best.safetensors"


@dataclass(frozen=True)
class TrainingTask:
    """What to train.

    Args:
        plan: holds network, patch, batch and schedule.
        configuration: its name in the plan.
        fold: for names and messages.
        training: preprocessed cases to learn from.
        validation: cases for the pseudo Dice; none: the training cases, without augmentation.
        run_folder: receives checkpoint, weights, log, settings and picture.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        seed: of everything random.
        seconds: wall clock that the whole call may take, earlier parts of a resumed training
            included; None leaves it to the plan's schedule.
        resume: go on from the run folder's checkpoint, where there is one.
        deterministic: only arithmetic that gives the same numbers every time. A training of a
            number of epochs then ends in the same weights, bit for bit, however often it was
            stopped; on the processor with the same number of threads.
        augmentation_family: "loader", "device", or "auto" for the faster of the two here.
        validator: scores whole cases while training; None: patches only.
        early_stopping: end where the score has not improved for long (`watch.EarlyStopping`).
        start: trained weights to begin with; None draws them.
        micro_batch: samples that go through the network at a time; None: as many as fit.
        tensorboard: also write what TensorBoard shows.
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
    deterministic: bool = False
    augmentation_family: Literal["auto", "loader", "device"] = "auto"
    validator: Validator | None = None
    early_stopping: bool = False
    start: StartingPoint | None = None
    micro_batch: int | None = None
    tensorboard: bool = False

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
            "deterministic": self.deterministic,
            "threads": torch.get_num_threads() if self.deterministic else None,
            "start": digest(self.start),
            "early_stopping": self.early_stopping,
            "training": [case.identifier for case in self.training],
            "validation": [case.identifier for case in self.validation],
        }

    @property
    def settings_hash(self) -> str:
        """SHA-256 of `settings`, by which a checkpoint knows its training."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training left: files, length, running mean of the pseudo Dice."""

    weights_final: Path
    weights_best: Path
    epochs: int
    iterations: int
    ema: float | None
    log: Path

"""What a training needs to go on, and the weights it leaves."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..domain.errors import ProjectError, TrainingError
from ..io.atomic_files import written_atomically
from ..io.weights import write_weights
from .augment.policy import Family

SCHEMA = "selfseg.checkpoint/2"

ROOM_FACTOR = 8
"""Bytes wanted on the disk, as a multiple of the weights: two checkpoints (weights and momentum
each, the old one stays until the new one is whole), the best and the final weights twice."""


@dataclass
class TrainingState:
    """How far a training is: plain numbers, all that a checkpoint holds beside tensors.

    `looked_at` is the iteration after which the last epoch ended, `losses` are those since then,
    `rate` is the last learning rate, `family` where samples are augmented, `stopped` whether early
    stopping has ended it. There is no state of random numbers: they follow from
    seed and iteration.
    """

    iteration: int = 0
    seconds: float = 0.0
    ema: float | None = None
    best: float | None = None
    looked_at: int = 0
    losses: list[float] = field(default_factory=list)
    rate: float = 0.0
    family: Family | None = None
    stopped: bool = False
    log_position: int = 0
    alarm: dict[str, Any] = field(default_factory=dict)
    stopping: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(
    path: Path, settings_hash: str, state: TrainingState, parts: Mapping[str, Any]
) -> None:
    """Writes a training so that `path` is never half written.

    Args:
        path: the file.
        settings_hash: of the training that will go on from here.
        state: how far it is.
        parts: whatever has a `state_dict`, by name.

    Raises:
        ProjectError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    dicts = {name: part.state_dict() for name, part in parts.items()}
    plain = {"schema": SCHEMA, "settings_hash": settings_hash, "state": vars(state)}
    torch.save({**plain, **dicts}, buffer)
    with written_atomically(path) as part:
        part.write_bytes(buffer.getbuffer())


def read_checkpoint(path: Path, settings_hash: str, parts: Mapping[str, Any]) -> TrainingState:
    """Reads what `write_checkpoint` wrote into `parts`; nothing in the file is executed.

    Args:
        path: the file.
        settings_hash: must be that of the training which wrote it.
        parts: what is given its state back, by name.

    Raises:
        TrainingError: damaged, of another version, or of a training with other settings.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(saved, dict) or saved.get("schema") != SCHEMA:
        raise TrainingError(
            "the checkpoint was written by another version",
            expected=SCHEMA,
            found=str(saved.get("schema")) if isinstance(saved, dict) else "something else",
            cure="delete it to begin again, or use the version that wrote it",
            path=path,
        )
    if saved.get("settings_hash") != settings_hash:
        raise TrainingError(
            "the training in this folder began with other settings",
            expected="the same plan, fold, cases, seed and options as before",
            found="a checkpoint of different ones",
            cure="delete the folder to train anew, or give the former settings",
            path=path,
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return TrainingState(**saved["state"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


def check_room(folder: Path, network: torch.nn.Module) -> None:
    """Makes sure before the first step that the disk will hold what a training writes.

    Raises:
        ProjectError: it will not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    free = shutil.disk_usage(folder).free
    if free < ROOM_FACTOR * weights:
        raise ProjectError(
            "the disk is too full for a training",
            expected=f"{ROOM_FACTOR * weights / 1e6:.0f} MB for checkpoints and weights",
            found=f"{free / 1e6:.0f} MB free",
            cure="free some space, or choose a project folder on another disk",
            path=folder,
        )


def weight_arrays(network: torch.nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """The network's learnt numbers as float32 NumPy arrays, by name."""
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous().numpy().copy()
        for name, tensor in network.state_dict().items()
    }


def write_network(path: Path, network: torch.nn.Module, metadata: Mapping[str, str]) -> None:
    """Writes the network's weights as safetensors."""
    write_weights(path, weight_arrays(network), dict(metadata))


def _damaged(path: Path, found: str) -> TrainingError:
    return TrainingError(
        "the checkpoint cannot be read",
        expected="a checkpoint of selfseg",
        found=found.splitlines()[0] if found else "an empty file",
        cure="delete it, and the training begins again from its start",
        path=path,
    )

"""What a training needs to go on, and the weights it leaves."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..domain.errors import TrainingError
from ..io.atomic_files import written_atomically
from ..io.weights import write_weights

SCHEMA = "selfseg.checkpoint/1"


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes state dicts and plain values so that `path` is never half written.

    Raises:
        ProjectError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    with written_atomically(path) as part:
        part.write_bytes(buffer.getbuffer())


def read_checkpoint(path: Path, settings_hash: str) -> dict[str, Any]:
    """Reads what `write_checkpoint` wrote; nothing in the file is executed.

    Args:
        path: the file.
        settings_hash: must be that of the training which wrote it.

    Raises:
        TrainingError: damaged, of another version, or of a training with other settings.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            "the checkpoint cannot be read",
            expected="a checkpoint of selfseg",
            found=str(error).splitlines()[0] if str(error) else "an empty file",
            cure="delete it, and the training begins again from its start",
            path=path,
        ) from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise TrainingError(
            "the checkpoint was written by another version",
            expected=SCHEMA,
            found=str(state.get("schema")) if isinstance(state, dict) else "something else",
            cure="delete it to begin again, or use the version that wrote it",
            path=path,
        )
    if state["settings_hash"] != settings_hash:
        raise TrainingError(
            "the training in this folder began with other settings",
            expected="the same plan, fold, cases and seed as before",
            found="a checkpoint of different ones",
            cure="delete the folder to train anew, or give the former settings",
            path=path,
        )
    return dict(state)


def weight_arrays(network: torch.nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    """The network's learnt numbers as float32 NumPy arrays, by name."""
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous().numpy().copy()
        for name, tensor in network.state_dict().items()
    }


def write_network(path: Path, network: torch.nn.Module, metadata: Mapping[str, str]) -> None:
    """Writes the network's weights as safetensors."""
    write_weights(path, weight_arrays(network), dict(metadata))

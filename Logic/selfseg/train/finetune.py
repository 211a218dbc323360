"""Beginning with trained weights of another project in place of fresh ones.

The network must be the same; channels and structures may differ. What differs keeps its fresh
weights, or the mean of what is known, and the rest is taken over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from ..domain.errors import ModelError, TrainingError
from ..domain.events import Notice
from ..domain.plan import NetworkPlan, Plan
from ..domain.starting_point import StartingPoint, head_names, input_names, known_inputs
from ..io.weights import read_weights
from ..network.unet import UNet

ENCODER_SCALE = 0.5
"""The learning rate of a trained encoder, as a share of the decoder's."""


def start_from(network: UNet, plan: Plan, configuration: str, start: StartingPoint) -> Notice:
    """Puts trained weights into a fresh network.

    Heads are taken over by the name of their structure, the first convolution's inputs by the
    name of their channel; a new channel gets the mean of the known ones, a new structure keeps
    its fresh head.

    Args:
        network: freshly made; new heads keep its weights, so its seed decides them.
        plan: of the new training.
        configuration: its name in that plan.
        start: where the weights come from.

    Returns:
        What was taken over and what is new.

    Raises:
        TrainingError: the networks differ in more than channels and structures.
        ModelError: the weights cannot be read, or hold values that are not numbers.
    """
    _check_same_network(plan.configuration(configuration).network, start)
    arrays, _ = read_weights(start.weights, check_finite=True)
    trained = {name: torch.from_numpy(array) for name, array in arrays.items()}
    fresh = network.state_dict()

    channels = input_names(plan, configuration)
    known_channels = input_names(start.plan, start.configuration)
    first = _first_convolution(network)
    taken = known_inputs(channels, known_channels)
    if first in trained and trained[first].shape[1] == len(known_channels):
        trained[first] = with_inputs(trained[first], taken)

    heads = head_names(plan.description.labels)
    known_heads = head_names(start.labels)
    same_kind = plan.description.labels.has_regions == start.labels.has_regions
    rows = [known_heads.index(n) if same_kind and n in known_heads else None for n in heads]
    for name in (name for name in fresh if name.startswith("heads.")):
        if name in trained and len(trained[name]) == len(known_heads):
            trained[name] = with_heads(fresh[name], trained[name], rows)

    _check_shapes(fresh, trained, start)
    network.load_state_dict({name: trained[name].to(fresh[name].dtype) for name in fresh})
    return Notice(
        _summary(
            start.source,
            structures=[n for n, row in zip(heads, rows, strict=True) if row is not None],
            new_structures=[n for n, row in zip(heads, rows, strict=True) if row is None],
            new_channels=[n for n, c in zip(channels, taken, strict=True) if c is None],
            left_channels=[n for i, n in enumerate(known_channels) if i not in taken],
        )
    )


def parameter_groups(network: UNet, encoder_scale: float = ENCODER_SCALE) -> list[dict[str, Any]]:
    """Encoder and decoder apart, for layer-wise learning rates.

    Args:
        network: whose parameters are to be learnt.
        encoder_scale: the encoder's learning rate as a share of the schedule's.

    Returns:
        For the optimiser; each group's "scale" is what `set_learning_rate` multiplies with.
    """
    encoder = [*network.stem.parameters(), *network.encoder.parameters()]
    known = {id(parameter) for parameter in encoder}
    decoder = [p for p in network.parameters() if id(p) not in known]
    groups = [
        {"params": encoder, "scale": encoder_scale},
        {"params": decoder, "scale": 1.0},
    ]
    return [group for group in groups if group["params"]]


def digest(start: StartingPoint | None) -> str | None:
    """SHA-256 of the weights, by which a checkpoint knows what its training began with.

    Raises:
        ModelError: the file cannot be read.
    """
    if start is None:
        return None
    try:
        return hashlib.sha256(start.weights.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(
            "the weights to start from cannot be read",
            expected="a safetensors file",
            found=error.strerror or str(error),
            cure="check --start-from",
            path=start.weights,
        ) from error


def with_inputs(weight: Tensor, taken: Sequence[int | None]) -> Tensor:
    """Weights (out, known channels, *kernel) for other channels; new ones get the mean."""
    mean = weight.mean(dim=1)
    return torch.stack([mean if i is None else weight[:, i] for i in taken], dim=1)


def with_heads(fresh: Tensor, trained: Tensor, rows: Sequence[int | None]) -> Tensor:
    """Weights or biases (heads, ...): trained rows where there are some, else the fresh ones."""
    return torch.stack([fresh[i] if r is None else trained[r] for i, r in enumerate(rows)])


def _first_convolution(network: UNet) -> str:
    """The name of the weights that see the input channels."""
    return next(
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    )


def _check_same_network(wanted: NetworkPlan, start: StartingPoint) -> None:
    for field in fields(NetworkPlan):
        ours, theirs = getattr(wanted, field.name), getattr(start.network, field.name)
        if ours != theirs:
            raise _other_network(start, f"{field.name} {theirs}", f"{field.name} {ours}")


def _check_shapes(
    fresh: Mapping[str, Tensor], trained: Mapping[str, Tensor], start: StartingPoint
) -> None:
    for name, tensor in fresh.items():
        shape = tuple(trained[name].shape) if name in trained else None
        if shape != tuple(tensor.shape):
            found = "no such weights" if shape is None else f"shape {shape}"
            raise _other_network(start, f"{name}: {found}", f"{name}: shape {tuple(tensor.shape)}")


def _other_network(start: StartingPoint, theirs: str, ours: str) -> TrainingError:
    return TrainingError(
        f"the weights of {start.source} belong to another network",
        expected=ours,
        found=theirs,
        cure="leave --plan out, and a plan around the network of these weights is made; or start "
        "from weights of the same network",
        path=start.weights,
    )


def _summary(
    source: str,
    *,
    structures: Sequence[str],
    new_structures: Sequence[str],
    new_channels: Sequence[str],
    left_channels: Sequence[str],
) -> str:
    lines = [f"starting from {source}: encoder and decoder taken over"]
    if structures:
        lines.append("heads taken over: " + ", ".join(structures))
    if new_structures:
        lines.append("new heads: " + ", ".join(new_structures))
    if new_channels:
        lines.append("new channels, begun as the mean of the known: " + ", ".join(new_channels))
    if left_channels:
        lines.append("channels no longer used: " + ", ".join(left_channels))
    return "; ".join(lines)

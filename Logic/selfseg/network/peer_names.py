"""Names of weights in nnU-Net v2's networks, translated into ours.

nnU-Net's state dicts hold most tensors several times (the encoder again inside the decoder,
every layer again under `all_modules`); each is taken once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from ..domain.errors import ModelError

T = TypeVar("T")

# Wrappers of distributed training and of torch.compile leave their names in front.
_PREFIX = re.compile(r"^(?:module\.|_orig_mod\.)+")

_DUPLICATE = re.compile(r"^decoder\.encoder\.|\.all_modules\.")

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^encoder\.stem\.convs\.0\.(conv|norm)\.(\w+)$"), r"stem.\1.\2"),
    (
        re.compile(r"^encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(conv|norm)\.(\w+)$"),
        r"encoder.\1.\2.\3.\4",
    ),
    (
        re.compile(r"^encoder\.stages\.(\d+)\.blocks\.(\d+)\.(conv[12])\.(conv|norm)\.(\w+)$"),
        r"encoder.\1.\2.\3.\4.\5",
    ),
    (
        re.compile(r"^encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.\d+\.(conv|norm)\.(\w+)$"),
        r"encoder.\1.\2.projection.\3.\4",
    ),
    (
        re.compile(r"^decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.(\w+)$"),
        r"decoder.\1.\2.\3.\4",
    ),
    (re.compile(r"^decoder\.transpconvs\.(\d+)\.(\w+)$"), r"upsamplings.\1.\2"),
    (re.compile(r"^decoder\.seg_layers\.(\d+)\.(\w+)$"), r"heads.\1.\2"),
)


def from_peer_names(state: Mapping[str, T]) -> dict[str, T]:
    """Translates the state dict of a PlainConvUNet or ResidualEncoderUNet.

    Args:
        state: nnU-Net's `network_weights`: name to tensor or array.

    Returns:
        our names to the same values, each once.

    Raises:
        ModelError: a name belongs to some other architecture.
    """
    return {ours: value for name, value in state.items() if (ours := _translate(name)) is not None}


def _translate(name: str) -> str | None:
    plain = _PREFIX.sub("", name)
    if _DUPLICATE.search(plain):
        return None
    for pattern, replacement in _RULES:
        if pattern.match(plain):
            return pattern.sub(replacement, plain)
    raise ModelError(
        "the network holds a weight that none of our networks has",
        expected="nnU-Net v2's PlainConvUNet or ResidualEncoderUNet",
        found=name,
        cure="models of custom trainers with another architecture cannot be imported",
    )

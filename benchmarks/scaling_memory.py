"""What the product's memory model says of a `Setting`, beside what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scaling_models import CHANNELS, CONFIGURATION, Setting, network_of

from selfseg.domain.case import PreprocessRecord
from selfseg.domain.geometry import Geometry
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import ConfigurationPlan
from selfseg.infer.engine import TileOptions
from selfseg.infer.memory_need import CaseNeed, case_need
from selfseg.infer.torch_backend import TorchBackend

PROCESS_BYTES = 269e6
"""Interpreter, NumPy, SimpleITK and PyTorch in `selfseg predict` before its first case."""


def need_of(setting: Setting) -> tuple[CaseNeed, float]:
    """What the product reckons with, and bytes of the process with its networks."""
    torch.set_num_threads(setting.threads)
    labels = LabelScheme(tuple(Label(f"s{i}", (i,)) for i in range(1, setting.classes)))
    network = network_of(setting)
    made = TorchBackend(network, len(CHANNELS), labels.head_count, (), device="cpu")
    weights = {k: v.float().numpy() for k, v in made.networks[0].state_dict().items()}
    count = sum(value.size for value in weights.values())
    backend = TorchBackend(network, len(CHANNELS), labels.head_count, _whole(setting), device="cpu")
    configuration = ConfigurationPlan(
        CONFIGURATION, (1 / setting.zoom,) * 3, setting.patch, setting.shape, 2, ("ct",), (False,),
        False, network,
    )  # fmt: skip
    after = tuple(max(1, round(n * setting.zoom)) for n in setting.shape)
    identity = (0, 1, 2)
    record = PreprocessRecord(
        Geometry(setting.shape, (1.0,) * 3, (0.0,) * 3, ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))),
        identity, (0, 0, 0), setting.shape, setting.shape, (1.0,) * 3, after,
        (1 / setting.zoom,) * 3, setting.shape,
    )  # fmt: skip
    options = TileOptions(setting.step, setting.mirror)
    need = case_need(
        record, len(CHANNELS), backend, configuration, labels, options,
        several=setting.cases > 1,
    )  # fmt: skip
    element = 4 if backend.dtype is None else 2
    return need, PROCESS_BYTES + count * element * setting.folds


def _whole(setting: Setting) -> list[dict[str, Any]]:
    """Weights of all folds: of a fresh network."""
    from selfseg.network.unet import build_network

    fresh = build_network(network_of(setting), len(CHANNELS), setting.classes)
    one = {name: np.asarray(value) for name, value in fresh.state_dict().items()}
    return [one] * setting.folds


def predicted_bytes(setting: Setting) -> float:
    """The peak that the model says."""
    need, process = need_of(setting)
    return process + need.peak

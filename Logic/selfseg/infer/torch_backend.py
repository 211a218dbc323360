"""Trained U-Nets as a backend of the engine: several folds, one device, half precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..domain.case import FloatArray
from ..domain.errors import ModelError
from ..domain.plan import NetworkPlan
from ..network.devices import inference_dtype, pick_device
from ..network.unet import UNet, build_network
from .engine import mirror_subsets

__all__ = ["TorchBackend", "pick_device"]


class TorchBackend:
    """The mean of the logits of some networks of one architecture.

    On the processor the convolutions' weights are kept in bfloat16 where that is native, in
    channels-last order; the norms stay in float32. In float32 the order stays as it is.

    Args:
        network_plan: the architecture.
        input_channels: C.
        output_channels: K.
        weights: one mapping (name to array) per fold; none builds one fresh network, which is
            as fast as a trained one and can be timed.
        device: "auto", "cpu", "cuda", "mps"; see `pick_device`.
        autocast: "auto", "bfloat16", "float16" or "off"; see `inference_dtype`.

    Raises:
        ModelError: weights do not fit the architecture.
        UsageError: there is no such device.
    """

    def __init__(
        self,
        network_plan: NetworkPlan,
        input_channels: int,
        output_channels: int,
        weights: Sequence[Mapping[str, NDArray[Any]]],
        *,
        device: str = "auto",
        autocast: str = "auto",
    ) -> None:
        self.device = pick_device(device)
        self.dtype = inference_dtype(self.device, autocast)
        self.memory_format = torch.contiguous_format
        if self.device.type == "cpu" and self.dtype is not None:
            # Group norm's variance is less exact in channels-last order (1e-4 of the logits):
            # nothing beside bfloat16, not worth it in float32.
            last = (torch.channels_last, torch.channels_last_3d)
            self.memory_format = last[network_plan.dimensions - 2]
        self.networks = [
            self._prepare(_network(network_plan, input_channels, output_channels, entry))
            for entry in (weights if weights else (None,))
        ]

    @torch.inference_mode()
    def predict(self, batch: FloatArray, mirror_axes: tuple[int, ...] = ()) -> FloatArray:
        """Logits (N, K, *patch) of tiles (N, C, *patch); see `engine.Backend`."""
        x = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device)
        total: torch.Tensor | None = None
        count = 0
        for subset in mirror_subsets(mirror_axes):
            axes = [axis + 2 for axis in subset]
            mirrored = torch.flip(x, axes) if axes else x
            for network in self.networks:
                logits = self._forward(network, mirrored)
                if axes:
                    logits = torch.flip(logits, axes)
                total = logits.float() if total is None else total.add_(logits)
                count += 1
        assert total is not None  # noqa: S101 - there is always the empty subset
        result: FloatArray = total.div_(count).cpu().numpy()
        return result

    def _forward(self, network: UNet, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=self.memory_format)
        if self.device.type == "cpu" or self.dtype is None:
            logits = network(x if self.dtype is None else x.to(self.dtype))
        else:
            with torch.autocast(self.device.type, dtype=self.dtype):
                logits = network(x)
        result: torch.Tensor = logits
        return result

    def _prepare(self, network: UNet) -> UNet:
        network.to(self.device)
        nn.Module.to(network, memory_format=self.memory_format)  # type: ignore[call-overload]
        network.eval().requires_grad_(False)
        if self.device.type == "cpu" and self.dtype is not None:
            for module in network.modules():
                if isinstance(
                    module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
                ):
                    module.to(self.dtype)
        return network


def _network(
    plan: NetworkPlan, inputs: int, outputs: int, weights: Mapping[str, NDArray[Any]] | None
) -> UNet:
    if weights is None:
        return build_network(plan, inputs, outputs)
    with torch.device("meta"):  # the shapes only: drawing weights to drop them takes seconds
        network = build_network(plan, inputs, outputs)
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != given:
        wrong = sorted(n for n in wanted | given if wanted.get(n) != given.get(n))
        raise ModelError(
            "the weights do not fit the network of the plan",
            expected=f"{wrong[0]} with shape {wanted.get(wrong[0], 'none: no such layer')}",
            found=f"{given.get(wrong[0], 'no such entry')}, and {len(wrong) - 1} more differences",
            cure="use weights and plan of the same training",
        )
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in weights.items()}
    network.load_state_dict(tensors, assign=True)
    return network

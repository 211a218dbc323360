"""Trained U-Nets as a backend of the engine: several folds, one device, half precision."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..domain.case import FloatArray
from ..domain.errors import ModelError
from ..domain.events import Reporter
from ..domain.plan import NetworkPlan
from ..domain.stopping import Stop, check_stop, never
from ..network.devices import inference_dtype, pick_device
from ..network.unet import UNet, build_network
from .backend import Head, WindowPlan, mirror_subsets
from .memory import host_memory_at_hand
from .torch_lanes import in_lanes
from .torch_stop import LayerStop
from .torch_window import TorchWindow

__all__ = ["TorchBackend", "pick_device", "release_memory"]

MAPS_IN_FLIGHT = 5
"""Feature maps of the highest resolution that live at the same time: the encoder's, the
upsampled one, the two joined (twice as large), and what a coarser level left."""

HEAP_MARGIN = 1.3
"""Gaps of the heap and the kernels' work space, measured on the processor with torch 2.13."""

LIBRARY_BYTES = 115 * 10**6
"""Code and work space that the libraries take with their first tile (see `train.memory`)."""

CARD_PASSES = 8
"""Tiles, or mirrored tiles, at once on a graphics card, memory allowing."""

MOST_LANES = 8
"""Passes side by side on the processor; beyond that several cores share each."""


NARROW_2D = 12
"""Features of a 2D network's first stage below which float32 is as fast on a processor as
bfloat16, and exact. Measured with torch 2.13 and AVX-512 BF16 on one core, time in bfloat16 by that
in float32: 4 features 1.5 to 2.0, 8 features 1.1 to 1.4, 12 features 0.9 to 1.2, 32 features 0.4 to
0.8. In 3D bfloat16 is the faster one at any width."""


@dataclass(frozen=True)
class _Pass:
    """One tile of a batch, mirrored along some axes (1 is the first of the patch)."""

    tile: int
    axes: list[int]


class TorchBackend:
    """The mean of the logits of some networks of one architecture.

    On the processor the convolutions' weights are kept in bfloat16 where that is native, in
    channels-last order; the norms stay in float32. In float32 the order stays as it is.
    Where the networks together have fewer features than heads, their last layer is left for
    later (`Head`).

    Args:
        network_plan: the architecture.
        input_channels: C.
        output_channels: K.
        weights: one mapping (name to array) per fold, taken one after the other; none builds
            one fresh network, which is as fast as a trained one and can be timed.
        device: "auto", "cpu", "cuda", "mps"; see `pick_device`.
        autocast: "auto", "bfloat16", "float16" or "off"; see `inference_dtype` and `NARROW_2D`.

    Raises:
        ModelError: weights do not fit the architecture.
        UsageError: there is no such device.
    """

    def __init__(
        self,
        network_plan: NetworkPlan,
        input_channels: int,
        output_channels: int,
        weights: Iterable[Mapping[str, NDArray[Any]]],
        *,
        device: str = "auto",
        autocast: str = "auto",
    ) -> None:
        self.plan = network_plan
        self.input_channels = input_channels
        self.device = pick_device(device)
        narrow = network_plan.dimensions == 2 and network_plan.features_per_stage[0] < NARROW_2D
        if narrow and autocast == "auto" and self.device.type == "cpu":
            autocast = "off"
        self.dtype = inference_dtype(self.device, autocast)
        self._used = False
        self._layers = LayerStop()  # one for all folds: they never predict at the same time
        self.memory_format = torch.contiguous_format
        if self.device.type == "cpu" and self.dtype is not None:
            # Group norm's variance is less exact in channels-last order (1e-4 of the logits):
            # nothing beside bfloat16, not worth it in float32.
            last = (torch.channels_last, torch.channels_last_3d)
            self.memory_format = last[network_plan.dimensions - 2]
        shape = (network_plan, input_channels, output_channels)
        self.networks: list[UNet] = []
        heads = []
        for entry in weights:
            heads.append(self._add(_network(*shape, entry)))
        if not heads:
            heads.append(self._add(_network(*shape, None)))
        self.heads = heads
        self.map_count = len(heads) * network_plan.features_per_stage[0]
        self.head: Head | None = _mean_head(heads)
        if self.map_count >= output_channels:
            self.map_count, self.head = output_channels, None
        else:
            for network in self.networks:
                network.heads[-1] = nn.Identity()

    @property
    def folds(self) -> tuple[TorchBackend, ...]:
        """Each network alone, as a backend of its own that shares the weights."""
        alone = []
        for network, head in zip(self.networks, self.heads, strict=True):
            one = copy.copy(self)
            one.networks, one.heads = [network], [head]
            if self.head is not None:
                one.head, one.map_count = head, head.weights.shape[1]
            alone.append(one)
        return tuple(alone)

    def predict(
        self,
        batch: FloatArray,
        mirror_axes: tuple[int, ...] = (),
        should_stop: Stop = never,
    ) -> FloatArray:
        """Logits (N, K, *patch) of tiles (N, C, *patch); see `backend.Backend`."""
        with torch.inference_mode():
            found = self.mean_maps(batch, mirror_axes, should_stop=should_stop)
            maps = torch.stack(found).cpu().numpy()
        if self.head is not None:
            maps = np.moveaxis(self.head.logits(np.moveaxis(maps, 1, -1)), -1, 1)
        result: FloatArray = np.ascontiguousarray(maps)
        return result

    @torch.inference_mode()
    def mean_maps(
        self,
        batch: FloatArray,
        mirror_axes: tuple[int, ...] = (),
        passes: int = 1,
        lanes: Executor | None = None,
        should_stop: Stop = never,
    ) -> list[torch.Tensor]:
        """Maps of tiles, averaged over mirrored ones, on the device.

        Args:
            batch: (N, C, *patch) float32.
            mirror_axes: see `backend.Backend`.
            passes: tiles, or mirrored tiles, that go through the network at once.
            lanes: threads for them; None: as one batch.
            should_stop: asked in this thread: between layers, or every `ASK_SECONDS` with lanes.

        Returns:
            For each tile (M, *patch) float32.

        Raises:
            Cancelled: `should_stop` said so.
        """
        x = torch.from_numpy(np.ascontiguousarray(batch))
        if self.device.type == "cuda":
            x = x.pin_memory()
        x = x.to(self.device, non_blocking=True)
        subsets = [[axis + 1 for axis in subset] for subset in mirror_subsets(mirror_axes)]
        jobs = [_Pass(i, axes) for axes in subsets for i in range(len(x))]
        found: Iterator[list[torch.Tensor]]
        if lanes is None:
            groups = [jobs[i : i + passes] for i in range(0, len(jobs), passes)]
            found = (self._pass(x, group) for group in groups)
            asked = should_stop
        else:
            stopped = threading.Event()
            asked = stopped.is_set  # `should_stop` itself is asked in this thread alone

            def noted() -> bool:
                if should_stop():
                    stopped.set()
                return stopped.is_set()

            groups = [[job] for job in jobs]
            found = in_lanes(lanes, lambda group: self._pass(x, group), groups, passes, noted)
        totals: list[torch.Tensor | None] = [None] * len(x)
        with self._layers.asking(asked):
            for group, several in zip(groups, found, strict=True):
                check_stop(should_stop)
                for job, maps in zip(group, several, strict=True):
                    total = totals[job.tile]
                    totals[job.tile] = maps if total is None else total.add_(maps)
        # The mean over folds is the head's where there is one.
        count = len(subsets) * (len(self.networks) if self.head is None else 1)
        return [total.mul_(1 / count) for total in totals if total is not None]

    @torch.inference_mode()
    def _pass(self, x: torch.Tensor, group: Sequence[_Pass]) -> list[torch.Tensor]:
        """The maps (M, *patch) float32 of some of the tiles x, mirrored and mirrored back."""
        tiles = torch.stack([torch.flip(x[job.tile], job.axes) for job in group])
        return [
            (torch.flip(maps, job.axes) if job.axes else maps).float()
            for job, maps in zip(group, self._maps(tiles), strict=True)
        ]

    def preferred_passes(self, patch: tuple[int, ...]) -> int:
        """See `MappingBackend`."""
        if self.device.type == "cuda":
            return CARD_PASSES
        return min(MOST_LANES, torch.get_num_threads()) if self.device.type == "cpu" else 1

    def pass_bytes(self, patch: tuple[int, ...]) -> int:
        """See `MappingBackend`."""
        element = 4 if self.dtype is None else 2
        each_voxel = MAPS_IN_FLIGHT * self.plan.features_per_stage[0] * element
        each_voxel += self.map_count * (8 + 2 * element) + 8 * self.input_channels
        return round(HEAP_MARGIN * math.prod(patch) * each_voxel)

    def memory_at_hand(self, budget: int | None) -> int:
        """See `MappingBackend`."""
        if self.device.type != "cuda":
            return host_memory_at_hand(budget) - (0 if self._used else LIBRARY_BYTES)
        free, total = torch.cuda.mem_get_info(self.device)
        # What PyTorch keeps without using it counts as taken there, and is at hand.
        kept = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return min(free + kept, (budget or total) - torch.cuda.memory_allocated(self.device))

    def open_window(self, plan: WindowPlan, reporter: Reporter) -> TorchWindow:
        """See `MappingBackend`."""
        return TorchWindow(self, plan, reporter)

    def _maps(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *patch) float32 -> the maps of all networks, (N, M, *patch)."""
        self._used = True
        x = x.contiguous(memory_format=self.memory_format)
        if self.device.type == "cpu" and self.dtype is not None:
            x = x.to(self.dtype)
        maps: torch.Tensor | None = None
        parts = []
        for network in self.networks:
            if self.device.type == "cpu" or self.dtype is None:
                found: torch.Tensor = network(x)
            else:
                with torch.autocast(self.device.type, dtype=self.dtype):
                    found = network(x)
            if self.head is not None:
                parts.append(found)
            elif len(self.networks) > 1:
                maps = found.float() if maps is None else maps.add_(found.float())
            else:
                maps = found
        if self.head is not None:
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        assert maps is not None  # noqa: S101 - there is at least one network
        return maps

    def _add(self, network: UNet) -> Head:
        """Makes a network ready; returns its last layer in float32."""
        layer = network.heads[-1]
        assert isinstance(layer, nn.Conv2d | nn.Conv3d)  # noqa: S101 - as `UNet` builds it
        assert layer.bias is not None  # noqa: S101
        weights = layer.weight.detach().float().flatten(1).numpy().copy()
        head = Head(weights, layer.bias.detach().float().numpy().copy())
        network.to(self.device)
        nn.Module.to(network, memory_format=self.memory_format)  # type: ignore[call-overload]
        network.eval().requires_grad_(False)
        self._layers.watch(network)
        if self.device.type == "cpu" and self.dtype is not None:
            for module in network.modules():
                if isinstance(
                    module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
                ):
                    module.to(self.dtype)
        self.networks.append(network)
        return head


def release_memory() -> None:
    """Gives the device memory that PyTorch keeps for later back to the system."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _mean_head(heads: Sequence[Head]) -> Head:
    """The mean of the logits of several networks, from their features side by side."""
    weights = np.concatenate([head.weights for head in heads], axis=1) / len(heads)
    bias = np.mean([head.bias for head in heads], axis=0)
    return Head(weights.astype(np.float32), bias.astype(np.float32))


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

"""Timing this machine: a few steps of a few networks, as an input of planning."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..domain.labels import Label, LabelScheme
from ..domain.plan import NetworkPlan, SpeedProfile, SpeedSample
from ..network.channels_last import order_weights
from ..network.devices import pick_device
from ..network.unet import build_network
from . import device as devices
from .loss import segmentation_loss

TIMED_FEATURES: tuple[tuple[int, ...], ...] = ((16, 32, 64), (32, 64, 128))
"""Features per stage of the plain U-Nets that are timed, smallest first."""

BATCH_SIZE = 2

LONGEST_EDGE = {2: 160, 3: 40}
"""Longer patch axes are cut to this: the cost per voxel hardly depends on the size above it."""

SHORTEST_EDGE = 8
"""Shorter patch axes grow to this: after two halvings there has to be something to normalise."""

TIMED_STEPS = 3

LIMIT_SECONDS = 5.0
"""Once this has gone by, no further network is timed."""

CLEARLY_FASTER = 0.85
"""Single precision is taken where a step lasts at most this share of one in half precision."""

_NAMES = {None: "off", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def measure_speed(
    dimensions: int,
    input_channels: int,
    output_channels: int,
    patch_size: Sequence[int],
    device: str = "auto",
    *,
    clock: Callable[[], float] = time.monotonic,
) -> SpeedProfile:
    """Times training steps of small plain U-Nets, and half against single precision.

    Takes a few seconds on two cores, and less elsewhere.

    Args:
        dimensions: 2 or 3.
        input_channels: channels of the images.
        output_channels: heads of the network.
        patch_size: the standard plan's; long axes are cut, very short ones grow.
        device: "auto", "cpu", "cuda", "mps".
        clock: seconds.

    Raises:
        UsageError: there is no such device.
    """
    chosen = pick_device(device)
    longest = LONGEST_EDGE[dimensions]
    patch = tuple(max(SHORTEST_EDGE, min(n, longest) // 4 * 4) for n in patch_size[-dimensions:])
    trial = _Trial(patch, input_channels, output_channels, chosen, clock)
    started = clock()
    with devices.fast_arithmetic(chosen):
        half = devices.choose_autocast("auto", chosen)
        samples = [trial.time(TIMED_FEATURES[0], half)]
        if half is not None:
            single = trial.time(TIMED_FEATURES[0], None)
            if single.seconds_per_step < CLEARLY_FASTER * samples[0].seconds_per_step:
                half, samples = None, [single]
        for features in TIMED_FEATURES[1:]:
            if clock() - started < LIMIT_SECONDS:
                samples.append(trial.time(features, half))
    return SpeedProfile(
        device=device,
        threads=torch.get_num_threads() if chosen.type == "cpu" else 1,
        autocast=_NAMES[half],
        samples=tuple(samples),
        machine=_machine_name(chosen),
    )


@dataclass(frozen=True)
class _Trial:
    """What all timed networks have in common."""

    patch: tuple[int, ...]
    input_channels: int
    output_channels: int
    device: torch.device
    clock: Callable[[], float]

    def time(self, features: tuple[int, ...], half: torch.dtype | None) -> SpeedSample:
        """Times training steps of one network; the first, which allocates, does not count."""
        plan = _network_plan(features, self.patch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build_network(plan, self.input_channels, self.output_channels)
            images = torch.randn((BATCH_SIZE, self.input_channels, *self.patch))
            labels = torch.randint(0, self.output_channels, (BATCH_SIZE, *self.patch))
        network.deep_supervision = True
        work = _count_work(network, images)
        network.to(self.device)
        if self.device.type == "cpu" and half is torch.bfloat16:
            order_weights(network)
        images, labels = images.to(self.device), labels.to(self.device)
        scheme = _numbered_labels(self.output_channels)
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

        def step() -> float:
            began = self.clock()
            optimiser.zero_grad(set_to_none=True)
            with devices.autocast(self.device, half):
                outputs = network(images)
            loss = segmentation_loss(outputs, labels, scheme, batch_dice=False)
            torch.autograd.backward(loss)
            optimiser.step()
            float(loss.detach())  # waits for the device
            return self.clock() - began

        step()
        # The fastest step says what the machine can do; slower ones shared it with others.
        seconds = min(step() for _ in range(TIMED_STEPS))
        return SpeedSample(
            features=features,
            dimensions=len(self.patch),
            patch_size=self.patch,
            batch_size=BATCH_SIZE,
            seconds_per_step=seconds,
            feature_map_elements=float(work.elements),
            multiply_adds=float(work.multiply_adds),
            memory_bytes=devices.peak_memory(self.device),
        )


@dataclass
class _Work:
    """Sums over the convolutions of one forward pass, the whole batch."""

    multiply_adds: int = 0
    elements: int = 0


def _count_work(network: nn.Module, images: Tensor) -> _Work:
    """Runs the network once on one sample and counts what its convolutions do for all."""
    work = _Work()

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        transposed = isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d)
        weight = module.get_parameter("weight")
        # Weights are (out, in, *kernel). A transposed convolution whose kernel is its stride
        # uses one kernel element per output voxel.
        seen = inputs[0].shape[1] if transposed else weight[0].numel()
        work.multiply_adds += seen * output.numel() * len(images)
        work.elements += output.numel() * len(images)

    kinds = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        network(images[:1])
    for hook in hooks:
        hook.remove()
    return work


def _network_plan(features: tuple[int, ...], patch: tuple[int, ...]) -> NetworkPlan:
    """Two convolutions per stage, kernels of 3, strides of 2."""
    count, dimensions = len(features), len(patch)
    return NetworkPlan(
        architecture="plain",
        features_per_stage=features,
        kernel_sizes=((3,) * dimensions,) * count,
        strides=((1,) * dimensions,) + ((2,) * dimensions,) * (count - 1),
        blocks_per_stage=(2,) * count,
        convs_per_decoder_stage=(2,) * (count - 1),
    )


def _numbered_labels(heads: int) -> LabelScheme:
    """A scheme with that many heads; a single head is that of one region."""
    if heads == 1:
        return LabelScheme((Label("1", (1,)),), regions_class_order=(1,))
    return LabelScheme(tuple(Label(str(i), (i,)) for i in range(1, heads)))


def _machine_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()

"""What a network costs, in closed form: nothing is built to know it.

feature_map_elements   what the planner limits (RECIPE's estimate)
parameter_count        learnt numbers, equal to those of the network built
multiply_adds          arithmetic of one forward pass of one sample
training_memory_bytes  a rough estimate, for choosing between networks
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..domain.plan import NetworkPlan


@dataclass(frozen=True)
class Layer:
    """One convolution: `voxels` are those of its output, `kernel_voxels` those of its kernel.

    A transposed convolution's kernel equals its stride, so that every output voxel sees one
    kernel element per input channel; its multiply-adds count with a kernel of one voxel.
    """

    inputs: int
    outputs: int
    kernel_voxels: int
    voxels: int
    bias: bool = True
    normalised: bool = True
    transposed: bool = False

    @property
    def elements(self) -> int:
        """Numbers in its output, for one sample."""
        return self.outputs * self.voxels

    @property
    def parameters(self) -> int:
        """Weights, bias, and scale and shift of the normalisation after it."""
        weights = self.kernel_voxels * self.inputs * self.outputs
        return weights + self.outputs * (int(self.bias) + 2 * int(self.normalised))

    @property
    def multiply_adds(self) -> int:
        """Multiplications with addition, for one sample."""
        seen = 1 if self.transposed else self.kernel_voxels
        return seen * self.inputs * self.elements


def feature_map_elements(network: NetworkPlan, patch_size: Sequence[int], class_count: int) -> int:
    """Elements that the network's convolutions write for one sample (RECIPE's estimate).

    Every convolution of encoder and decoder, every transposed convolution and the one head at
    full resolution count. In residual blocks the 1x1 projection counts where size or channels
    change.

    Args:
        network: stages, features and strides.
        patch_size: voxels per axis.
        class_count: channels of the head, background and the ignore label included.
    """
    voxels = stage_voxels(network, patch_size)
    features = network.features_per_stage
    maps = [count * volume for count, volume in zip(features, voxels, strict=True)]
    last = len(maps) - 1

    if network.architecture == "plain":
        total = sum(n * size for n, size in zip(network.blocks_per_stage, maps, strict=True))
    else:
        total = features[0] * math.prod(patch_size)  # the stem
        before, voxels_before = features[0], math.prod(patch_size)
        for n, size, after, volume in zip(
            network.blocks_per_stage, maps, features, voxels, strict=True
        ):
            projection = after != before or volume != voxels_before
            total += (2 * n + int(projection)) * size
            before, voxels_before = after, volume
    for step, convolutions in enumerate(network.convs_per_decoder_stage):
        total += (convolutions + 1) * maps[last - 1 - step]
    if last > 0:  # without a decoder the method's estimate knows no head
        total += class_count * voxels[0]
    return total


def parameter_count(network: NetworkPlan, input_channels: int, output_channels: int) -> int:
    """Learnt numbers of the network, the heads of every decoder stage included."""
    no_size = (1,) * network.dimensions
    return sum(
        layer.parameters for layer in layers(network, no_size, input_channels, output_channels)
    )


def multiply_adds(
    network: NetworkPlan, patch_size: Sequence[int], input_channels: int, output_channels: int
) -> int:
    """Multiply-adds of one forward pass of one sample, the heads of every stage included.

    A training step costs about three times as much per sample.
    """
    return sum(
        layer.multiply_adds
        for layer in layers(network, patch_size, input_channels, output_channels)
    )


def training_memory_bytes(
    network: NetworkPlan,
    patch_size: Sequence[int],
    batch_size: int,
    input_channels: int,
    output_channels: int,
    *,
    bytes_per_element: int = 4,
) -> int:
    """A rough estimate of the memory that one training step holds at its fullest.

    What is kept for the way back: of each convolution its output and, where it is normalised,
    the normalised output. Gradients of two of the largest maps exist at a time. Weights
    need four numbers of 4 bytes each: themselves, gradient, momentum and a margin. Workspaces
    of the libraries are not known and not counted.

    Args:
        network: stages, features, kernels and strides.
        patch_size: voxels per axis.
        batch_size: samples per step.
        input_channels: channels of the input.
        output_channels: heads of the network.
        bytes_per_element: 4, or 2 with half-precision autocast.
    """
    listed = list(layers(network, patch_size, input_channels, output_channels))
    kept = sum(layer.elements * (2 if layer.normalised else 1) for layer in listed)
    in_flight = 2 * max(layer.elements for layer in listed)
    inputs = input_channels * math.prod(patch_size)
    weights = sum(layer.parameters for layer in listed)
    return (kept + in_flight + inputs) * batch_size * bytes_per_element + weights * 4 * 4


def stage_voxels(network: NetworkPlan, patch_size: Sequence[int]) -> list[int]:
    """Voxels of each stage's feature maps, highest resolution first."""
    size = list(patch_size)
    voxels = []
    for stride in network.strides:
        size = [max(1, n // step) for n, step in zip(size, stride, strict=True)]
        voxels.append(math.prod(size))
    return voxels


def layers(
    network: NetworkPlan, patch_size: Sequence[int], input_channels: int, output_channels: int
) -> Iterator[Layer]:
    """Every convolution of the network, in order of computation."""
    voxels = stage_voxels(network, patch_size)
    features = network.features_per_stage
    kernels = [math.prod(kernel) for kernel in network.kernel_sizes]

    inputs = input_channels
    if network.architecture == "residual":
        yield Layer(inputs, features[0], kernels[0], math.prod(patch_size))
        inputs = features[0]
    for count, outputs, kernel, volume in zip(
        network.blocks_per_stage, features, kernels, voxels, strict=True
    ):
        for _ in range(count):
            yield Layer(inputs, outputs, kernel, volume)
            if network.architecture == "residual":
                yield Layer(outputs, outputs, kernel, volume)
                if inputs != outputs:
                    yield Layer(inputs, outputs, 1, volume, bias=False)
            inputs = outputs

    for step, count in enumerate(network.convs_per_decoder_stage):
        stage = network.stage_count - 2 - step
        here, volume = features[stage], voxels[stage]
        stride = math.prod(network.strides[stage + 1])
        yield Layer(features[stage + 1], here, stride, volume, normalised=False, transposed=True)
        for index in range(count):
            yield Layer(2 * here if index == 0 else here, here, kernels[stage], volume)
        yield Layer(here, output_channels, 1, volume, normalised=False)
    if network.stage_count == 1:
        yield Layer(features[0], output_channels, 1, voxels[0], normalised=False)

"""Building blocks of the U-Nets: convolution, norm, activation; residual blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .channels_last import (
    channels_last_norm,
    computes_in_bfloat16,
    single_channel_convolution,
)

NORM_EPS = 1e-5
"""Added to the variance in instance norm (RECIPE)."""

LEAKY_SLOPE = 0.01
"""Slope of LeakyReLU below zero (RECIPE)."""

Convolution = nn.Conv2d | nn.Conv3d


def convolution(
    inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], *, bias: bool = True
) -> Convolution:
    """A 2D or 3D convolution that keeps the size (divided by the stride), by kernel length."""
    padding = tuple((k - 1) // 2 for k in kernel)
    if len(kernel) == 2:
        return nn.Conv2d(inputs, outputs, _two(kernel), _two(stride), _two(padding), bias=bias)
    return nn.Conv3d(inputs, outputs, _three(kernel), _three(stride), _three(padding), bias=bias)


def transposed_convolution(
    inputs: int, outputs: int, stride: Sequence[int]
) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
    """Upsampling by `stride` with a kernel of the same size: no overlap, no padding."""
    if len(stride) == 2:
        return nn.ConvTranspose2d(inputs, outputs, _two(stride), _two(stride))
    return nn.ConvTranspose3d(inputs, outputs, _three(stride), _three(stride))


class InstanceNorm(nn.Module):
    """Instance norm with learnt scale and shift, statistics always of the present input.

    On the CPU it runs as a group norm with one group per channel, which is the same function
    and, measured with torch 2.13, 2-15 times faster; it also keeps the channels-last format,
    which the instance norm kernel loses. The gradient in channels-last format has a way of its
    own, see `channels_last_norm`.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, features, *size) -> the same shape."""
        if x.device.type != "cpu":
            return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=NORM_EPS)
        if torch.is_grad_enabled() and not x.is_contiguous():
            return channels_last_norm(x, self.weight, self.bias, NORM_EPS)
        return functional.group_norm(x, self.features, self.weight, self.bias, NORM_EPS)


class ConvNorm(nn.Module):
    """Convolution, instance norm and, unless `activate` is False, LeakyReLU.

    The activation works in place: it is the only reader of the norm's output.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        *,
        bias: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel, stride, bias=bias)
        self.norm = InstanceNorm(outputs)
        self.activation: nn.Module = (
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True) if activate else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, *size) -> (N, outputs, *size / stride)."""
        if x.shape[1] == 1 and computes_in_bfloat16(x):
            x = single_channel_convolution(self.conv, x)
        else:
            x = self.conv(x)
        y: torch.Tensor = self.activation(self.norm(x))
        return y


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, added before the last activation.

    The shortcut averages where the block strides and projects (1x1 convolution without bias,
    norm) where the number of features changes ("D" variant of He et al., Bag of Tricks, 2019).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        ones = (1,) * len(kernel)
        self.conv1 = ConvNorm(inputs, outputs, kernel, stride)
        self.conv2 = ConvNorm(outputs, outputs, kernel, ones, activate=False)
        self.pool: nn.Module = nn.Identity()
        if any(s != 1 for s in stride):
            self.pool = (
                nn.AvgPool2d(_two(stride)) if len(stride) == 2 else nn.AvgPool3d(_three(stride))
            )
        self.projection: nn.Module = (
            ConvNorm(inputs, outputs, ones, ones, bias=False, activate=False)
            if inputs != outputs
            else nn.Identity()
        )
        self.activation = nn.LeakyReLU(LEAKY_SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, *size) -> (N, outputs, *size / stride)."""
        # PyTorch pools volumes on the processor in float32 only.
        narrow = x.dtype is torch.bfloat16 and x.device.type == "cpu"
        pooled = self.pool(x.float()).to(x.dtype) if narrow else self.pool(x)
        shortcut = self.projection(pooled)
        y = self.conv2(self.conv1(x))
        y += shortcut
        out: torch.Tensor = self.activation(y)
        return out


def conv_stack(
    count: int, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
) -> nn.Sequential:
    """`count` ConvNorm in a row; the first takes `inputs` features and strides."""
    ones = (1,) * len(kernel)
    return nn.Sequential(
        ConvNorm(inputs, outputs, kernel, stride),
        *(ConvNorm(outputs, outputs, kernel, ones) for _ in range(count - 1)),
    )


def residual_stack(
    count: int, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
) -> nn.Sequential:
    """`count` residual blocks in a row; the first takes `inputs` features and strides."""
    ones = (1,) * len(kernel)
    return nn.Sequential(
        ResidualBlock(inputs, outputs, kernel, stride),
        *(ResidualBlock(outputs, outputs, kernel, ones) for _ in range(count - 1)),
    )


def initialise(module: nn.Module) -> None:
    """He-normal weights for LeakyReLU, zero biases; residual blocks start as their shortcut.

    To be given to `Module.apply`, which visits inner modules first.
    """
    if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
        return  # shapes without numbers; to draw them, torch would import its compiler
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, ResidualBlock):
        for parameter in module.conv2.norm.parameters():
            nn.init.zeros_(parameter)


def _two(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    first, second, third = values
    return first, second, third

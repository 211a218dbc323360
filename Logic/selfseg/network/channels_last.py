"""Channels-last order on the processor: what makes bfloat16 fast there.

oneDNN multiplies bfloat16 matrices several times faster where a voxel's channels lie side by
side. PyTorch 2.13 has three slow spots in that order, which are walked around here: the
gradient of instance norm, convolutions of a single channel, and the gradient of transposed
convolutions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def computes_in_bfloat16(x: Tensor) -> bool:
    """True where a convolution of x would run on the processor in bfloat16."""
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") is torch.bfloat16
    return x.dtype is torch.bfloat16


def channels_last(x: Tensor) -> Tensor:
    """The map (N, C, *size) with the channels of a voxel side by side in memory."""
    form = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    return x.contiguous(memory_format=form)


def order_weights(network: nn.Module) -> None:
    """Puts the weights of all convolutions in channels-last order; values stay the same.

    Without it every step reorders the weights' gradients: measured, 15-25% of a training step
    in bfloat16. Loading a state dict keeps the order.
    """
    for parameter in network.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = channels_last(parameter.data)


def single_channel_convolution(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """The convolution of x (N, 1, *size), computed with a second channel of zeros.

    Measured in bfloat16, 2x1x40x56x40 to 32 features, one thread, forward and backward: 6 ms
    in place of 37 ms.
    """
    twice = channels_last(torch.cat((x, torch.zeros_like(x)), dim=1))
    weight = torch.cat((conv.weight, torch.zeros_like(conv.weight)), dim=1)
    convolve = functional.conv3d if isinstance(conv, nn.Conv3d) else functional.conv2d
    y: Tensor = convolve(twice, weight, conv.bias, conv.stride, conv.padding)
    return y


def upsample(layer: nn.Module, x: Tensor) -> Tensor:
    """A transposed convolution, its stride as long as its kernel, of x (N, C, *size).

    Where its gradient is wanted in bfloat16 it is computed as two products of matrices. Measured
    on one core with AMX, 7x64x20x28x20 to 32 features: 38 ms in place of 151 ms.
    """
    y: Tensor
    if torch.is_grad_enabled() and computes_in_bfloat16(x):
        parameters = layer.weight, layer.bias, layer.stride
        y = _Upsampling.apply(x, *parameters)  # type: ignore[no-untyped-call]
    else:
        y = layer(x)
    return y


def channels_last_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Instance norm of x (N, C, *size) with scale and shift (C,); the order of x is kept.

    One sample's instance norm is the batch norm of a batch of one, whose kernels are fast in
    this order. Measured in bfloat16, 2x32x40x56x40, one thread, forward and backward: 10 ms in
    place of 178 ms (group norm). Statistics are float32; x is float32 or bfloat16.
    """
    result: Tensor = _ChannelsLastNorm.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
    return result


class _ChannelsLastNorm(torch.autograd.Function):
    """Sample by sample a batch norm, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """(N, C, *size) -> the same shape."""
        y = torch.empty_like(x)  # keeps the order
        means = x.new_empty(x.shape[:2], dtype=torch.float32)  # (N, C)
        inverse_deviations = torch.empty_like(means)
        for i in range(len(x)):
            torch.native_batch_norm(
                x[i : i + 1],
                weight,
                bias,
                None,
                None,
                True,
                0.0,
                eps,
                out=(y[i : i + 1], means[i], inverse_deviations[i]),
            )
        ctx.save_for_backward(x, weight, means, inverse_deviations)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight, means, inverse_deviations = ctx.saved_tensors
        of_x = torch.empty_like(x)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        gradient = channels_last(gradients[0])
        for i in range(len(x)):
            one, scale, shift = torch.ops.aten.native_batch_norm_backward(
                gradient[i : i + 1],
                x[i : i + 1],
                weight,
                None,
                None,
                means[i],
                inverse_deviations[i],
                True,
                ctx.eps,
                [True, True, True],
            )
            of_x[i : i + 1].copy_(one)
            of_weight += scale
            of_bias += shift
        return of_x, of_weight, of_bias, None


class _Upsampling(torch.autograd.Function):
    """PyTorch's transposed convolution without overlap; backward products of matrices."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, ...]
    ) -> Tensor:
        """(N, C, *size) with weight (C, F, *stride) and bias (F,) -> (N, F, *(size * stride))."""
        x, narrow = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, narrow)
        ctx.weight_dtype = weight.dtype
        convolve = functional.conv_transpose3d if x.ndim == 5 else functional.conv_transpose2d
        y: Tensor = convolve(x, narrow, bias.bfloat16(), stride)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        stride, axes = weight.shape[2:], range(1, x.ndim - 1)
        # Every voxel of x has made a block of its own: (N, *size, *stride, F).
        blocks = gradients[0].movedim(1, -1)
        split = [n for axis in axes for n in (x.shape[axis + 1], stride[axis - 1])]
        blocks = blocks.reshape(len(x), *split, -1)
        places = [2 * axis - 1 for axis in axes]
        within = [2 * axis for axis in axes]
        blocks = blocks.permute(0, *places, *within, -1)
        rows = blocks.reshape(-1, math.prod(stride) * weight.shape[1])  # (V, S F)
        table = weight.movedim(1, -1).reshape(len(weight), -1)  # (C, S F)
        voxels = x.movedim(1, -1).reshape(-1, len(weight))  # (V, C)
        of_x = (rows @ table.t()).reshape(len(x), *x.shape[2:], -1).movedim(-1, 1)
        of_weight = (voxels.t() @ rows).reshape(len(weight), *stride, -1).movedim(-1, 1)
        of_bias = rows.reshape(-1, weight.shape[1]).sum(0, dtype=torch.float32)
        dtype = ctx.weight_dtype
        return of_x, channels_last(of_weight.to(dtype)), of_bias.to(dtype), None

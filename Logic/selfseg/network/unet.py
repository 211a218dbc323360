"""The U-Net that a plan describes.

    x (N, C, *P) -> encoder: one feature map per stage, highest resolution first
                 -> decoder: from the bottleneck upwards, joined with the encoder's maps
                 -> heads:   logits (N, K, *P / stride), one per decoder stage

Architecture and parameter counts are those of nnU-Net v2's networks (RECIPE), so that weights
can move between the two (`peer_names`).
"""

from __future__ import annotations

import torch
from torch import nn

from ..domain.plan import NetworkPlan
from .blocks import (
    ConvNorm,
    conv_stack,
    convolution,
    initialise,
    residual_stack,
    transposed_convolution,
)
from .channels_last import channels_last, computes_in_bfloat16, upsample


class UNet(nn.Module):
    """Encoder, decoder and a segmentation head on every decoder stage.

    Heads exist at every resolution whether or not they are used, so that one set of weights
    serves training and prediction. `deep_supervision` may be switched at any time.

    Args:
        plan: stages, features, kernels, strides.
        input_channels: C, cascade input included.
        output_channels: K, the label scheme's `head_count`.
    """

    def __init__(self, plan: NetworkPlan, input_channels: int, output_channels: int) -> None:
        super().__init__()
        self.plan = plan
        self.input_channels = input_channels
        self.output_channels = output_channels
        self.deep_supervision = False

        features, kernels, strides = plan.features_per_stage, plan.kernel_sizes, plan.strides
        ones = (1,) * plan.dimensions
        residual = plan.architecture == "residual"
        stack = residual_stack if residual else conv_stack

        self.stem: nn.Module = (
            ConvNorm(input_channels, features[0], kernels[0], ones) if residual else nn.Identity()
        )
        inputs = features[0] if residual else input_channels
        encoder = []
        for stage in range(plan.stage_count):
            count = plan.blocks_per_stage[stage]
            encoder.append(stack(count, inputs, features[stage], kernels[stage], strides[stage]))
            inputs = features[stage]
        self.encoder = nn.ModuleList(encoder)

        # Decoder lists run in order of computation: entry 0 lies just above the bottleneck.
        upsamplings, decoder, heads = [], [], []
        for count, stage in zip(
            plan.convs_per_decoder_stage, reversed(range(plan.stage_count - 1)), strict=True
        ):
            below, here = features[stage + 1], features[stage]
            upsamplings.append(transposed_convolution(below, here, strides[stage + 1]))
            decoder.append(conv_stack(count, 2 * here, here, kernels[stage], ones))
            heads.append(convolution(here, output_channels, ones, ones))
        if not heads:  # a single resolution has nothing to decode
            heads.append(convolution(features[0], output_channels, ones, ones))
        self.upsamplings = nn.ModuleList(upsamplings)
        self.decoder = nn.ModuleList(decoder)
        self.heads = nn.ModuleList(heads)

        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(N, C, *P) -> logits (N, K, *P), or with deep supervision a list, finest first.

        P must be divisible by the product of the strides on each axis.
        """
        if computes_in_bfloat16(x):
            x = channels_last(x)
        x = self.stem(x)
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)  # (N, F[stage], *P / strides so far)
        skips.pop()  # the bottleneck is x itself

        if not self.decoder:
            logits: torch.Tensor = self.heads[-1](x)
            return [logits] if self.deep_supervision else logits
        outputs: list[torch.Tensor] = []
        for upsampling, stage, head in zip(self.upsamplings, self.decoder, self.heads, strict=True):
            x = torch.cat((upsample(upsampling, x), skips.pop()), dim=1)  # (N, 2 F, ...)
            x = stage(x)  # (N, F, ...)
            if self.deep_supervision:
                outputs.append(head(x))  # (N, K, ...)
        if self.deep_supervision:
            return outputs[::-1]
        finest: torch.Tensor = self.heads[-1](x)
        return finest

    @property
    def parameter_count(self) -> int:
        """Learnt numbers, all heads included."""
        return sum(parameter.numel() for parameter in self.parameters())


def build_network(plan: NetworkPlan, input_channels: int, output_channels: int) -> UNet:
    """Builds the U-Net with fresh weights (torch's global generator decides them).

    Args:
        plan: the network part of a configuration.
        input_channels: C of the input, cascade input included.
        output_channels: K, one per head of the label scheme.
    """
    return UNet(plan, input_channels, output_channels)

"""A plan's U-Net as an ONNX graph, written node by node from the plan and the weights.

Nothing is traced: the graph has the operators of the architecture and no others, so that a
reader can refuse all the rest (`io.onnx_graphs.OPERATORS`), and neither PyTorch nor its exporter
has a say in it. What it computes is held to `network.unet` by the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain.errors import ModelError
from ..domain.plan import NetworkPlan
from ..io.onnx_graphs import INPUT, OPSET, OUTPUT, onnx_package

IR_VERSION = 8
"""Of the file format; ONNX Runtime reads it since 1.11 (February 2022)."""

NORM_EPS = 1e-5
LEAKY_SLOPE = 0.01
"""Both as in `network.blocks` (RECIPE), which cannot be imported without PyTorch."""

LARGEST_GRAPH = 2**31 - 2**20
"""Bytes; a file of protocol buffers ends at 2 GiB."""


def build_graph(
    plan: NetworkPlan,
    input_channels: int,
    output_channels: int,
    patch_size: Sequence[int],
    weights: Mapping[str, NDArray[Any]],
) -> bytes:
    """The network of one fold: `image` (N, C, *patch) to `logits` (N, K, *patch), N free.

    Only the head of the highest resolution is in it; the others serve the training.

    Args:
        plan: the architecture.
        input_channels: C, cascade input included.
        output_channels: K.
        patch_size: (Y, X) or (Z, Y, X), divisible by the strides.
        weights: float32 or float16 arrays, checked by `check_weights`.

    Returns:
        an ONNX file in which all weights are held as float32.

    Raises:
        UsageError: the package `onnx` is not installed.
        ModelError: more weights than a graph can hold.
    """
    graph = _Graph(weights)
    graph.unet(plan)
    needed = 4 * sum(weights[name].size for name in graph.used)
    if needed > LARGEST_GRAPH:
        raise ModelError(
            "the network is too large for an ONNX file",
            expected=f"weights of at most {LARGEST_GRAPH} bytes",
            found=f"{needed} bytes",
            cure="predict with PyTorch",
        )
    return graph.finished(
        (input_channels, *patch_size), (output_channels, *patch_size), plan.dimensions
    )


class _Graph:
    """Nodes in order of computation; every method returns the name of what it computes."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.onnx = onnx_package()
        self.weights = weights
        self.nodes: list[Any] = []
        self.used: list[str] = []

    def unet(self, plan: NetworkPlan) -> None:
        """As `network.unet.UNet.forward` without deep supervision."""
        ones = (1,) * plan.dimensions
        residual = plan.architecture == "residual"
        x = INPUT
        if residual:
            x = self.conv_norm("stem", x, ones)
        skips = []
        for stage, (count, stride) in enumerate(
            zip(plan.blocks_per_stage, plan.strides, strict=True)
        ):
            for block in range(count):
                layer = self.residual_block if residual else self.conv_norm
                x = layer(f"encoder.{stage}.{block}", x, stride if block == 0 else ones)
            skips.append(x)
        skips.pop()
        for index, count in enumerate(plan.convs_per_decoder_stage):
            stride = plan.strides[plan.stage_count - 1 - index]
            x = self.convolution(f"upsamplings.{index}", x, stride, transposed=True)
            x = self.add("Concat", f"decoder.{index}.joined", [x, skips.pop()], axis=1)
            for block in range(count):
                x = self.conv_norm(f"decoder.{index}.{block}", x, ones)
        head = max(0, len(plan.convs_per_decoder_stage) - 1)
        self.convolution(f"heads.{head}", x, ones, output=OUTPUT)

    def residual_block(self, name: str, x: str, stride: Sequence[int]) -> str:
        """As `network.blocks.ResidualBlock`."""
        shortcut = x
        if any(s != 1 for s in stride):
            lengths = list(stride)
            shortcut = self.add(
                "AveragePool", f"{name}.pool", [x], kernel_shape=lengths, strides=lengths
            )
        ones = (1,) * len(stride)
        if f"{name}.projection.conv.weight" in self.weights:
            shortcut = self.conv_norm(f"{name}.projection", shortcut, ones, activate=False)
        y = self.conv_norm(f"{name}.conv1", x, stride)
        y = self.conv_norm(f"{name}.conv2", y, ones, activate=False)
        y = self.add("Add", f"{name}.sum", [y, shortcut])
        return self.activation(name, y)

    def conv_norm(self, name: str, x: str, stride: Sequence[int], *, activate: bool = True) -> str:
        """As `network.blocks.ConvNorm`."""
        x = self.convolution(f"{name}.conv", x, stride)
        norm = [self.weight(f"{name}.norm.weight"), self.weight(f"{name}.norm.bias")]
        x = self.add("InstanceNormalization", f"{name}.norm", [x, *norm], epsilon=NORM_EPS)
        return self.activation(name, x) if activate else x

    def activation(self, name: str, x: str) -> str:
        return self.add("LeakyRelu", f"{name}.activation", [x], alpha=LEAKY_SLOPE)

    def convolution(
        self,
        name: str,
        x: str,
        stride: Sequence[int],
        *,
        transposed: bool = False,
        output: str | None = None,
    ) -> str:
        """With the bias where there is one, and the padding that keeps the size."""
        inputs = [x, self.weight(f"{name}.weight")]
        if f"{name}.bias" in self.weights:
            inputs.append(self.weight(f"{name}.bias"))
        kernel = self.weights[f"{name}.weight"].shape[2:]
        padding = [0 if transposed else (k - 1) // 2 for k in kernel]
        return self.add(
            "ConvTranspose" if transposed else "Conv",
            name,
            inputs,
            output=output,
            kernel_shape=list(kernel),
            strides=list(stride),
            pads=padding * 2,
        )

    def weight(self, name: str) -> str:
        self.used.append(name)
        return name

    def add(
        self,
        operator: str,
        name: str,
        inputs: Sequence[str],
        *,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        output = output or f"{name}.out"
        node = self.onnx.helper.make_node(operator, list(inputs), [output], name, **attributes)
        self.nodes.append(node)
        return output

    def finished(self, image: Sequence[int], logits: Sequence[int], dimensions: int) -> bytes:
        """The file; shapes are without N."""
        helper, tensor = self.onnx.helper, self.onnx.TensorProto
        graph = helper.make_graph(
            self.nodes,
            f"unet_{dimensions}d",
            [helper.make_tensor_value_info(INPUT, tensor.FLOAT, ["N", *image])],
            [helper.make_tensor_value_info(OUTPUT, tensor.FLOAT, ["N", *logits])],
            [
                self.onnx.numpy_helper.from_array(
                    np.ascontiguousarray(self.weights[name], dtype=np.float32), name
                )
                for name in self.used
            ],
        )
        model = helper.make_model(
            graph,
            producer_name="selfseg",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        self.onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data

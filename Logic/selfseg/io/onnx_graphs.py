"""What a graph from outside may hold: a U-Net with its weights, and nothing else.

Some operators of ONNX run other files or hold other graphs, and weights kept outside a graph can
be any file of the machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..domain.errors import ModelError, UsageError
from ..domain.network_shapes import weight_shapes
from ..domain.plan import Plan
from .member_names import refused

INPUT, OUTPUT = "image", "logits"
"""What a graph takes, (N, C, *patch), and what it gives, (N, K, *patch)."""

OPSET = 17
"""Of ONNX's operators: the newest whose InstanceNormalization, Conv and others are all known
to every ONNX Runtime since 1.12 (July 2022)."""

OPERATORS = frozenset(
    ("Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "InstanceNormalization", "LeakyRelu")
)
"""All that a U-Net needs. None of them reads a file or holds another graph."""


def shapes_of(plan: Plan, configuration: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(C, *patch) that a configuration's network takes and (K, *patch) that it gives."""
    patch = plan.configuration(configuration).patch_size
    heads = plan.description.labels.head_count
    return (plan.input_channels(configuration), *patch), (heads, *patch)


def check_graph(data: bytes, plan: Plan, configuration: str, source: Path) -> None:
    """Refuses a graph that is more, or something else, than a network with its weights.

    Args:
        data: an ONNX file.
        plan: the plan.
        configuration: whose network it must be.
        source: where it comes from, for the message.

    Raises:
        ModelError: it is damaged, has other operators, weights that lie elsewhere, are none or
            are another network's, or takes or gives other shapes.
        UsageError: the package `onnx` is not installed.
    """
    onnx = onnx_package()
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # the class belongs to whichever protobuf is installed
        raise refused(source, "a graph that is damaged", str(error)) from error
    graph = model.graph
    if model.functions or graph.sparse_initializer or model.training_info:
        raise refused(source, "a graph with functions, sparse weights or a training of its own")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": OPSET}:
        raise refused(source, f"a graph with other operators than opset {OPSET}'s", str(versions))
    for node in graph.node:
        if node.op_type not in OPERATORS or node.domain:
            found = f"{node.domain}.{node.op_type}".lstrip(".")
            raise refused(source, "a graph with an operator that no U-Net needs", found)
        kinds = onnx.AttributeProto
        allowed = (kinds.FLOAT, kinds.INT, kinds.INTS, kinds.STRING)
        if any(entry.type not in allowed for entry in node.attribute):
            raise refused(source, "a graph with another graph or weights inside", node.op_type)
    input_shape, output_shape = shapes_of(plan, configuration)
    network = plan.configuration(configuration).network
    shapes = weight_shapes(network, input_shape[0], output_shape[0])
    for tensor in graph.initializer:
        _check_weight(onnx, tensor, shapes, source)
    for values, name, shape in (
        (graph.input, INPUT, input_shape),
        (graph.output, OUTPUT, output_shape),
    ):
        shown = [(v.name, v.type.tensor_type.elem_type, _dimensions(v)) for v in values]
        if shown != [(name, onnx.TensorProto.FLOAT, (None, *shape))]:
            raise ModelError(
                "the graph does not fit the plan",
                expected=f"{name} (N, {', '.join(map(str, shape))}), float32",
                found="; ".join(f"{n} {s}".replace("None", "N") for n, _, s in shown)[:300],
                cure="export the model again",
                path=source,
            )


def onnx_package() -> Any:
    """The package `onnx`, which is an extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise UsageError(
            "ONNX is not installed",
            expected="the packages onnx and onnxruntime",
            found=str(error),
            cure='install them: pip install "selfseg[onnx]"',
        ) from error
    return onnx


def _check_weight(
    onnx: Any, tensor: Any, shapes: Mapping[str, tuple[int, ...]], source: Path
) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        raise refused(source, "a graph whose weights lie in another file", repr(place))
    shape = tuple(tensor.dims)
    if (
        tensor.data_type != onnx.TensorProto.FLOAT
        or shapes.get(tensor.name) != shape
        or len(tensor.raw_data) != 4 * math.prod(shape)
    ):
        wanted = shapes.get(tensor.name, "no such weight")
        found = f"{tensor.name}: {shape}, expected {wanted}, float32"
        raise refused(source, "a graph with the weights of another network", found)
    if not np.isfinite(np.frombuffer(tensor.raw_data, "<f4")).all():
        raise refused(source, "a graph with weights that are not numbers", tensor.name)


def _dimensions(value: Any) -> tuple[int | None, ...]:
    """Of an input or output; None where any number is allowed."""
    entries = value.type.tensor_type.shape.dim
    return tuple(int(e.dim_value) if e.HasField("dim_value") else None for e in entries)

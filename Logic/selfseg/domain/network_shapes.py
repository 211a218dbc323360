"""Names and shapes of a network's weights, from the plan alone: no network is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .plan import NetworkPlan

Shape = tuple[int, ...]


def weight_shapes(plan: NetworkPlan, input_channels: int, output_channels: int) -> dict[str, Shape]:
    """What `network.unet.build_network` would have in its state dict.

    Args:
        plan: the network.
        input_channels: C, cascade input included.
        output_channels: K, one per head of the label scheme.

    Returns:
        name to shape, in the order of the network.
    """
    return dict(_weights(plan, input_channels, output_channels))


def _weights(plan: NetworkPlan, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    features, kernels, strides = plan.features_per_stage, plan.kernel_sizes, plan.strides
    ones = (1,) * plan.dimensions
    residual = plan.architecture == "residual"
    if residual:
        yield from _conv_norm("stem", inputs, features[0], kernels[0])
        inputs = features[0]
    for stage, count in enumerate(plan.blocks_per_stage):
        for block in range(count):
            name, here = f"encoder.{stage}.{block}", features[stage]
            if residual:
                yield from _residual_block(name, inputs, here, kernels[stage])
            else:
                yield from _conv_norm(name, inputs, here, kernels[stage])
            inputs = here
    above = tuple(reversed(range(plan.stage_count - 1)))
    for index, stage in enumerate(above):
        below, here = features[stage + 1], features[stage]
        yield f"upsamplings.{index}.weight", (below, here, *strides[stage + 1])
        yield f"upsamplings.{index}.bias", (here,)
    for index, stage in enumerate(above):
        here = features[stage]
        for block in range(plan.convs_per_decoder_stage[index]):
            taken = 2 * here if block == 0 else here
            yield from _conv_norm(f"decoder.{index}.{block}", taken, here, kernels[stage])
    for index, stage in enumerate(above or (0,)):
        yield f"heads.{index}.weight", (outputs, features[stage], *ones)
        yield f"heads.{index}.bias", (outputs,)


def _conv_norm(
    name: str, inputs: int, outputs: int, kernel: Sequence[int], *, bias: bool = True
) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.conv.weight", (outputs, inputs, *kernel)
    if bias:
        yield f"{name}.conv.bias", (outputs,)
    yield f"{name}.norm.weight", (outputs,)
    yield f"{name}.norm.bias", (outputs,)


def _residual_block(
    name: str, inputs: int, outputs: int, kernel: Sequence[int]
) -> Iterator[tuple[str, Shape]]:
    yield from _conv_norm(f"{name}.conv1", inputs, outputs, kernel)
    yield from _conv_norm(f"{name}.conv2", outputs, outputs, kernel)
    if inputs != outputs:
        ones = (1,) * len(kernel)
        yield from _conv_norm(f"{name}.projection", inputs, outputs, ones, bias=False)

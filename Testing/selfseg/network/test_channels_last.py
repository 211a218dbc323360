from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from selfseg.domain.plan import NetworkPlan
from selfseg.network.channels_last import (
    channels_last,
    channels_last_norm,
    computes_in_bfloat16,
    order_weights,
    single_channel_convolution,
    upsample,
)
from selfseg.network.unet import UNet, build_network

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(3, 4, 5, 6, 7), (2, 4, 6, 7), (1, 4, 3, 2, 2)]
HALF = torch.bfloat16


def _plan(architecture: str = "plain", dimensions: int = 3) -> NetworkPlan:
    kernels = ((3,) * dimensions,) * 3
    strides = ((1,) * dimensions, (2,) * dimensions, (2,) * dimensions)
    blocks = (2, 2, 2) if architecture == "plain" else (1, 3, 2)
    return NetworkPlan(architecture, (8, 16, 16), kernels, strides, blocks, (2, 2))  # type: ignore[arg-type]


def _network(architecture: str, dimensions: int, channels: int) -> UNet:
    torch.manual_seed(0)
    network = build_network(_plan(architecture, dimensions), channels, 3)
    network.deep_supervision = True
    for name, parameter in network.named_parameters():
        if name.endswith("norm.weight"):  # zero-initialised ones would hide what is before them
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return network


@pytest.mark.parametrize("shape", SHAPES)
def test_norm_and_its_gradients_are_instance_norms(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    x = channels_last(torch.randn(shape) * 3 + 5).requires_grad_()
    weight = torch.tensor([1.0, 2.0, -1.0, 0.0], requires_grad=True)
    bias = torch.tensor([0.5, 0.0, 3.0, 1.0], requires_grad=True)
    upstream = torch.randn(shape)
    ours = channels_last_norm(x, weight, bias, 1e-5)
    theirs = functional.instance_norm(x, weight=weight, bias=bias, eps=1e-5)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours.stride() == x.stride()
    wanted = torch.autograd.grad(theirs, (x, weight, bias), upstream)
    for order in (upstream, channels_last(upstream)):  # whatever order the gradient comes in
        found = torch.autograd.grad(ours, (x, weight, bias), order, retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_norm_gradients_in_bfloat16_are_near() -> None:
    torch.manual_seed(2)
    exact = channels_last(torch.randn(2, 4, 8, 8, 8)).requires_grad_()
    rough = exact.detach().to(HALF).requires_grad_()
    weight, bias = torch.ones(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    upstream = torch.randn(exact.shape)
    one = torch.autograd.grad(
        channels_last_norm(exact, weight, bias, 1e-5), (exact, weight), upstream
    )
    two = torch.autograd.grad(
        channels_last_norm(rough, weight, bias, 1e-5), (rough, weight), upstream.to(HALF)
    )
    assert two[0].dtype is HALF
    assert two[1].dtype is torch.float32
    torch.testing.assert_close(two[0].float(), one[0], atol=0.05, rtol=0.05)
    torch.testing.assert_close(two[1], one[1], atol=0.5, rtol=0.05)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_one_channel(dimensions: int, stride: int) -> None:
    torch.manual_seed(3)
    kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
    conv = kind(1, 8, 3, stride, 1)
    x = torch.randn(2, 1, *(6, 8, 10)[:dimensions])
    ours, theirs = single_channel_convolution(conv, x), conv(x)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    upstream = torch.randn_like(theirs)
    parameters = list(conv.parameters())
    for one, other in zip(
        torch.autograd.grad(ours, parameters, upstream),
        torch.autograd.grad(theirs, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_network_in_bfloat16_is_near_single_precision(
    architecture: str, dimensions: int, channels: int
) -> None:
    network = _network(architecture, dimensions, channels)
    x = torch.randn(2, channels, *(16, 16, 16)[:dimensions])
    exact = network(x)
    torch.autograd.backward(sum(y.square().mean() for y in exact))
    wanted = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    order_weights(network)
    with torch.autocast("cpu", dtype=HALF):
        rough = network(x)
    torch.autograd.backward(sum(y.float().square().mean() for y in rough))
    for one, other in zip(rough, exact, strict=True):
        assert one.dtype is HALF
        assert one.stride() == channels_last(other).stride()
        torch.testing.assert_close(one.float(), other, atol=0.15, rtol=0.1)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype is torch.float32
        if parameter.ndim > 1:
            a, b = parameter.grad.flatten(), wanted[name].flatten()
            assert float(functional.cosine_similarity(a, b, dim=0)) > 0.95, name


@pytest.mark.parametrize("stride", [(2, 2), (2, 2, 2), (1, 2, 3)])
def test_upsampling_has_the_gradients_of_a_transposed_convolution(stride: tuple[int, ...]) -> None:
    torch.manual_seed(4)
    kind = nn.ConvTranspose3d if len(stride) == 3 else nn.ConvTranspose2d
    layer = kind(8, 6, stride, stride)
    order_weights(layer)
    x = channels_last(torch.randn(2, 8, *(3, 4, 5)[-len(stride) :])).to(HALF).requires_grad_()
    found = []
    for compute in (layer, lambda y: upsample(layer, y)):
        with torch.autocast("cpu", dtype=HALF):
            y = compute(x)
            joined = torch.cat((y, 2 * y), dim=1)  # its gradient comes with gaps
        wanted = (x, layer.weight, layer.bias)
        gradients = torch.autograd.grad(joined.float().square().sum(), wanted)
        found.append((y.detach(), *gradients))
    torch.testing.assert_close(found[1][0], found[0][0], atol=0, rtol=0)
    for one, other in zip(found[1][1:], found[0][1:], strict=True):
        assert one.dtype is other.dtype
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.01)


def test_upsampling_elsewhere_is_the_layer() -> None:
    layer = nn.ConvTranspose3d(2, 2, 2, 2)
    x = torch.randn(1, 2, 2, 2, 2)
    torch.testing.assert_close(upsample(layer, x), layer(x), atol=0, rtol=0)


def test_when_bfloat16_is_computed() -> None:
    x = torch.zeros(1)
    assert not computes_in_bfloat16(x)
    assert computes_in_bfloat16(x.to(HALF))
    with torch.autocast("cpu", dtype=HALF):
        assert computes_in_bfloat16(x)
    with torch.autocast("cpu", dtype=torch.float16):
        assert not computes_in_bfloat16(x.to(HALF))


def test_order_of_weights_survives_loading() -> None:
    network = _network("plain", 3, 2)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    order_weights(network)
    network.load_state_dict(state)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.data, state[name], atol=0, rtol=0)
        if parameter.ndim == 5:
            assert parameter.is_contiguous(memory_format=torch.channels_last_3d)

"""The networks against nnU-Net's: golden logits made by benchmarks/network_parity.py."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from selfseg.domain.errors import ModelError
from selfseg.domain.plan import NetworkPlan
from selfseg.network.blocks import InstanceNorm, ResidualBlock
from selfseg.network.peer_names import from_peer_names
from selfseg.network.unet import UNet, build_network

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = Path(__file__).with_name("peer_logits.npz")
TINY = ("tiny_plain_2d", "tiny_plain_3d", "tiny_residual_2d", "tiny_residual_3d")
CHANNELS, HEADS = 2, 3


def seeded_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return generator.standard_normal(shape).astype(np.float32)


def seeded_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    scale = max(1.0, np.sqrt(np.prod(shape[1:], dtype=float)))
    return torch.from_numpy((seeded_array(name, shape) / scale).astype(np.float32))


def tuples(value: Any) -> Any:
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def golden(name: str) -> tuple[NetworkPlan, tuple[int, ...], dict[str, Any]]:
    with np.load(GOLDEN) as stored:
        entries = {k.split("/")[1]: stored[k] for k in stored.files if k.startswith(name + "/")}
    fields = {key: tuples(value) for key, value in json.loads(str(entries["plan"])).items()}
    patch = fields.pop("patch")
    return NetworkPlan(**fields), patch, entries


def peer_network(name: str) -> tuple[UNet, torch.Tensor, dict[str, Any]]:
    plan, patch, entries = golden(name)
    network = build_network(plan, CHANNELS, HEADS)
    names = from_peer_names({str(n): str(n) for n in entries["names"]})
    state = network.state_dict()
    assert names.keys() == state.keys()
    network.load_state_dict(
        {ours: seeded_weight(names[ours], tuple(v.shape)) for ours, v in state.items()}
    )
    return network, torch.from_numpy(seeded_array("input", (1, CHANNELS, *patch))), entries


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("gradients", [False, True])
def test_same_weights_same_logits_as_nnunet(name: str, gradients: bool) -> None:
    network, x, entries = peer_network(name)
    assert network.parameter_count == int(entries["parameters"])
    network.deep_supervision = True
    with torch.set_grad_enabled(gradients):
        outputs = network(x)
    wanted = [entries[f"logits_{i}"] for i in range(len(outputs))]
    assert f"logits_{len(outputs)}" not in entries
    for ours, theirs in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-5)
    network.deep_supervision = False
    np.testing.assert_allclose(network(x).detach().numpy(), wanted[0], atol=1e-5)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("gradients", [False, True])
def test_channels_last_gives_the_same(name: str, gradients: bool) -> None:
    network, x, entries = peer_network(name)
    form = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    network.to(memory_format=form)
    with torch.set_grad_enabled(gradients):
        logits = network(x.contiguous(memory_format=form))
    np.testing.assert_allclose(logits.detach().numpy(), entries["logits_0"], atol=1e-3)


@pytest.mark.parametrize("name", TINY)
def test_other_weights_give_other_logits(name: str) -> None:
    network, x, entries = peer_network(name)
    for parameter in network.parameters():
        before = parameter.detach().clone()
        assert before.numel() > 0
    with torch.no_grad():
        next(iter(network.encoder[-1].parameters())).mul_(2).add_(0.1)
        logits = network(x)
    assert np.abs(logits.numpy() - entries["logits_0"]).max() > 1e-3


@pytest.mark.parametrize("name", TINY)
def test_every_weight_learns_under_deep_supervision(name: str) -> None:
    plan, patch, _ = golden(name)
    network = build_network(plan, CHANNELS, HEADS)
    network.deep_supervision = True
    for parameter in network.parameters():  # zero-initialised norms would hide the others
        torch.nn.init.normal_(parameter)
    outputs = network(torch.randn(2, CHANNELS, *patch))
    assert [tuple(y.shape[:2]) for y in outputs] == [(2, HEADS)] * (plan.stage_count - 1)
    assert tuple(outputs[0].shape[2:]) == patch
    sum(y.square().mean() for y in outputs).backward()
    biases_before_norm = {n for n, _ in network.named_parameters() if n.endswith("conv.bias")}
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        if parameter_name not in biases_before_norm:
            assert parameter.grad.abs().max() > 0, parameter_name


def test_initial_weights() -> None:
    plan, _, _ = golden("tiny_residual_3d")
    wide = NetworkPlan("residual", (64, 64, 64), plan.kernel_sizes, plan.strides, (1, 2, 2), (1, 1))
    network = build_network(wide, 64, HEADS)
    conv = network.decoder[0][0].conv
    fan_in = conv.weight[0].numel()
    assert conv.weight.std().item() == pytest.approx(np.sqrt(2 / 1.0001 / fan_in), rel=0.05)
    assert conv.bias.abs().max() == 0
    blocks = [m for m in network.modules() if isinstance(m, ResidualBlock)]
    assert len(blocks) == 5
    for block in blocks:  # a fresh block is its shortcut
        assert block.conv2.norm.weight.abs().max() == 0
        assert block.conv1.norm.weight.min() == 1


def test_a_single_resolution_is_a_network_too() -> None:
    plan = NetworkPlan("plain", (4,), ((3, 3),), ((1, 1),), (2,), ())
    network = build_network(plan, 1, 2)
    assert network(torch.randn(1, 1, 5, 6)).shape == (1, 2, 5, 6)
    network.deep_supervision = True
    assert [y.shape for y in network(torch.randn(1, 1, 5, 6))] == [(1, 2, 5, 6)]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (2, 3, 7, 8)])
@pytest.mark.parametrize("gradients", [False, True])
def test_norm_is_torchs_instance_norm(shape: tuple[int, ...], gradients: bool) -> None:
    norm = InstanceNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, 3.0]))
    last = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    for form in (torch.contiguous_format, last):
        x = (torch.randn(shape) * 3 + 1).contiguous(memory_format=form)
        with torch.set_grad_enabled(gradients):
            ours = norm(x)
        theirs = functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=1e-5)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_export_to_one_file() -> None:
    network, x, entries = peer_network("tiny_plain_3d")
    program = torch.export.export(network.eval(), (x,))
    np.testing.assert_allclose(program.module()(x).detach().numpy(), entries["logits_0"], atol=1e-5)


def test_names_of_wrapped_and_foreign_networks() -> None:
    state = {
        "module.encoder.stages.1.0.convs.0.conv.weight": 1,
        "_orig_mod.decoder.seg_layers.0.bias": 2,
        "module._orig_mod.decoder.encoder.stages.1.0.convs.0.conv.weight": 3,
        "decoder.stages.0.convs.1.all_modules.1.weight": 4,
        "encoder.stages.2.blocks.3.skip.1.norm.bias": 5,
        "encoder.stages.2.blocks.3.skip.0.conv.weight": 6,
    }
    assert from_peer_names(state) == {
        "encoder.1.0.conv.weight": 1,
        "heads.0.bias": 2,
        "encoder.2.3.projection.norm.bias": 5,
        "encoder.2.3.projection.conv.weight": 6,
    }
    with pytest.raises(ModelError, match="custom trainers"):
        from_peer_names({"transformer.layers.0.weight": 1})

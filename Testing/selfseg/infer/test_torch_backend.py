from __future__ import annotations

import numpy as np
import pytest
import torch

from selfseg.domain.errors import ModelError, UsageError
from selfseg.domain.plan import NetworkPlan
from selfseg.infer.torch_backend import TorchBackend, pick_device
from selfseg.network.devices import inference_dtype
from selfseg.network.unet import build_network

pytestmark = pytest.mark.usefixtures("one_thread")

PLANS = {
    "plain 3d": NetworkPlan(
        "plain", (4, 8), ((1, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 2, 2)), (2, 2), (2,)
    ),
    "residual 2d": NetworkPlan(
        "residual", (4, 8), ((3, 3), (3, 3)), ((1, 1), (2, 2)), (1, 2), (1,)
    ),
}


def some_weights(plan: NetworkPlan, seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    network = build_network(plan, 2, 3)
    return {
        name: (torch.randn_like(value) * 0.3).numpy()
        for name, value in network.state_dict().items()
    }


def some_tiles(plan: NetworkPlan) -> np.ndarray:
    shape = (2, 2, *(4, 8, 10)[-plan.dimensions :])
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", PLANS)
def test_one_network_in_float32_is_the_network_itself(name: str) -> None:
    plan, x = PLANS[name], some_tiles(PLANS[name])
    weights = some_weights(plan, 0)
    network = build_network(plan, 2, 3)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    with torch.inference_mode():
        wanted = network(torch.from_numpy(x)).numpy()
    found = TorchBackend(plan, 2, 3, [weights], device="cpu", autocast="off").predict(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("name", PLANS)
def test_folds_and_mirrored_tiles_are_averaged(name: str) -> None:
    plan, x = PLANS[name], some_tiles(PLANS[name])
    folds = [some_weights(plan, seed) for seed in range(3)]
    single = [TorchBackend(plan, 2, 3, [w], device="cpu", autocast="off") for w in folds]
    together = TorchBackend(plan, 2, 3, folds, device="cpu", autocast="off")
    np.testing.assert_allclose(
        together.predict(x), np.mean([b.predict(x) for b in single], axis=0), atol=1e-5
    )
    first = single[0]
    mirrored = [np.flip(first.predict(np.flip(x, axes)), axes) for axes in [(), (2,), (3,), (2, 3)]]
    np.testing.assert_allclose(
        first.predict(x, mirror_axes=(0, 1)), np.mean(mirrored, axis=0), atol=1e-5
    )


@pytest.mark.parametrize("name", PLANS)
def test_bfloat16_decides_almost_every_voxel_as_float32_does(name: str) -> None:
    plan, x = PLANS[name], some_tiles(PLANS[name])
    weights = some_weights(plan, 1)
    full = TorchBackend(plan, 2, 3, [weights], device="cpu", autocast="off").predict(x)
    half = TorchBackend(plan, 2, 3, [weights], device="cpu", autocast="bfloat16").predict(x)
    assert half.dtype == np.float32
    assert np.abs(full - half).max() < 0.05 * np.abs(full).max()
    assert np.abs(full - half).max() > 0  # it was bfloat16
    assert (full.argmax(1) == half.argmax(1)).mean() > 0.97


def test_without_weights_there_is_a_fresh_network() -> None:
    plan = PLANS["plain 3d"]
    assert TorchBackend(plan, 2, 3, [], device="cpu").predict(some_tiles(plan)).shape[1] == 3


def test_weights_of_another_network_are_refused() -> None:
    plan = PLANS["plain 3d"]
    with pytest.raises(ModelError, match="do not fit"):
        TorchBackend(plan, 2, 3, [some_weights(PLANS["residual 2d"], 0)], device="cpu")
    weights = some_weights(plan, 0)
    weights["heads.0.bias"] = weights["heads.0.bias"][:2]
    with pytest.raises(ModelError, match=r"heads\.0\.bias"):
        TorchBackend(plan, 2, 3, [weights], device="cpu")


def test_devices_and_arithmetic_are_explicit() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "mps"
    available = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert pick_device("auto").type == (best if available else "cpu")
    with pytest.raises(UsageError, match="no device 'tpu'"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            pick_device("cuda")
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert inference_dtype(cpu, "off") is None
    assert inference_dtype(cpu, "float16") is torch.bfloat16
    assert inference_dtype(cuda, "auto") is torch.float16
    with pytest.raises(UsageError, match="arithmetic"):
        inference_dtype(cpu, "int8")


def many_heads(plan: NetworkPlan, seed: int, heads: int = 12) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return {k: v.numpy() for k, v in build_network(plan, 2, heads).state_dict().items()}


@pytest.mark.parametrize("folds", [1, 2])
@pytest.mark.parametrize("name", PLANS)
def test_the_last_layer_may_come_last(name: str, folds: int) -> None:
    plan, x = PLANS[name], some_tiles(PLANS[name])
    weights = [many_heads(plan, seed) for seed in range(folds)]
    late = TorchBackend(plan, 2, 12, iter(weights), device="cpu", autocast="off")
    assert late.head is not None
    assert late.map_count == 4 * folds
    wanted = []
    for entry in weights:
        network = build_network(plan, 2, 12)
        network.load_state_dict({k: torch.from_numpy(v) for k, v in entry.items()})
        with torch.inference_mode():
            wanted.append(network(torch.from_numpy(x)).numpy())
    np.testing.assert_allclose(late.predict(x), np.mean(wanted, axis=0), atol=1e-5)
    few = TorchBackend(plan, 2, 12, [*weights, *weights, *weights], device="cpu")
    assert (few.head is None) == (folds == 1 or folds == 2)
    assert few.map_count == 12


def test_passes_of_any_number_give_the_same() -> None:
    plan, x = PLANS["plain 3d"], some_tiles(PLANS["plain 3d"])
    backend = TorchBackend(plan, 2, 3, [some_weights(plan, 0)], device="cpu", autocast="off")
    one = backend.mean_maps(x, (0, 2), 1)
    for passes in (2, 3, 8, 100):
        torch.testing.assert_close(backend.mean_maps(x, (0, 2), passes), one, atol=1e-5, rtol=1e-4)

"""ONNX Runtime computes what PyTorch computes, and says clearly when it cannot."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch

from selfseg.domain.errors import ModelError, UsageError
from selfseg.domain.plan import NetworkPlan
from selfseg.infer.onnx_backend import OnnxBackend, pick_provider
from selfseg.infer.torch_backend import TorchBackend
from selfseg.network.unet import build_network
from selfseg.registry.onnx_graph import build_graph

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("one_thread")

THREE = (3, 3, 3)
PLANS = {
    "plain 3d": NetworkPlan(
        "plain", (4, 8, 8), ((1, 3, 3), THREE, THREE), ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        (2, 1, 2), (2, 1),
    ),
    "residual 3d": NetworkPlan(
        "residual", (4, 8, 8), (THREE, THREE, THREE), ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        (1, 2, 1), (1, 1),
    ),
    "plain 2d": NetworkPlan("plain", (4, 8), ((3, 3),) * 2, ((1, 1), (2, 2)), (2, 2), (2,)),
    "residual 2d": NetworkPlan("residual", (4, 8), ((3, 3),) * 2, ((1, 1), (2, 2)), (1, 2), (1,)),
    "one resolution": NetworkPlan("plain", (4,), (THREE,), ((1, 1, 1),), (2,), ()),
}  # fmt: skip
CHANNELS, HEADS = 2, 3


def patch_of(plan: NetworkPlan) -> tuple[int, ...]:
    return (4, 8, 12)[-plan.dimensions :]


def some_weights(plan: NetworkPlan, seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    network = build_network(plan, CHANNELS, HEADS)
    return {
        name: (torch.randn_like(value) * 0.3).numpy()
        for name, value in network.state_dict().items()
    }


def graph_of(plan: NetworkPlan, weights: dict[str, np.ndarray]) -> bytes:
    return build_graph(plan, CHANNELS, HEADS, patch_of(plan), weights)


def onnx_backend(plan: NetworkPlan, *folds: dict[str, np.ndarray], **options: Any) -> OnnxBackend:
    patch = patch_of(plan)
    return OnnxBackend(
        (graph_of(plan, weights) for weights in folds),
        (CHANNELS, *patch),
        (HEADS, *patch),
        **({"device": "cpu", "threads": 1} | options),
    )


def some_tiles(plan: NetworkPlan, count: int = 2) -> np.ndarray:
    shape = (count, CHANNELS, *patch_of(plan))
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", PLANS)
def test_every_architecture_gives_the_logits_of_pytorch(name: str) -> None:
    plan = PLANS[name]
    weights = some_weights(plan, 0)
    wanted = TorchBackend(plan, CHANNELS, HEADS, [weights], device="cpu", autocast="off")
    found = onnx_backend(plan, weights)
    for count in (1, 3):  # the batch is not fixed
        x = some_tiles(plan, count)
        logits = found.predict(x)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, wanted.predict(x), atol=2e-5)


@pytest.mark.parametrize("name", ["residual 3d", "plain 2d"])
def test_folds_and_mirrored_tiles_are_averaged(name: str) -> None:
    plan = PLANS[name]
    folds = [some_weights(plan, seed) for seed in range(3)]
    wanted = TorchBackend(plan, CHANNELS, HEADS, folds, device="cpu", autocast="off")
    found = onnx_backend(plan, *folds)
    x = some_tiles(plan)
    before = x.copy()
    for axes in ((), (1,), tuple(range(plan.dimensions))):
        np.testing.assert_allclose(found.predict(x, axes), wanted.predict(x, axes), atol=2e-5)
    np.testing.assert_array_equal(x, before)


def test_weights_in_half_precision_become_float32() -> None:
    plan = PLANS["plain 2d"]
    half = {name: value.astype(np.float16) for name, value in some_weights(plan, 0).items()}
    full = {name: value.astype(np.float32) for name, value in half.items()}
    assert graph_of(plan, half) == graph_of(plan, full)


def test_tiles_of_another_shape_are_refused() -> None:
    backend = onnx_backend(PLANS["plain 2d"], some_weights(PLANS["plain 2d"], 0))
    with pytest.raises(ModelError, match="do not fit"):
        backend.predict(np.zeros((1, CHANNELS, 8, 16), np.float32))
    with pytest.raises(ModelError, match="do not fit"):
        backend.predict(np.zeros((CHANNELS, 8, 12), np.float32))


def test_a_graph_of_other_shapes_is_refused() -> None:
    plan = PLANS["plain 2d"]
    graph = graph_of(plan, some_weights(plan, 0))
    with pytest.raises(ModelError, match="does not fit the plan"):
        OnnxBackend([graph], (CHANNELS, 8, 16), (HEADS, 8, 16), device="cpu")
    with pytest.raises(ModelError, match="does not fit the plan"):
        OnnxBackend([graph], (CHANNELS, 8, 12), (HEADS + 1, 8, 12), device="cpu")


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="refuses the graph"):
        OnnxBackend([b"not a graph"], (1, 8, 8), (2, 8, 8), device="cpu")
    with pytest.raises(ModelError, match="no graph"):
        OnnxBackend([], (1, 8, 8), (2, 8, 8), device="cpu")


def test_devices_are_explicit() -> None:
    assert pick_provider("cpu") == "cpu"
    assert pick_provider("auto") in ("cpu", "cuda")
    with pytest.raises(UsageError, match="no device 'tpu'"):
        pick_provider("tpu")


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PLANS["plain 2d"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    backend = onnx_backend(plan, some_weights(plan, 0), threads=None)
    assert backend.sessions[0].get_session_options().intra_op_num_threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    backend = onnx_backend(plan, some_weights(plan, 0), threads=None)
    assert backend.sessions[0].get_session_options().intra_op_num_threads >= 1


def test_without_onnx_runtime_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"selfseg\[onnx\]"):
        OnnxBackend([], (1, 8, 8), (2, 8, 8))

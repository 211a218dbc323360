"""How soon whatever takes long ends when it is asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfseg.arrays.resample import resample_image
from selfseg.domain.case import FloatArray
from selfseg.domain.errors import Cancelled
from selfseg.domain.labels import Label, LabelScheme
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.domain.stopping import Stop, check_stop, never
from selfseg.infer import restore as restoring
from selfseg.infer.agreement import RecordingBackend, fold_dice
from selfseg.infer.backend import mirror_subsets
from selfseg.infer.engine import Slab, TileOptions, predict_logits
from selfseg.infer.ensemble import Vote, decide, mean_probabilities
from selfseg.infer.restore import fill, native_restoration
from selfseg.infer.torch_backend import TorchBackend, release_memory
from selfseg.infer.torch_lanes import open_lanes
from selfseg.network.blocks import ConvNorm
from synthetic_inference import a_case, noise

pytestmark = pytest.mark.usefixtures("one_thread")

PATCH = (4, 8, 8)
NETWORK = NetworkPlan("plain", (4, 8), ((1, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 2, 2)), (2, 2), (2,))
PLAN = ConfigurationPlan(
    "test", (1.0,) * 3, PATCH, (8.0,) * 3, 2, ("zscore",), (False,), False, NETWORK
)
LABELS = LabelScheme((Label("one", (1,)),))


class Countdown:
    """Says stop when it is asked the n-th time, and ever after; in one thread alone."""

    def __init__(self, asked: int) -> None:
        self.left = asked
        self.threads: set[int] = set()

    def __call__(self) -> bool:
        self.threads.add(threading.get_ident())
        self.left -= 1
        return self.left <= 0


class Passes:
    """A backend that says how often its network ran, and asks as backends do."""

    def __init__(self) -> None:
        self.count = 0

    def predict(
        self, batch: FloatArray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
    ) -> FloatArray:
        for _ in mirror_subsets(mirror_axes):
            check_stop(should_stop)
            self.count += 1
        return np.zeros((len(batch), 2, *PATCH), np.float32)


def predict(backend: Any, should_stop: Stop, **options: Any) -> FloatArray:
    return predict_logits(
        a_case(noise(1, 4, 8, 20)),
        backend,
        PLAN,
        head_count=2,
        options=TileOptions(**options),
        should_stop=should_stop,
    )


def test_no_pass_begins_after_a_stop() -> None:
    for asked in range(3, 30):
        backend = Passes()
        with pytest.raises(Cancelled):
            predict(backend, Countdown(asked))
        # Asked first before all else, then before each batch, in the window, before each pass.
        assert backend.count < asked - 2
    backend = Passes()
    with pytest.raises(Cancelled):
        predict(backend, lambda: backend.count == 11)  # within the second of four tiles
    assert backend.count == 11
    predict(backend, never)


def test_several_folds_are_stopped_between_them() -> None:
    first, second = Passes(), Passes()
    with pytest.raises(Cancelled):
        predict(RecordingBackend([first, second], LABELS), lambda: second.count == 3)
    assert (first.count, second.count) == (8, 3)
    folds = SimpleNamespace(folds=[Passes(), Passes()], predict=None)
    with pytest.raises(Cancelled):
        fold_dice(
            a_case(noise(1, *PATCH)), folds, PLAN, LABELS, np.ones(PATCH, np.uint8),
            should_stop=lambda: folds.folds[0].count == 1,
        )  # fmt: skip
    assert folds.folds[1].count == 0


def a_backend() -> tuple[TorchBackend, list[object]]:
    """A backend, and the convolutions that it has computed so far."""
    torch.manual_seed(0)
    backend = TorchBackend(NETWORK, 1, 2, [], device="cpu", autocast="off")
    computed: list[object] = []
    for module in backend.networks[0].modules():
        if isinstance(module, ConvNorm):
            module.register_forward_hook(lambda module, *_: computed.append(module))
    return backend, computed


def test_a_network_is_stopped_between_two_layers() -> None:
    backend, computed = a_backend()
    layers = 6
    wanted = predict(backend, never, passes=1)
    assert len(computed) % layers == 0
    computed.clear()
    with pytest.raises(Cancelled):
        predict(backend, lambda: len(computed) == 4 * layers + 3, passes=1)
    assert len(computed) == 4 * layers + 3
    # What was asked then is asked no more.
    np.testing.assert_array_equal(predict(backend, never, passes=1), wanted)
    alone = TorchBackend(NETWORK, 1, 2, [], device="cpu", autocast="off").folds[0]
    with pytest.raises(Cancelled):
        predict(alone, Countdown(12), passes=1)


def test_networks_side_by_side_are_asked_for_in_one_thread() -> None:
    backend, computed = a_backend()
    tiles = noise(3, 1, *PATCH)
    reached = threading.Event()

    def slow(module: object, inputs: object) -> None:
        reached.set()
        threading.Event().wait(0.05)

    for module in backend.networks[0].modules():
        if isinstance(module, ConvNorm):
            module.register_forward_pre_hook(slow)
    stop = Countdown(1)
    with open_lanes(2) as pool:
        with pytest.raises(Cancelled):
            backend.mean_maps(tiles, (0, 1, 2), 2, pool, lambda: reached.is_set() and stop())
        assert stop.threads == {threading.get_ident()}
        assert len(computed) <= 6  # two lanes, each in its first layers; one pass has six
        found = backend.mean_maps(tiles[:1], (), 2, pool)
    torch.testing.assert_close(found, backend.mean_maps(tiles[:1]))


def test_graphs_are_stopped_between_passes() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from selfseg.infer.onnx_backend import OnnxBackend
    from selfseg.registry.onnx_graph import build_graph

    backend, _ = a_backend()
    weights = {k: v.numpy() for k, v in backend.networks[0].state_dict().items()}
    graph = build_graph(NETWORK, 1, 2, PATCH, weights)
    onnx = OnnxBackend([graph], (1, *PATCH), (2, *PATCH), device="cpu", threads=1)
    (session,) = onnx.sessions
    ran: list[int] = []

    def run(*arguments: Any) -> Any:
        ran.append(1)
        return session.run(*arguments)

    onnx.sessions = [SimpleNamespace(run=run)]
    with pytest.raises(Cancelled):
        predict(onnx, lambda: len(ran) == 5)
    assert len(ran) == 5


def test_slices_that_have_not_begun_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "THREADS", 1)
    case = a_case(noise(1, 40, 4, 4))
    maps = noise(40, 4, 4, 2)
    native, restoration = native_restoration(case.record, LABELS, should_stop=Countdown(3))
    begun: list[int] = []
    decide_slice = restoration._decide_slice
    gate = threading.Semaphore(5)

    def counted(z: int, slab: Slab) -> None:
        gate.acquire(timeout=0.2)
        begun.append(z)
        decide_slice(z, slab)

    restoration._decide_slice = counted  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        fill([Slab(0, maps)], restoration)
    assert 3 <= len(begun) < 10
    assert not native[10:].any()


def votes() -> list[Vote]:
    case = a_case(noise(1, 40, 4, 4))
    return [Vote(noise(40, 4, 4, 2).astype(np.float16), case.record, None)] * 2


@pytest.mark.parametrize(
    "work",
    [
        lambda stop: decide(votes(), LABELS, None, stop),
        lambda stop: list(mean_probabilities(votes(), LABELS, 1.0, stop)),
        lambda stop: resample_image(
            noise(2, 9, 80, 8), (9, 90, 8), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), stop
        ),
        lambda stop: resample_image(
            noise(1, 9, 20, 8), (12, 21, 8), (5.0, 1.0, 1.0), (4.0, 1.0, 1.0), stop
        ),
    ],
)
def test_what_comes_before_and_after_the_network(work: Callable[[Stop], Any]) -> None:
    for asked in (1, 2, 4):
        with pytest.raises(Cancelled):
            work(Countdown(asked))
    work(never)


def test_device_memory_is_given_back_where_there_is_any() -> None:
    release_memory()  # on a processor there is nothing to do, and no device is woken up
    assert torch.cuda.is_initialized() is False or torch.cuda.is_available()

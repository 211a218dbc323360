from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from selfseg.domain.errors import ModelError
from selfseg.domain.events import Event, Notice
from selfseg.domain.plan import ConfigurationPlan, NetworkPlan
from selfseg.domain.stopping import Stop, never
from selfseg.infer.backend import WindowPlan
from selfseg.infer.engine import TileOptions, predict_logits
from selfseg.infer.torch_backend import TorchBackend
from selfseg.infer.torch_lanes import in_lanes, open_lanes
from selfseg.infer.torch_window import TorchWindow, is_out_of_memory
from synthetic_inference import a_case, noise

pytestmark = pytest.mark.usefixtures("one_thread")

PATCH = (4, 8, 8)
NETWORK = NetworkPlan("plain", (4, 8), ((1, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 2, 2)), (2, 2), (2,))
PLAN = ConfigurationPlan(
    "test", (1.0,) * 3, PATCH, (8.0,) * 3, 2, ("zscore",), (False,), False, NETWORK
)


def a_backend(heads: int = 3, autocast: str = "off") -> TorchBackend:
    torch.manual_seed(0)
    return TorchBackend(NETWORK, 1, heads, [], device="cpu", autocast=autocast)


@pytest.mark.parametrize("heads", [3, 9])
@pytest.mark.parametrize("autocast", ["off", "bfloat16"])
def test_it_is_the_plain_way_of_adding_up(heads: int, autocast: str) -> None:
    class Plain:
        def __init__(self, backend: TorchBackend) -> None:
            self.backend = backend

        def predict(
            self, batch: np.ndarray, mirror_axes: tuple[int, ...] = (), should_stop: Stop = never
        ) -> np.ndarray:
            return self.backend.predict(batch, mirror_axes, should_stop)

    backend = a_backend(heads, autocast)
    case = a_case(noise(1, 10, 13, 8))
    found = predict_logits(case, backend, PLAN, head_count=heads)
    wanted = predict_logits(case, Plain(backend), PLAN, head_count=heads)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


class Scarce(TorchBackend):
    """Runs out of memory where more than `room` tiles go through the network at once."""

    room = 1
    calls = 0

    def mean_maps(
        self,
        batch: np.ndarray,
        mirror_axes: tuple[int, ...] = (),
        passes: int = 1,
        lanes: Executor | None = None,
        should_stop: Stop = never,
    ) -> list[torch.Tensor]:
        self.calls += 1
        if min(passes, len(batch) * 2 ** len(mirror_axes)) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().mean_maps(batch, mirror_axes, passes, lanes, should_stop)


def test_it_goes_on_with_fewer_tiles_and_says_so() -> None:
    torch.manual_seed(0)
    scarce = Scarce(NETWORK, 1, 3, [], device="cpu", autocast="off")
    scarce.room = 2
    events: list[Event] = []
    case = a_case(noise(1, 10, 13, 20))
    found = predict_logits(
        case, scarce, PLAN, head_count=3, options=TileOptions(passes=8), reporter=events.append
    )
    np.testing.assert_allclose(
        found, predict_logits(case, a_backend(), PLAN, head_count=3), atol=1e-5
    )
    told = [event.text for event in events if isinstance(event, Notice)]
    assert [text.split("with ")[1] for text in told] == ["4 tiles at a time", "2 tiles at a time"]


def test_sums_move_to_main_memory_and_then_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    backend = a_backend()
    window = TorchWindow(backend, WindowPlan((4, 8, 8), PATCH), events.append)
    elsewhere = torch.device("meta")
    window.sums = window.sums.to(elsewhere)  # as if on a graphics card that is full
    moved = torch.zeros((3, 4, 8, 8))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved)
    window._shrink()
    assert window.sums.device.type == "cpu"
    assert any("main memory" in e.text for e in events if isinstance(e, Notice))
    with pytest.raises(ModelError, match="single tile"):
        window._shrink()


def test_a_single_tile_that_does_not_fit_is_an_error_that_says_so() -> None:
    scarce = Scarce(NETWORK, 1, 3, [], device="cpu", autocast="off")
    scarce.room = 0
    options = TileOptions(passes=8)
    with pytest.raises(ModelError, match="not enough memory for a single tile"):
        predict_logits(a_case(noise(1, 4, 8, 8)), scarce, PLAN, head_count=3, options=options)
    assert scarce.calls == 4  # 8 at a time, 4, 2, 1


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_float16_sums_decide_as_float32_does() -> None:
    backend, case = a_backend(9, "bfloat16"), a_case(noise(1, 10, 13, 20))
    full = predict_logits(case, backend, PLAN, head_count=9)
    need = backend.pass_bytes(PATCH)
    window = TorchWindow(backend, WindowPlan((4, 13, 20), PATCH, half=True), lambda event: None)
    assert window.sums.dtype is torch.float16
    assert need > 4 * 8 * 8 * (5 * 4 * 2)
    opened = []

    def open_half(plan: WindowPlan, reporter: object) -> TorchWindow:
        opened.append(plan)
        return TorchWindow(backend, WindowPlan(plan.shape, plan.patch, True, plan.passes), print)

    backend.open_window = open_half  # type: ignore[method-assign]
    half = predict_logits(case, backend, PLAN, head_count=9)
    assert opened
    assert 0 < np.abs(half - full).max() < 2e-3 * np.abs(full).max()
    assert (half.argmax(0) == full.argmax(0)).mean() > 0.998


def test_lanes_share_the_cores_and_give_them_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with open_lanes(2) as pool:
            assert pool is not None
            assert torch.get_num_threads() == 4
            threads = list(in_lanes(pool, lambda _: torch.get_num_threads(), range(8), 2))
            assert threads == [2] * 8
            other = ThreadPoolExecutor(1)
            assert other.submit(torch.get_num_threads).result() == 4
            with pytest.raises(ZeroDivisionError):
                list(in_lanes(pool, lambda i: 1 // (3 - i), range(8), 2))
    finally:
        torch.set_num_threads(before)
    with open_lanes(1) as none:
        assert none is None


def test_lanes_give_what_one_pass_after_the_other_gives() -> None:
    x = noise(3, 1, *PATCH)
    backend = a_backend()
    one = backend.mean_maps(x, (0, 1))
    with open_lanes(2) as pool:
        for found, wanted in zip(backend.mean_maps(x, (0, 1), 2, pool), one, strict=True):
            torch.testing.assert_close(found, wanted, atol=0, rtol=0)

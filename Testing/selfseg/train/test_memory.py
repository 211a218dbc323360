from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfseg.domain.errors import TrainingError
from selfseg.domain.plan import NetworkPlan
from selfseg.train.memory import (
    MemoryNeed,
    after_out_of_memory,
    available_memory,
    fitting_micro_batch,
    is_memory_full,
    parts,
    predict_memory,
)

NEED = MemoryNeed(process=1e9, fixed=1e8, per_sample=1e8, waiting=0.0)

MEASURE = """
import sys
import torch
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import NetworkPlan
from selfseg.network.unet import build_network
from selfseg.train import device as devices
from selfseg.train.loss import segmentation_loss
from selfseg.train.memory import predict_memory

first, batch_size = map(int, sys.argv[1:])
scheme = LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2})
# The standard plan of the Decathlon's hippocampi, its features multiples of the first.
plan = NetworkPlan(
    "plain",
    tuple(first * 2**i for i in range(4)),
    ((3,) * 3,) * 4,
    ((1,) * 3,) + ((2,) * 3,) * 3,
    (2,) * 4,
    (2,) * 3,
)
patch, device = (40, 56, 40), torch.device("cpu")
half = devices.choose_autocast("auto", device)
need = predict_memory(plan, patch, 1, 3, half=half is not None)
with devices.fast_arithmetic(device):
    network = build_network(plan, 1, 3)
    network.deep_supervision = True
    optimiser = torch.optim.SGD(network.parameters(), 1e-3, 0.99, nesterov=True)
    images = torch.randn(batch_size, 1, *patch)
    labels = torch.randint(0, 3, (batch_size, *patch)).short()
    for _ in range(3):
        optimiser.zero_grad(set_to_none=True)
        with devices.autocast(device, half):
            outputs = network(images)
        torch.autograd.backward(segmentation_loss(outputs, labels, scheme, batch_dice=False))
        optimiser.step()
lines = open("/proc/self/status").read().splitlines()
peak = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(need.peak(batch_size, batch_size), peak)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("first_features", "batch_size"),
    [
        pytest.param(8, 2, id="small"),
        pytest.param(32, 2, id="standard network", marks=pytest.mark.slow),
        pytest.param(32, 9, id="standard plan", marks=pytest.mark.slow),
    ],
)
def test_prediction_is_near_the_measured_peak(
    first_features: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3] / "Logic"))
    words = [sys.executable, "-c", MEASURE, str(first_features), str(batch_size)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    predicted, peak = map(float, done.stdout.split())
    assert predicted == pytest.approx(peak, rel=0.25)


def test_prediction_grows_with_samples_channels_heads_and_precision() -> None:
    plan = NetworkPlan("residual", (4, 8), ((3,) * 3,) * 2, ((1,) * 3, (2,) * 3), (1, 2), (1,))

    def peak(channels: int = 1, heads: int = 2, *, half: bool = True, adamw: bool = False) -> float:
        need = predict_memory(plan, (8, 8, 8), channels, heads, half=half, adamw=adamw)
        return need.further(2, 2)

    assert peak() < peak(2)
    assert peak() < peak(heads=3)
    assert peak() < peak(half=False)
    assert peak() < peak(adamw=True)
    state = torch.get_rng_state()
    peak()
    assert torch.equal(state, torch.get_rng_state())


def test_largest_micro_batch_that_fits() -> None:
    margin = 1.15
    assert fitting_micro_batch(NEED, 4, 1e10) == 4
    assert fitting_micro_batch(NEED, 4, margin * 4.01e8) == 3
    assert fitting_micro_batch(NEED, 4, margin * 4.01e8, reserved=margin * 2e8) == 1


def test_not_even_one_sample_fits() -> None:
    with pytest.raises(TrainingError) as caught:
        fitting_micro_batch(NEED, 4, 2e8)
    assert caught.value.expected == "0.2 GB of free memory"
    assert "selfseg plan --memory" in caught.value.cure


@given(st.integers(1, 40), st.integers(1, 40))
def test_parts_hold_every_sample_once(count: int, micro_batch: int) -> None:
    cut = parts(count, micro_batch)
    assert [i for part in cut for i in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in cut]
    assert max(sizes) <= micro_batch
    assert max(sizes) - min(sizes) <= 1


def test_a_full_card_gets_half() -> None:
    def step(micro_batch: int) -> int:
        if micro_batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return micro_batch

    micro_batch, said = 9, []
    while True:
        try:
            done = step(micro_batch)
            break
        except torch.OutOfMemoryError as error:
            micro_batch, notice = after_out_of_memory(micro_batch, error)
            said.append(notice.text)
    assert done == 2
    assert [text.split("at most ")[1][:1] for text in said] == ["5", "3", "2"]
    assert "Dice" in said[0]


@pytest.mark.parametrize(("micro_batch", "ranks"), [(1, 1), (4, 2)])
def test_nothing_left_to_halve(micro_batch: int, ranks: int) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(TrainingError, match="CUDA out of memory"):
        after_out_of_memory(micro_batch, full, ranks=ranks)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_means_a_full_memory(error: Exception, full: bool) -> None:
    assert is_memory_full(error) is full


def test_memory_of_this_machine() -> None:
    assert available_memory() > 0


@pytest.mark.parametrize("nested", [True, False], ids=["host path", "container"])
def test_limit_of_a_control_group(tmp_path: Path, nested: bool) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/jobs/mine\n")
    group = tmp_path / "sys/fs/cgroup" / ("jobs/mine" if nested else "")
    group.mkdir(parents=True)
    (group / "memory.max").write_text("3000000\n")
    (group / "memory.current").write_text("2500000\n")
    (group / "memory.stat").write_text("anon 2000000\ninactive_file 400000\n")
    assert available_memory(tmp_path) == 900_000
    (group / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) > 900_000


def test_limit_of_an_older_control_group(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:cpu:/a\n4:memory:/job\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory/job"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("5000\n")
    (group / "memory.usage_in_bytes").write_text("1000\n")
    assert available_memory(tmp_path) == 4000

"""Several processes: equal to one, and nobody waits for the dead.

A start of two processes takes seconds, so one start does many checks (ranks_script.py).
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from selfseg.domain.errors import Cancelled, TrainingError, UsageError
from selfseg.domain.events import Notice, silent
from selfseg.domain.plan import Plan
from selfseg.io.weights import read_weights
from selfseg.train import torchrun
from selfseg.train.loop import train
from selfseg.train.ranks import (
    OtherRankLost,
    Ranks,
    is_first_rank,
    is_started_by_torchrun,
    join_ranks,
)
from selfseg.train.task import TrainingTask

SCRIPT = Path(__file__).with_name("ranks_script.py")
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    logic = Path(__file__).resolve().parents[3] / "Logic"
    monkeypatch.setenv("PYTHONPATH", str(logic))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return sys.executable, str(SCRIPT)


@pytest.fixture
def signals() -> Iterator[None]:
    former = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    yield
    for kind, handler in former.items():
        assert signal.getsignal(kind) is handler


@pytest.mark.usefixtures("signals")
def test_two_processes_train_as_one_and_do_not_wait_for_the_dead(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="process 1 of this training was killed"):
        torchrun.run_ranks(2, ["check", str(tmp_path)], command=command)

    for rank in (0, 1):
        found: dict[str, Any] = json.loads((tmp_path / f"rank_{rank}.json").read_text())
        compared = {key: value for key, value in found.items() if key.count(",") == 2}
        assert len(compared) == 8
        for kind, differences in compared.items():
            assert differences["worst"] < 1e-6, kind
            assert differences["between ranks"] == 0, kind
        assert found["micro-batches"] < 1e-6
        assert found["same"] == [10.0, 0.25]
        assert found["agree"] == [True, False]
        assert found["any"] == [True, False]
        assert found["total"] == [3.0]
    assert (tmp_path / "error_0.txt").read_text().startswith("OtherRankLost: another process")


@pytest.mark.usefixtures("signals")
def test_a_signal_stops_all_processes_at_the_same_step(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    def interrupt() -> None:
        while not all((tmp_path / f"working_{rank}").exists() for rank in (0, 1)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Cancelled):
        torchrun.run_ranks(2, ["work", str(tmp_path)], command=command)
    steps = [(tmp_path / f"saved_{rank}").read_text() for rank in (0, 1)]
    assert steps[0] == steps[1]


def test_the_loop_leaves_the_same_weights(
    command: tuple[str, ...],
    make_case: Callable[..., Any],
    make_training_plan: Callable[..., Plan],
    tmp_path: Path,
) -> None:
    """One epoch in two processes, the second in one; against both in one."""
    torchrun.run_ranks(2, ["train", str(tmp_path / "two")], command=command)
    plan = make_training_plan(batch_size=3, augmentation="mirror")
    cases = tuple(make_case(number) for number in range(4))
    for run in ("one", "two"):
        task = TrainingTask(plan, "3d", "0", cases[:3], cases[3:], tmp_path / run, "cpu", seed=3)
        train(task, reporter=silent)
    for name in ("weights_final.safetensors", "weights_best.safetensors"):
        alone, together = (read_weights(tmp_path / run / name)[0] for run in ("one", "two"))
        for key, weights in alone.items():
            np.testing.assert_allclose(together[key], weights, atol=1e-6)
    alone_log, log = (
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    )
    assert [line["event"] for line in log] == [line["event"] for line in alone_log]
    assert sum(line["event"] == "epoch_finished" for line in log) == 2
    for ours, wanted in zip(log, alone_log, strict=True):
        for key in {"loss", "validation_loss", "mean_pseudo_dice", "train_loss"} & set(wanted):
            assert ours[key] == pytest.approx(wanted[key], abs=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "world_size", "sizes"),
    [(2, 1, [2]), (2, 2, [1, 1]), (3, 2, [2, 1]), (12, 8, [2, 2, 2, 2, 1, 1, 1, 1])],
)
def test_every_sample_is_made_once(batch_size: int, world_size: int, sizes: list[int]) -> None:
    parts = [Ranks(rank, world_size).share(batch_size) for rank in range(world_size)]
    assert [len(part) for part in parts] == sizes
    assert [i for part in parts for i in part] == list(range(batch_size))


def test_more_processes_than_samples() -> None:
    with pytest.raises(UsageError, match="give --gpus 2"):
        Ranks(0, 3).share(2)


def test_alone_nothing_is_distributed() -> None:
    with join_ranks("cpu", environment={}) as ranks:
        assert ranks == Ranks()
        assert not dist.is_initialized()
        tensor = torch.ones(2, requires_grad=True)
        assert ranks.gather(tensor) is tensor
        assert ranks.total(tensor) is tensor
        assert ranks.same(1.5, 2.0) == (1.5, 2.0)
        assert ranks.agree(True)
        assert ranks.any(True)
        assert not ranks.any(False)
        network = torch.nn.Conv3d(1, 1, 1)
        assert ranks.summing_gradients(network) is network  # type: ignore[arg-type]
        with ranks.locally(network):
            pass


def test_only_the_first_reports() -> None:
    heard: list[object] = []
    Ranks(0, 2).reporter(heard.append)(Notice("a"))
    assert Ranks(1, 2).reporter(heard.append) is silent
    assert len(heard) == 1


def test_what_counts_as_started_by_torchrun() -> None:
    assert is_started_by_torchrun(TORCHRUN)
    assert not is_started_by_torchrun({})
    assert not is_started_by_torchrun({**TORCHRUN, "WORLD_SIZE": "1"})
    assert not is_first_rank(TORCHRUN)
    assert is_first_rank({**TORCHRUN, "RANK": "0"})
    assert is_first_rank({})


def test_incomplete_environment() -> None:
    environment = {key: value for key, value in TORCHRUN.items() if key != "MASTER_PORT"}
    with (
        pytest.raises(UsageError, match="without MASTER_PORT"),
        join_ranks("cpu", environment=environment),
    ):
        pass


def test_a_device_that_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(UsageError, match="cannot be shared out"),
        join_ranks("cuda", environment=TORCHRUN),
    ):
        pass


def _failure(rank: int, status: int) -> ProcessFailure:
    return ProcessFailure(local_rank=rank, pid=1000 + rank, exitcode=status, error_file="")


def _write_error(folder: Path, rank: int, text: str) -> None:
    path = folder / "run" / "attempt_0" / str(rank) / "stderr.log"
    path.parent.mkdir(parents=True)
    path.write_text(text)


LOST = OtherRankLost.exit_code


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ((1, 1, 1), "process 0 .*its message above"),
        ((LOST, LOST, 1), "process 2 .*the disk is full"),
        ((LOST, 1, 1), "process 1 .*exit status 1 without a message"),
        ((-signal.SIGTERM, LOST, 2), "process 2 .*the disk is full"),
        ((LOST, -signal.SIGKILL, LOST), "process 1 .*was killed.*SIGKILL"),
        ((LOST, LOST, -signal.SIGTERM), "lost each other"),
    ],
)
def test_the_rank_that_is_to_blame_is_named(
    statuses: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    _write_error(tmp_path, 2, "the disk is full\n  what to do: free some space\n")
    failures = {rank: _failure(rank, status) for rank, status in enumerate(statuses)}
    error = torchrun._explained(failures, tmp_path)
    assert isinstance(error, TrainingError)
    assert re.search(said, str(error), re.DOTALL)


def test_ranks_that_were_stopped(tmp_path: Path) -> None:
    failures = {0: _failure(0, 130), 1: _failure(1, 130)}
    assert isinstance(torchrun._explained(failures, tmp_path), Cancelled)


def test_a_rank_that_aborted_because_another_was_killed_is_not_blamed(tmp_path: Path) -> None:
    def failure(code: int, name: str) -> Any:
        return SimpleNamespace(exitcode=code, signal_name=lambda: name)

    error = torchrun._explained({0: failure(-6, "SIGABRT"), 1: failure(-9, "SIGKILL")}, tmp_path)
    assert "process 1 of this training was killed" in str(error)
    assert "process 0" in str(torchrun._explained({0: failure(-6, "SIGABRT")}, tmp_path))

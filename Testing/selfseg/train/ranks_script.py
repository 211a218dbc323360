"""What each process of test_ranks.py does: `python ranks_script.py WHAT FOLDER`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from conftest import make_ball_case, make_small_plan
from selfseg.domain.errors import Cancelled
from selfseg.domain.events import silent
from selfseg.domain.labels import LabelScheme
from selfseg.domain.plan import NetworkPlan
from selfseg.network.unet import UNet, build_network
from selfseg.train.loop import train
from selfseg.train.loss import segmentation_loss
from selfseg.train.ranks import Ranks, join_ranks
from selfseg.train.schedule import Schedule, make_optimiser
from selfseg.train.task import TrainingResult, TrainingTask

SIZE = (8, 8, 8)
SCHEMES = {
    "labels": LabelScheme.from_mapping({"background": 0, "a": 1, "b": 2}),
    "regions and ignore": LabelScheme.from_mapping(
        {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, (1, 2)
    ),
}


def network_of(scheme: LabelScheme) -> UNet:
    plan = NetworkPlan(
        "plain", (2, 4, 4), ((3,) * 3,) * 3, ((1,) * 3, (2,) * 3, (2,) * 3), (1,) * 3, (1,) * 2
    )
    torch.manual_seed(0)
    network = build_network(plan, 1, scheme.head_count)
    network.deep_supervision = True
    return network


def batch_of(scheme: LabelScheme, batch_size: int, number: int) -> tuple[Tensor, Tensor]:
    """Samples that differ much in the share of ignored voxels and of structures."""
    generator = torch.Generator().manual_seed(100 * number + batch_size)
    images = torch.randn(batch_size, 1, *SIZE, generator=generator)
    labels = torch.randint(0, 3, (batch_size, *SIZE), generator=generator).short()
    labels[0, :5] = 0
    if scheme.ignore is not None:
        labels[-1, 3:] = scheme.ignore
    return images, labels


@torch.no_grad()
def largest_difference(ours: UNet, wanted: UNet) -> float:
    """Of gradients and weights, as a share of the largest gradient."""
    differences, largest = [0.0], 0.0
    for a, b in zip(ours.parameters(), wanted.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None and b.grad is not None:
            differences.append(float((a.grad - b.grad).abs().max()))
            largest = max(largest, float(b.grad.abs().max()))
        differences.append(float((a - b).abs().max()))
    return max(differences) / max(largest, 1.0)


def equal_to_one_process(
    ranks: Ranks, kind: str, batch_size: int, *, batch_dice: bool
) -> dict[str, float]:
    """Three steps together and three alone on the same batches."""
    scheme = SCHEMES[kind]
    alone, together = network_of(scheme), network_of(scheme)
    parallel = ranks.summing_gradients(together)
    optimisers = [make_optimiser(network, Schedule()) for network in (alone, together)]
    part = slice(ranks.share(batch_size).start, ranks.share(batch_size).stop)
    worst, losses = 0.0, (0.0, 0.0)
    loss_of = partial(segmentation_loss, scheme=scheme, batch_dice=batch_dice)
    for number in range(3):
        images, labels = batch_of(scheme, batch_size, number)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        wanted = loss_of(alone(images), labels)
        ours = loss_of(parallel(images[part]), labels[part], gather=ranks.gather)
        torch.autograd.backward(wanted)
        torch.autograd.backward(ours)
        losses = float(ours.detach()), float(wanted.detach())
        worst = max(worst, abs(losses[0] - losses[1]), largest_difference(together, alone))
        for optimiser in optimisers:
            optimiser.step()
    worst = max(worst, largest_difference(together, alone))
    mine = torch.cat([p.detach().flatten() for p in together.parameters()]).double()
    spread = float((ranks.total(mine) - ranks.world_size * mine).abs().max())
    return {"worst": worst, "between ranks": spread}


def micro_batches(ranks: Ranks) -> float:
    """Gradients kept for a while and exchanged with the last part."""
    scheme = SCHEMES["labels"]
    alone, together = network_of(scheme), network_of(scheme)
    parallel = ranks.summing_gradients(together)
    worst = 0.0
    for number in range(2):
        images, labels = batch_of(scheme, 5, number)
        for network in (alone, together):
            network.zero_grad(set_to_none=True)

        def loss(
            network: torch.nn.Module, i: int, x: Tensor = images, y: Tensor = labels
        ) -> Tensor:
            part = segmentation_loss(network(x[i : i + 1]), y[i : i + 1], scheme, batch_dice=True)
            return part / len(x)

        for i in range(5):
            torch.autograd.backward(loss(alone, i))
        mine = ranks.share(5)
        for i in mine[:-1]:
            with ranks.locally(parallel):
                torch.autograd.backward(loss(parallel, i))
        torch.autograd.backward(loss(parallel, mine[-1]))
        worst = max(worst, largest_difference(together, alone))
    return worst


def check_all(ranks: Ranks, folder: Path) -> None:
    found: dict[str, object] = {
        f"{kind}, {batch_size}, {batch_dice}": equal_to_one_process(
            ranks, kind, batch_size, batch_dice=batch_dice
        )
        for kind in SCHEMES
        for batch_size in (2, 3)
        for batch_dice in (False, True)
    }
    found["micro-batches"] = micro_batches(ranks)
    found["same"] = ranks.same(10.0 + ranks.rank, 0.25)
    found["agree"] = [ranks.agree(ranks.rank == 0), ranks.agree(ranks.rank == 1)]
    found["any"] = [ranks.any(ranks.rank == 1), ranks.any(False)]
    found["total"] = ranks.total(torch.tensor([1.0 + ranks.rank])).tolist()
    found["threads"] = torch.get_num_threads()
    (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(found))
    ranks.agree(True)
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:  # must not hang
        ranks.agree(False)


def work_until_stopped(ranks: Ranks, folder: Path) -> None:
    asked: list[int] = []
    if ranks.rank == 1:  # it is enough that one hears of it
        signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for step in range(3000):
        time.sleep(0.01)
        (folder / f"working_{ranks.rank}").touch()
        if ranks.any(bool(asked)):
            (folder / f"saved_{ranks.rank}").write_text(str(step))
            raise Cancelled("stopped")


def train_one_epoch(run_folder: Path) -> TrainingResult:
    """With batches of 3, in as many processes as there are."""
    plan = make_small_plan(batch_size=3, augmentation="mirror", epochs=1)
    cases = tuple(make_ball_case(number) for number in range(4))
    task = TrainingTask(plan, "3d", "0", cases[:3], cases[3:], run_folder, "cpu", seed=3)
    return train(task, reporter=silent)


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "train":
        train_one_epoch(folder)
        sys.exit(0)
    try:
        with join_ranks("cpu") as ranks:
            {"check": check_all, "work": work_until_stopped}[what](ranks, folder)
    except Exception as error:
        (folder / f"error_{ranks.rank}.txt").write_text(f"{type(error).__name__}: {error}")
        sys.stderr.write(f"{error}\n")
        sys.exit(getattr(error, "exit_code", 1))

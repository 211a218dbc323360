"""Residual encoders learn: a shrunk one in the suite, M, L and XL on real data when asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfseg import pipeline
from selfseg.domain.events import Event, IterationFinished
from selfseg.domain.plan import NetworkPlan, Plan, PlannerName
from selfseg.io.project import Project
from selfseg.train.loop import train
from selfseg.train.task import TrainingTask


def _losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, IterationFinished)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.usefixtures("one_thread")
def test_a_small_residual_encoder_learns(
    make_case: Callable[..., Any], make_training_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = make_training_plan(epochs=1, iterations_per_epoch=20, validation_iterations=1)
    network = NetworkPlan(
        "residual",
        (4, 8, 8),
        ((3,) * 3,) * 3,
        ((1,) * 3, (2,) * 3, (1, 2, 2)),
        (1, 3, 4),  # the first stages of M, L and XL
        (1, 1),
    )
    configuration = replace(plan.configuration("3d"), network=network)
    plan = replace(plan, planner="resenc_m", configurations={"3d": configuration})
    cases = tuple(make_case(number) for number in range(3))
    events: list[Event] = []
    task = TrainingTask(plan, "3d", "0", cases[1:], cases[:1], tmp_path, device="cpu")
    train(task, reporter=events.append)
    losses = _losses(events)
    assert len(losses) == 20
    assert _mean(losses[-5:]) < _mean(losses[:5]) - 0.1


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("planner", ["resenc_m", "resenc_l", "resenc_xl"])
def test_residual_encoders_of_the_hippocampus_learn(
    planner: PlannerName, shared_folder: Path, tmp_path: Path
) -> None:
    """At batch 2; with so little of it the three planners ask for the same network here."""
    source = shared_folder / "data" / "Dataset004_Hippocampus"
    data = tmp_path / "data"
    for kind in ("imagesTr", "labelsTr"):
        (data / kind).mkdir(parents=True)
        for path in sorted((source / kind).iterdir())[:10]:
            shutil.copyfile(path, data / kind / path.name)
    description = json.loads((source / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({**description, "numTraining": 10}))

    plan = pipeline.plan(data, tmp_path / "p", planner=planner)
    configuration = replace(plan.configuration("3d_fullres"), batch_size=2)
    assert configuration.network.architecture == "residual"
    assert configuration.network.blocks_per_stage[:4] == (1, 3, 4, 6)
    configurations = {**plan.configurations, "3d_fullres": configuration}
    Project.open(tmp_path / "p").write_plan(replace(plan, configurations=configurations))
    events: list[Event] = []
    pipeline.train(
        tmp_path / "p",
        configuration="3d_fullres",
        fold="0",
        plan_name=planner,
        epochs=1,
        iterations=15,
        device="cpu",
        reporter=events.append,
    )
    losses = _losses(events)
    print(planner, configuration.patch_size, [round(loss, 3) for loss in losses])
    assert _mean(losses[-5:]) < _mean(losses[:5]) - 0.1

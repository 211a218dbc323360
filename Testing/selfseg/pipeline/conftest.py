"""Plans whose networks are so small that a training takes a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selfseg import pipeline
from selfseg.io.project import Project

NarrowPlan = Callable[..., str]


@pytest.fixture(scope="session")
def narrow_plan() -> NarrowPlan:
    """Makes the standard plan for a data set, with 4 features in the first stage; its name."""

    def make(data: Path, project: Path, memory_gb: float | None = None) -> str:
        plan = pipeline.plan(data, project, memory_gb=memory_gb, workers=1)
        configurations = {}
        for name, entry in plan.configurations.items():
            features = tuple(4 * 2**stage for stage in range(entry.network.stage_count))
            network = replace(entry.network, features_per_stage=features)
            configurations[name] = replace(entry, network=network)
        Project.open(project).write_plan(replace(plan, configurations=configurations))
        return plan.name

    return make

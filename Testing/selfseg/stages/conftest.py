"""A tiny project whose plan holds a cascade, and networks that count as trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from selfseg import pipeline
from selfseg.demo.synthetic import make_small_dataset
from selfseg.domain.dataset import Dataset
from selfseg.domain.events import Event, Notice, StageFinished
from selfseg.domain.plan import ConfigurationPlan, Plan
from selfseg.io.datasets import open_dataset
from selfseg.io.project import Project
from selfseg.io.weights import write_weights
from selfseg.network.unet import build_network
from selfseg.stages.fold import FoldRun

CASCADE = "3d_cascade_fullres"


@dataclass
class CascadeProject:
    """Everything a stage needs, and what it has told so far."""

    home: Project
    dataset: Dataset
    plan: Plan
    told: list[Event] = field(default_factory=list)

    def run(
        self, configuration: str, fold: str = "0", should_stop: Callable[[], bool] = lambda: False
    ) -> FoldRun:
        return FoldRun(
            self.home, self.dataset, self.plan, configuration, fold, "cpu", self.told.append,
            should_stop,
        )  # fmt: skip

    def train(self, configuration: str, *folds: str, seed: int = 0) -> None:
        """Writes a fresh network of its own for each fold, as if it had been trained."""
        for fold in folds:
            torch.manual_seed(seed + (int(fold) if fold.isdigit() else 100))
            network = build_network(
                self.plan.configuration(configuration).network,
                self.plan.input_channels(configuration),
                self.plan.description.labels.head_count,
            )
            weights = {name: value.numpy() for name, value in network.state_dict().items()}
            folder = self.home.run_folder(self.plan.name, configuration, fold)
            for kind in ("final", "best"):
                write_weights(folder / f"weights_{kind}.safetensors", weights, {})

    @property
    def notices(self) -> str:
        return "\n".join(event.text for event in self.told if isinstance(event, Notice))

    @property
    def skipped(self) -> list[str]:
        finished = [event for event in self.told if isinstance(event, StageFinished)]
        return [event.stage for event in finished if event.skipped]


def _narrow(configuration: ConfigurationPlan) -> ConfigurationPlan:
    """The configuration with so few features that predicting takes no time."""
    network = configuration.network
    features = tuple(4 * 2**stage for stage in range(network.stage_count))
    return replace(configuration, network=replace(network, features_per_stage=features))


@pytest.fixture
def cascade_project(tmp_path: Path, one_thread: None) -> CascadeProject:
    """Three cases with regions and an ignore label, preprocessed."""
    folder = make_small_dataset(
        tmp_path / "data", shape=(28, 34, 32), spacing=(1.0, 1.0, 1.0), cases=3, regions=True,
        ignore=True,
    )  # fmt: skip
    plan = pipeline.plan(folder, tmp_path / "p", memory_gb=0.01, workers=1)
    assert CASCADE in plan.recommended
    plan = replace(plan, configurations={k: _narrow(v) for k, v in plan.configurations.items()})
    Project.open(tmp_path / "p").write_plan(plan)
    pipeline.preprocess(tmp_path / "p", configurations=[CASCADE], workers=1)
    return CascadeProject(Project.open(tmp_path / "p"), open_dataset(folder), plan)

"""The end of an unwatched training: into the library; and its beginning: the plan in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from selfseg.domain.errors import ModelError
from selfseg.domain.events import ModelReady
from selfseg.domain.plan import SpeedProfile, SpeedSample
from selfseg.io.project import FINAL_WEIGHTS
from selfseg.io.weights import read_weights, write_weights
from selfseg.registry.library import Library
from selfseg.stages.explain import explain_plan
from selfseg.stages.finish import install_best

if TYPE_CHECKING:
    from .conftest import CascadeProject


def test_a_model_without_held_out_cases_never_replaces_another(
    cascade_project: CascadeProject, tmp_path: Path
) -> None:
    home = cascade_project.home
    home.write_plan(cascade_project.plan)
    cascade_project.train("3d_lowres", "all")
    library, told = Library(tmp_path / "library"), cascade_project.told
    # The same model once more, as after a kill at the very end, is no new version.
    for version in ("1", "1", "2", "2"):
        if version == "2":
            path = home.run_folder(cascade_project.plan.name, "3d_lowres", "all") / FINAL_WEIGHTS
            weights, text = read_weights(path)
            write_weights(
                path, {name: np.ones_like(array) for name, array in weights.items()}, text
            )
        entry = install_best(home.folder, library, name="My model", reporter=told.append)
        assert entry.key == f"My-model@{version}"
    ready = [event for event in told if isinstance(event, ModelReady)]
    assert [event.version for event in ready] == ["1", "1", "2", "2"]
    assert [entry.key for entry in library.entries()] == ["My-model@1", "My-model@2"]
    assert Path(ready[0].folder).is_absolute()
    assert (ready[0].dice, ready[0].cases) == (None, 0)


def test_nothing_trained(cascade_project: CascadeProject, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        install_best(cascade_project.home.folder, Library(tmp_path), reporter=lambda event: None)


def test_a_plan_in_words_with_its_cost(cascade_project: CascadeProject) -> None:
    sample = SpeedSample(
        features=(16, 32), dimensions=3, patch_size=(32, 32, 32), batch_size=2,
        seconds_per_step=0.5, feature_map_elements=1e6, multiply_adds=1e9, memory_bytes=10**8,
    )  # fmt: skip
    home, plan = cascade_project.home, cascade_project.plan
    home.write_speed_profile(SpeedProfile(plan.target.device, 1, "off", (sample,), "test"))

    def explain(factor: float) -> object:
        changed = replace(sample, seconds_per_step=0.5 * factor)
        home.write_speed_profile(SpeedProfile(plan.target.device, 1, "off", (changed,), "test"))
        return explain_plan(
            home, cascade_project.dataset, plan, device="cpu", reporter=lambda event: None
        )

    told, slower = explain(1.0), explain(2.0)
    assert [entry["name"] for entry in told.configurations] == list(plan.recommended)
    assert told.topics[0]["title"] == "The data"
    concerned = {topic["configuration"] for topic in told.topics}
    assert concerned == {"", *plan.recommended}
    for before, after in zip(told.configurations, slower.configurations, strict=True):
        assert after["seconds_per_step"] == pytest.approx(2 * before["seconds_per_step"])
        assert before["memory_bytes"] > 10**8
    assert told.folds == 3
    assert told.steps == plan.schedule.epochs * plan.schedule.iterations_per_epoch
    assert told.disk_bytes > 0

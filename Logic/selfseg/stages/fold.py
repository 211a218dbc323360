"""One fold of one configuration in a project: where it lives and what it works on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..crossvalidate.splits import ALL, split_for_fold, splits_of
from ..domain.dataset import Dataset, Split
from ..domain.errors import PlanError
from ..domain.events import Reporter
from ..domain.plan import Plan
from ..io.case_store import StoredCase, open_case
from ..io.json_files import read_plain_json
from ..io.project import Project

SETTINGS_FILE = "settings.json"
"""Of a training: what decided its result. Weights from elsewhere have none."""

_LONGEST_SHOWN = 300


@dataclass(frozen=True)
class FoldRun:
    """One fold of one configuration in a project, and how to work on it.

    `clock` counts seconds; `should_stop` is polled while training and predicting.
    """

    project: Project
    dataset: Dataset
    plan: Plan
    configuration: str
    fold: str
    device: str
    reporter: Reporter
    should_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic

    @property
    def folder(self) -> Path:
        """Where this training keeps its files."""
        return self.project.run_folder(self.plan.name, self.configuration, self.fold)

    def lock(self) -> AbstractContextManager[None]:
        """Holds this training's folder for this process.

        Raises:
            ProjectError: another process trains it.
        """
        return self.project.run_lock(self.plan.name, self.configuration, self.fold)

    @property
    def images_folder(self) -> Path:
        """Where the preprocessed cases lie; a cascade shares those of 3d_fullres."""
        name = self.plan.images_of(self.configuration)
        return self.project.preprocessed_folder(self.plan.name, name)

    @property
    def previous_folder(self) -> Path | None:
        """Where a cascade finds what its first stage predicted; None without a cascade.

        Fold "all" has a place of its own: its first stage has seen every case.
        """
        if self.previous_stage is None:
            return None
        cases = self.project.preprocessed_folder(self.plan.name, self.configuration)
        return cases / ("previous_all" if self.fold == ALL else "previous_out_of_fold")

    @property
    def previous_stage(self) -> str | None:
        """The configuration whose predictions are extra input."""
        return self.plan.configuration(self.configuration).previous_stage

    @property
    def split(self) -> Split:
        """The cases to learn from and to be judged on."""
        names = [case.identifier for case in self.dataset.cases]
        return split_for_fold(splits_of(self.dataset), self.fold, names)

    @property
    def is_trained(self) -> bool:
        """Whether the training is over."""
        return self.fold in self.project.trained_folds(self.plan.name, self.configuration)

    @property
    def is_judged(self) -> bool:
        """Whether the validation cases are predicted and scored."""
        return self.is_trained and (self.folder / "validation.json").is_file()

    def stored(self, identifiers: Sequence[str]) -> tuple[StoredCase, ...]:
        """The preprocessed cases of that name, a cascade's with the first stage's predictions."""
        images, previous = self.images_folder, self.previous_folder
        return tuple(open_case(images, name, previous=previous) for name in identifiers)


def check_trained_by(run: FoldRun) -> None:
    """Insists that a finished training was made by its plan as it is now.

    Raises:
        PlanError: the plan has changed since.
    """
    path = run.folder / SETTINGS_FILE
    if not path.is_file():
        return
    settings = read_plain_json(path)
    then = settings.get("configuration") if isinstance(settings, dict) else None
    if not isinstance(then, dict):
        return
    now = json.loads(json.dumps(asdict(run.plan.configuration(run.configuration))))
    # What a newer version has added was not written down then.
    changed = [name for name in now if name in then and then[name] != now[name]]
    if changed:
        raise PlanError(
            f"{run.configuration} fold {run.fold} was trained by another plan than the "
            f"project's {run.plan.name} is now",
            expected=_shown(then, changed),
            found=_shown(now, changed),
            cure=f"bring the former plans/{run.plan.name}.json back, or plan under another name "
            "(`selfseg plan DATASET -p PROJECT --name NEW`) and train that with --plan NEW",
            path=path,
        )


def _shown(configuration: Mapping[str, Any], names: Sequence[str]) -> str:
    text = "; ".join(f"{name} {json.dumps(configuration[name])}" for name in names)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + " ..."

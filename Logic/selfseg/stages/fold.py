"""One fold of one configuration in a project: where it lives and what it works on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ..crossvalidate.splits import ALL, split_for_fold, splits_of
from ..domain.dataset import Dataset, Split
from ..domain.events import Reporter
from ..domain.plan import Plan
from ..io.case_store import StoredCase, open_case
from ..io.project import Project


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

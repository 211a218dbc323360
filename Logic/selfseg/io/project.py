"""The project folder: all of one experiment in one place.

project.json          what it is made from
splits.json           the folds
fingerprint.json      what was measured
speed_profile.json    how fast this machine is
plans/<plan>.json
preprocessed/<plan>/<configuration>/
runs/<plan>/<configuration>/fold_<k>/      k is a number or "all"
selection.json, selection/                 the choice, and its label maps
report.html, report.json
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..domain.dataset import Dataset, DatasetDescription, Split
from ..domain.errors import ModelError, PlanError, ProjectError
from ..domain.events import Reporter, silent
from ..domain.fingerprint import Fingerprint
from ..domain.plan import Plan, SpeedProfile
from .file_names import as_file_name
from .json_files import read_json, write_json
from .leftovers import TIDYING_SECONDS, remove_leftovers
from .locks import LOCK_NAME, OWNER_NAME, folder_lock
from .project_file import ProjectFile, check_may_become_project
from .usable_plan import check_usable

T = TypeVar("T")

PROJECT_SCHEMA = "selfseg.project/1"
FINGERPRINT_SCHEMA = "selfseg.fingerprint/1"
PLAN_SCHEMA = "selfseg.plan/1"
SPEED_PROFILE_SCHEMA = "selfseg.speed-profile/1"
SPLITS_SCHEMA = "selfseg.splits/1"

PROJECT_FILE = "project.json"
FINAL_WEIGHTS = "weights_final.safetensors"
"""A run folder that holds this file is a finished training."""


@dataclass(frozen=True)
class _SplitsFile:
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Project:
    """One experiment's folder; made by `create` or `open`.

    The `read_` methods give None where nothing was written yet, `read_plan` excepted.
    """

    folder: Path
    _file: ProjectFile

    @classmethod
    def create(
        cls, folder: Path, dataset: Dataset, *, clock: Callable[[], float] = time.time
    ) -> Project:
        """The project of that data set in `folder`, made where it does not exist yet.

        A data set that has moved is found again: its new place is written down.

        Raises:
            ProjectError: the folder belongs to another data set or holds other files, or the
                data set's channels or labels are no longer those the project was made for.
        """
        folder = Path(os.path.abspath(folder))
        made_file = ProjectFile.of(dataset, folder, clock)
        if (folder / PROJECT_FILE).is_file():
            project = cls.open(folder)
            project._file.check_belongs_to(dataset, folder)
            file = replace(
                made_file,
                created=project._file.created,
                selfseg_version=project._file.selfseg_version,
            )
            if file == project._file:
                return project
        else:
            check_may_become_project(folder)
            file = made_file
        write_json(folder / PROJECT_FILE, file, schema=PROJECT_SCHEMA)
        return cls(folder, file)

    @classmethod
    def open(cls, folder: Path) -> Project:
        """The project in `folder`.

        Raises:
            ProjectError: there is none.
            FileFormatError: its `project.json` is damaged.
        """
        folder = Path(os.path.abspath(folder))
        path = folder / PROJECT_FILE
        if not path.is_file():
            raise ProjectError(
                "there is no project here",
                expected=f"a folder with {PROJECT_FILE}",
                found="a folder without it" if folder.is_dir() else "no such folder",
                cure="check the path, or make a project with `selfseg run DATASET -p PROJECT`",
                path=folder,
            )
        return cls(folder, read_json(path, ProjectFile, schema=PROJECT_SCHEMA))

    @property
    def description(self) -> DatasetDescription:
        """The data set as it was when the project was made."""
        return self._file.description

    @property
    def created(self) -> str:
        """When the project was made, ISO 8601 in UTC."""
        return self._file.created

    @property
    def dataset_folder(self) -> Path:
        """Where the data set lies: its first place, or beside the project if both moved.

        Raises:
            ProjectError: it is at neither place.
        """
        places = self._file.dataset_places(self.folder)
        for place in places:
            if place.is_dir():
                return place
        raise ProjectError(
            "the project's data set is gone",
            expected="a folder " + " or ".join(map(str, places)),
            found="no such folder",
            cure="bring it back, or tell its new place: `selfseg plan NEW_PLACE -p PROJECT`",
            path=self.folder,
        )

    @property
    def selection_file(self) -> Path:
        """What was chosen after cross-validation."""
        return self.folder / "selection.json"

    @property
    def report_file(self) -> Path:
        """The page that shows everything."""
        return self.folder / "report.html"

    def preprocessed_folder(self, plan: str, configuration: str) -> Path:
        """Where the preprocessed cases of a configuration lie."""
        return (
            self.folder
            / "preprocessed"
            / as_file_name(plan, "plan")
            / as_file_name(configuration, "configuration")
        )

    def run_folder(self, plan: str, configuration: str, fold: str | int) -> Path:
        """Where one training lives; `fold` is a number or "all"."""
        name = as_file_name(f"fold_{fold}", "fold")
        return self._runs_folder(plan) / as_file_name(configuration, "configuration") / name

    def trained_folds(self, plan: str, configuration: str) -> tuple[str, ...]:
        """The folds whose training has finished: numbers in order, then "all"."""
        folder = self._runs_folder(plan) / as_file_name(configuration, "configuration")
        folds = [path.parent.name[5:] for path in folder.glob(f"fold_*/{FINAL_WEIGHTS}")]
        return tuple(sorted(folds, key=lambda k: (not k.isdecimal(), k.zfill(9))))

    def trained_configurations(self, plan: str) -> tuple[str, ...]:
        """The configurations with at least one finished training, by name."""
        found = self._runs_folder(plan).glob(f"*/fold_*/{FINAL_WEIGHTS}")
        return tuple(sorted({path.parent.parent.name for path in found}))

    def has_runs(self, plan: str) -> bool:
        """Whether any training of that plan has begun."""
        found = self._runs_folder(plan).glob("*/fold_*/*")
        return any(path.name not in (LOCK_NAME, OWNER_NAME) for path in found)

    @property
    def plan_names(self) -> tuple[str, ...]:
        """The plans written so far, by name."""
        found = (path.stem for path in (self.folder / "plans").glob("*.json"))
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def read_plan(self, name: str | None = None) -> Plan:
        """The plan of that name; without a name, the project's first.

        Raises:
            PlanError: there is none, the file holds a plan of another name, or a number in it is
                none that a network can have.
            FileFormatError: the file is damaged.
        """
        names = self.plan_names
        if not names or (name is not None and name not in names):
            raise PlanError(
                "there is no plan yet" if name is None else f"there is no plan {name!r}",
                expected="one of " + ", ".join(names) if names else "at least one plan",
                found=name or "none",
                cure="choose one of these" if names else "run `selfseg plan DATASET -p PROJECT`",
                path=self.folder,
            )
        path = self._plan_file(name or names[0])
        plan = read_json(path, Plan, schema=PLAN_SCHEMA)
        try:
            check_usable(plan)
        except ModelError as error:
            raise PlanError(
                error.what.replace("the model's plan", "the plan"),
                expected=error.expected,
                found=error.found,
                cure="undo the change in the file, or plan again with `selfseg plan`",
                path=path,
            ) from error
        if plan.name != path.stem:
            # Its trainings would be mixed up with those of the plan it was copied from.
            raise PlanError(
                "the plan's name is not the file's name",
                expected=f'"name": "{path.stem}"',
                found=f'"name": "{plan.name}"',
                cure="change the name in the file",
                path=path,
            )
        return plan

    def write_plan(self, plan: Plan) -> Path:
        """Writes the plan under its name and says where."""
        path = self._plan_file(plan.name)
        write_json(path, plan, schema=PLAN_SCHEMA)
        return path

    def read_fingerprint(self) -> Fingerprint | None:
        """What was measured."""
        return self._read("fingerprint.json", Fingerprint, FINGERPRINT_SCHEMA)

    def write_fingerprint(self, fingerprint: Fingerprint) -> None:
        """Keeps what was measured."""
        write_json(self.folder / "fingerprint.json", fingerprint, schema=FINGERPRINT_SCHEMA)

    def read_speed_profile(self) -> SpeedProfile | None:
        """How fast this machine trains."""
        return self._read("speed_profile.json", SpeedProfile, SPEED_PROFILE_SCHEMA)

    def write_speed_profile(self, profile: SpeedProfile) -> None:
        """Keeps how fast this machine trains."""
        write_json(self.folder / "speed_profile.json", profile, schema=SPEED_PROFILE_SCHEMA)

    def read_splits(self) -> tuple[Split, ...] | None:
        """The folds."""
        found = self._read("splits.json", _SplitsFile, SPLITS_SCHEMA)
        return None if found is None else found.splits

    def write_splits(self, splits: tuple[Split, ...]) -> None:
        """Keeps the folds."""
        write_json(self.folder / "splits.json", _SplitsFile(tuple(splits)), schema=SPLITS_SCHEMA)

    @contextmanager
    def lock(
        self,
        *,
        wait: bool = False,
        reporter: Reporter = silent,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[None]:
        """Holds the project for this process: for measuring, planning and preprocessing.

        What killed processes have left unfinished is removed first.

        Args:
            wait: until whoever holds it has ended, instead of raising an error.
            reporter: is told for whom we wait.
            should_stop: polled while waiting.

        Raises:
            ProjectError: another process holds it (named in the message).
            Cancelled: `should_stop` said so.
        """
        with folder_lock(self.folder, wait=wait, reporter=reporter, should_stop=should_stop):
            remove_leftovers(self.folder)
            yield

    def run_lock(
        self, plan: str, configuration: str, fold: str | int
    ) -> AbstractContextManager[None]:
        """Holds one training for this process; others of the project can go on beside it.

        Raises:
            ProjectError: another process holds it (named in the message).
        """
        folder = self.run_folder(plan, configuration, fold)
        folder.mkdir(parents=True, exist_ok=True)
        return folder_lock(folder, what="training", grace_seconds=TIDYING_SECONDS)

    def _read(self, name: str, kind: type[T], schema: str) -> T | None:
        path = self.folder / name
        return read_json(path, kind, schema=schema) if path.exists() else None

    def _plan_file(self, name: str) -> Path:
        return self.folder / "plans" / f"{as_file_name(name, 'plan')}.json"

    def _runs_folder(self, plan: str) -> Path:
        return self.folder / "runs" / as_file_name(plan, "plan")

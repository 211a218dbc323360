"""Decisions of the page that trains, without Qt, scene or processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from SelfConfiguringSegmentationLib.train import budget
from SelfConfiguringSegmentationLib.train.case_table import CaseTable
from SelfConfiguringSegmentationLib.train.collecting import Found, Source
from SelfConfiguringSegmentationLib.train.known_trainings import KnownTrainings
from SelfConfiguringSegmentationLib.train.preparing import TrainingSettings, description_of
from SelfConfiguringSegmentationLib.train.presenter import TrainPresenter
from SelfConfiguringSegmentationLib.train.run import sources_of
from SelfConfiguringSegmentationLib.train.survey import (
    Choices,
    Row,
    Structure,
    Survey,
    files_of,
    row_of_event,
)
from SelfConfiguringSegmentationLib.train.training_folder import (
    Description,
    TrainingFolder,
    write_description,
)

from selfseg.domain.errors import Cancelled, SelfsegError

FOLDER = Source("folder", Path("cases"))
GOOD = Found(
    Survey(
        rows=(Row("a", structures=("ball",)), Row("b", structures=("ball",))),
        structures=(Structure("ball", cases=2),),
    )
)
EXPLAINED = {
    "event": "plan_explained",
    "plan": "plain",
    "topics": [
        {"title": "The data", "text": "2 scans", "configuration": ""},
        {"title": "What 2d sees", "text": "slices <b>", "configuration": "2d"},
        {"title": "What 3d_fullres sees", "text": "boxes", "configuration": "3d_fullres"},
    ],
    "configurations": [
        {"name": "2d", "seconds_per_step": 0.5, "memory_bytes": 1_000_000_000},
        {"name": "3d_fullres", "seconds_per_step": 1.0, "memory_bytes": 3_000_000_000},
    ],
    "steps": 1000,
    "folds": 5,
    "disk_bytes": 2_000_000,
}


class ScriptedRun:
    """Ends when told to."""

    def __init__(self, result: Any) -> None:
        self.ended, self.cancelled = False, False
        self.result = result

    def poll(self) -> bool:
        return self.ended

    def cancel(self) -> None:
        self.cancelled = self.ended = True
        self.result = Cancelled("stopped")

    def end_now(self) -> None:
        self.ended = True

    def finish(self) -> Any:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class Bench:
    """The page's decisions with everything they talk to."""

    def __init__(self, folder: Path) -> None:
        self.surveys: list[tuple[Sequence[Source], Choices]] = []
        self.survey_run = ScriptedRun(GOOD)
        self.prepare_run = ScriptedRun(EXPLAINED)
        self.lines: list[str] = []
        self.cases = CaseTable(self.survey, on_log=self.lines.append)
        self.presenter = TrainPresenter(
            self.cases,
            prepare=lambda *_: self.prepare_run,
            open_training=lambda *_: pytest.fail("nothing is trained here"),
            known=KnownTrainings(folder / "trainings.json"),
            on_log=self.lines.append,
        )
        self.presenter.choose(TrainingSettings(folder / "t", "Balls", 600.0))

    def survey(self, sources: Sequence[Source], choices: Choices, on_log: Any) -> ScriptedRun:
        self.surveys.append((sources, choices))
        self.survey_run = ScriptedRun(self.survey_run.result)
        return self.survey_run

    def look(self) -> None:
        self.cases.tick()
        self.survey_run.ended = True
        self.cases.tick()

    def prepared(self) -> None:
        self.cases.add(FOLDER)
        self.look()
        self.presenter.press_prepare()
        self.prepare_run.ended = True
        self.presenter.tick()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_is_missing_is_said_in_order(bench: Bench) -> None:
    view = bench.presenter.view
    assert view().prepare_tooltip == "Add cases first."
    bench.cases.add(FOLDER)
    assert "looked at" in view().prepare_tooltip
    bench.look()
    assert view().prepare_enabled
    bench.presenter.choose(TrainingSettings(Path("t"), " "))
    assert view().prepare_tooltip == "Give the model a name."
    bench.presenter.choose(TrainingSettings(Path(), "name"))
    assert view().prepare_tooltip == "Choose a folder for the training."


def test_a_folder_that_is_trained_in_is_left_alone(bench: Bench) -> None:
    bench.cases.add(FOLDER)
    bench.look()
    place = TrainingFolder(bench.presenter.settings.folder)
    write_description(place, Description("Old", ("run",)))
    assert "holds a training already" in bench.presenter.view().prepare_tooltip


def test_too_few_cases(bench: Bench) -> None:
    bench.survey_run.result = Found(Survey(rows=(Row("a"),), structures=(Structure("ball"),)))
    bench.cases.add(FOLDER)
    bench.look()
    assert "At least 2 cases" in bench.presenter.view().prepare_tooltip


def test_changes_while_looking_start_one_new_look(bench: Bench) -> None:
    bench.cases.add(FOLDER)
    bench.cases.tick()
    first = bench.survey_run
    bench.cases.use("a", False)
    bench.cases.use("b", False)
    bench.cases.use("b", True)
    assert first.cancelled
    bench.cases.tick()
    bench.look()
    assert len(bench.surveys) == 2
    assert bench.surveys[-1][1].excluded == {"a"}
    assert not bench.cases.looking


def test_a_source_that_cannot_be_used(bench: Bench) -> None:
    bench.survey_run.result = SelfsegError("no such folder", cure="check the path")
    bench.cases.add(FOLDER)
    bench.look()
    assert bench.cases.summary() == "no such folder"
    assert "check the path" in bench.lines[-1]


def test_words_for_collect() -> None:
    choices = Choices("empty", ("ball",), (("kugel", "ball"),), frozenset({"b"}), ("CT",), "Balls")
    assert choices.words() == [
        "--missing", "empty", "--name", "Balls", "--channel", "CT", "--structure", "ball",
        "--rename", "kugel=ball", "--exclude", "b",
    ]  # fmt: skip


def test_a_plan_is_old_once_something_changed(bench: Bench) -> None:
    bench.prepared()
    view = bench.presenter.view()
    assert view.train_enabled
    assert "slices" not in view.plan_html  # ten minutes: the 3D network alone
    assert "boxes" in view.plan_html
    bench.presenter.choose(TrainingSettings(bench.presenter.settings.folder, "Balls", 1200.0))
    assert not bench.presenter.view().train_enabled
    assert "press Prepare again" in bench.presenter.view().train_tooltip


def test_preparing_fails_with_its_cure_in_the_log(bench: Bench) -> None:
    bench.prepare_run.result = SelfsegError("the folder holds other files", cure="another folder")
    bench.prepared()
    view = bench.presenter.view()
    assert view.failed
    assert view.status == "Failed: the folder holds other files"
    assert "another folder" in bench.lines[-1]
    assert view.prepare_enabled


def test_preparing_is_cancelled(bench: Bench) -> None:
    bench.cases.add(FOLDER)
    bench.look()
    bench.presenter.press_prepare()
    assert bench.presenter.view().prepare_text == "Cancel"
    bench.presenter.press_prepare()
    assert not bench.presenter.view().prepare_enabled
    bench.presenter.tick()
    assert bench.presenter.view().status == "Stopped."
    assert not bench.presenter.view().failed


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (300.0, ["-f", "0", "-c", "3d_fullres"]),
        (7200.0, ["-f", "cv", "-c", "3d_fullres"]),
        (86400.0, ["-f", "cv"]),
        (None, ["-f", "cv"]),
    ],
)
def test_the_budget_decides_what_is_trained(seconds: float | None, words: list[str]) -> None:
    settings = TrainingSettings(Path("t"), "Balls", seconds, options=("--seed", "3"))
    arguments = description_of(settings, ("2d", "3d_fullres")).arguments
    start = arguments.index("-f")
    assert list(arguments[start : start + len(words)]) == words
    assert arguments[-2:] == ("--seed", "3")
    assert "--install" in arguments
    assert budget.meaning(seconds)


def test_slices_alone_are_trained_in_2d() -> None:
    settings = TrainingSettings(Path("t"), "Cells", 300.0)
    assert "2d" in description_of(settings, ("2d",)).arguments


def test_estimates_in_words() -> None:
    assert budget.estimate_in_words(EXPLAINED, 7200.0) == (
        "5 networks (3d_fullres), about 24 min each, 2.0 h in all. "
        "Memory: about 3.0 GB. Disk: about 2 MB."
    )
    assert "10 networks (2d, 3d_fullres)" in budget.estimate_in_words(EXPLAINED, None)
    assert [budget.level_in_words(s) for s in (300.0, 3600.0, 86400.0, 345600.0, None)] == [
        "5 minutes", "1 hour", "1 day", "4 days", "no limit",
    ]  # fmt: skip


def test_rows_of_events(tmp_path: Path) -> None:
    row = row_of_event(
        {
            "event": "case_surveyed", "case": "p1", "source": str(tmp_path), "state": "problem",
            "images": [{"channel": "CT", "file": "p1.nrrd"}], "segmentation": None,
            "segments": [{"name": "Kugel", "structure": "ball"}, {"name": "x", "structure": None}],
            "problems": [{"kind": "no-segmentation", "what": "none", "cure": "add one"}],
        }
    )  # fmt: skip
    assert (row.structures, row.segmentation, row.problems[0].cure) == (("ball",), "", "add one")
    (tmp_path / "p1.nrrd").touch()
    assert files_of(row) == ([tmp_path / "p1.nrrd"], None)


def test_collections_of_scripts() -> None:
    assert sources_of(None)[0].is_scene
    assert sources_of(7)[0].folder_item == 7
    assert [source.path for source in sources_of(["a", Path("b")])] == [Path("a"), Path("b")]

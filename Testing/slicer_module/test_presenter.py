"""Decisions of the panel without Qt: what it shows, and what its button does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from SelfConfiguringSegmentationLib.model_list import ModelEntry
from SelfConfiguringSegmentationLib.models import read_model
from SelfConfiguringSegmentationLib.segment.presenter import SegmentPresenter
from SelfConfiguringSegmentationLib.segment.view import Choices, ChosenVolume

from selfseg.domain import events
from selfseg.domain.errors import Cancelled, ModelError
from slicer_module.children import write_model

VOLUME = ChosenVolume("node", "scan")


class ScriptedRun:
    """Ends when told to."""

    def __init__(self) -> None:
        self.ended = False
        self.working = False
        self.cancelled = False
        self.error: BaseException | None = None

    def poll(self) -> bool:
        return self.ended

    def cancel(self) -> None:
        self.cancelled = True

    def end_now(self) -> None:
        self.ended = True

    def finish(self) -> str:
        if self.error is not None:
            raise self.error
        return "segmentation"


class Bench:
    """A presenter with everything it talks to."""

    def __init__(self, model: Path) -> None:
        self.run = ScriptedRun()
        self.lines: list[str] = []
        self.results: list[Any] = []
        self.tell: Any = None
        self.presenter = SegmentPresenter(
            self.start, on_log=self.lines.append, on_done=self.results.append
        )
        self.presenter.set_models([ModelEntry("bright", model, read_model(model))])
        self.presenter.choose(Choices(volumes=(VOLUME,), model="bright"))

    def start(self, choices: Choices, on_event: Any, on_log: Any) -> ScriptedRun:
        self.tell = lambda event: on_event(event.as_dict())
        return self.run

    @property
    def view(self) -> Any:
        return self.presenter.view()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(write_model(tmp_path / "model"))


def test_events_of_selfseg_become_progress(bench: Bench) -> None:
    bench.presenter.press_apply()
    assert bench.view.percent is None
    bench.tell(events.StageStarted("predict", 4, "case"))
    assert bench.view.status == "Segmenting ..."
    bench.tell(events.Progress("predict", 1, 4, eta_seconds=95.0))
    assert bench.view.percent == 25
    assert bench.view.status == "Segmenting: 25%, 1 min 35 s left"
    bench.tell(events.Notice("careful", "warning"))
    bench.tell(events.StageFinished("predict", 3.2))
    bench.tell(events.CaseFinished("case", 1.0))
    assert bench.lines == ["Segmenting ...", "warning: careful", "predict: 3 s"]


def test_a_good_end(bench: Bench) -> None:
    bench.presenter.press_apply()
    bench.presenter.tick()
    assert bench.view.running
    assert bench.view.apply_text == "Cancel"
    bench.run.ended = True
    bench.presenter.tick()
    assert bench.results == ["segmentation"]
    assert (bench.view.apply_text, bench.view.status, bench.view.failed) == (
        "Apply",
        "Done.",
        False,
    )


def test_cancel_is_asked_once_and_waited_for(bench: Bench) -> None:
    bench.presenter.press_apply()
    bench.presenter.press_apply()
    assert bench.run.cancelled
    assert not bench.view.apply_enabled
    bench.tell(events.Progress("predict", 1, 4))
    assert bench.view.status == "Stopping ..."
    bench.run.ended, bench.run.error = True, Cancelled("stopped")
    bench.presenter.tick()
    assert (bench.view.status, bench.view.failed) == ("Stopped.", False)
    assert bench.results == []


def test_an_error_is_shown_short_and_logged_whole(bench: Bench) -> None:
    bench.presenter.press_apply()
    bench.run.ended, bench.run.error = True, ModelError("no good", cure="get a better one")
    bench.presenter.tick()
    assert (bench.view.status, bench.view.failed) == ("Failed: no good", True)
    assert "get a better one" in bench.lines[-1]
    assert bench.view.apply_enabled


def test_an_unforeseen_error_is_not_swallowed_and_leaves_a_usable_panel(bench: Bench) -> None:
    bench.presenter.press_apply()
    bench.run.ended, bench.run.error = True, ZeroDivisionError("a fault")
    with pytest.raises(ZeroDivisionError):
        bench.presenter.tick()
    assert bench.view.apply_text == "Apply"
    assert bench.view.failed


def test_apply_does_nothing_while_something_is_missing(bench: Bench) -> None:
    bench.presenter.choose(Choices())
    bench.presenter.press_apply()
    assert not bench.presenter.running


def test_closing_ends_the_run(bench: Bench) -> None:
    bench.presenter.press_apply()
    bench.presenter.close()
    assert bench.run.ended
    assert not bench.presenter.running

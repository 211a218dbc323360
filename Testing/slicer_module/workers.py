"""Workers for tests: real ones and fake ones, and the page Segment that uses them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slicer_module.children import fake_starter, real_starter

FAKE = Path(__file__).parent / "stand_ins" / "fake_worker.py"

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def real_segmenting(library: Path) -> Any:
    """Real processes, in the interpreter that runs the tests."""
    from SelfConfiguringSegmentationLib.segment.logic import SegmentLogic
    from SelfConfiguringSegmentationLib.segment.surfaces import surface_starter
    from SelfConfiguringSegmentationLib.segment.worker import worker_command_of

    return SegmentLogic(
        start=real_starter,
        worker_command=worker_command_of(sys.executable, ENVIRONMENT),
        surfaces=surface_starter(sys.executable, ENVIRONMENT),
        library=library,
    )


def fake_segmenting(behaviour: str, library: Path, *, job: str = "forget") -> Any:
    """The worker of stand_ins/fake_worker.py; jobs are those of stand_ins/fake_selfseg.py."""
    from SelfConfiguringSegmentationLib.paths import logic_folder
    from SelfConfiguringSegmentationLib.segment.logic import SegmentLogic
    from SelfConfiguringSegmentationLib.segment.surfaces import surface_starter

    marker = str(library.with_name("crashed"))
    command = [sys.executable, "-u", str(FAKE), behaviour, marker]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(logic_folder())}
    return SegmentLogic(
        start=fake_starter(job),
        worker_command=lambda: (command, environment),
        surfaces=surface_starter(sys.executable, ENVIRONMENT),
        library=library,
    )


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library of models, empty; nothing reads the user's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path / "library"


class SegmentPage:
    """The page Segment in the module's window."""

    def __init__(self, widget: Any, library: Path) -> None:
        import slicer

        self.widget = widget
        self.library = library
        self.panel = widget.panels["Segment"]
        self.ui = slicer.util.childWidgetVariables(widget.tabs.widget(0))

    def use(self, segmenting: Any, model: Path | None = None) -> None:
        """Exchanges the processes, and lists a model that lies somewhere."""
        self.widget.logic.segmenting.close()
        self.widget.logic.segmenting = segmenting
        key = "" if model is None else segmenting.models.add(model).key
        self.panel._list_models(key)

    @property
    def running(self) -> bool:
        return bool(self.panel.presenter.running)


@pytest.fixture
def page(library: Path, module_widget: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page Segment with a fake worker that thresholds; nothing is missing."""
    import slicer

    from slicer_module import qt_adapter
    from slicer_module.stand_ins import slicer_widgets

    selector = qt_adapter.PythonQtClass(slicer_widgets.qMRMLNodeComboBox)
    monkeypatch.setattr(slicer, "qMRMLNodeComboBox", selector, raising=False)
    monkeypatch.setattr(type(module_widget.logic), "missingDependencies", lambda self: ())
    made = SegmentPage(module_widget, library)
    made.use(fake_segmenting("label", library))
    yield made
    made.panel.close()
    module_widget.logic.close()


def wait_until(condition: Callable[[], bool], poll: Callable[[], object], seconds: float) -> None:
    """Polls until the condition holds."""
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        poll()
        time.sleep(0.01)

"""The module's own window in tests: real widgets, turned by the test itself.

Test files import the fixtures they need by name.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest

try:
    from slicer_module import qt_adapter, receivers
except ImportError as error:
    warnings.warn(f"the panels were NOT tested: {error}", stacklevel=1)
    pytest.skip(f"the panels were NOT tested: {error}", allow_module_level=True)

PICTURES = "SELFSEG_PICTURES"
"""Environment variable: a folder that keeps the pictures that the tests make."""


@pytest.fixture(scope="session")
def qt_application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Qt, and Slicer's module `qt`; settings are kept in a folder of their own."""
    from PySide6 import QtCore

    from slicer_module.stand_ins import qt_module

    qt_module.install()
    application = qt_adapter.application()
    application.setOrganizationName("tests")
    application.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    for scope in QtCore.QSettings.Scope:
        QtCore.QSettings.setPath(
            QtCore.QSettings.Format.IniFormat, scope, str(tmp_path_factory.mktemp("settings"))
        )
    return application


@pytest.fixture
def module_widget(
    qt_application: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The module's own widget class, set up as Slicer does it, without settings of before.

    Errors raised in receivers, which Qt only prints, fail the test at its end. A test that
    expects one empties `receivers.errors`.
    """
    from PySide6 import QtCore
    from SelfConfiguringSegmentation import SelfConfiguringSegmentationLogic

    monkeypatch.setattr(SelfConfiguringSegmentationLogic, "installDependencies", lambda self: None)
    QtCore.QSettings().clear()
    receivers.errors.clear()
    with open_module() as widget:
        yield widget
    raised = list(receivers.errors)
    receivers.errors.clear()
    assert not raised, f"raised in receivers of signals: {raised}"


@contextlib.contextmanager
def open_module(startProcess: Any = None) -> Iterator[Any]:
    """The module's window, from `setup` to `cleanup`; the newest loaded module's class."""
    from PySide6 import QtWidgets

    from slicer_module.stand_ins.slicer_widgets import qMRMLNodeComboBox

    window = QtWidgets.QWidget()
    window.resize(480, 820)
    QtWidgets.QVBoxLayout(window)
    module = importlib.import_module("SelfConfiguringSegmentation")
    widget = module.SelfConfiguringSegmentationWidget(qt_adapter.adapt(window))
    widget.setup()
    if startProcess is not None:
        widget.logic._startProcess = startProcess
    window.show()
    try:
        yield widget
    finally:
        widget.cleanup()
        for selector in window.findChildren(QtWidgets.QComboBox):
            if isinstance(selector, qMRMLNodeComboBox):
                selector.stop_following()
        window.close()


@pytest.fixture
def watchdog() -> Iterator[receivers.Watch]:
    """Fails where Qt was kept waiting: a receiver of the module took more than 100 ms.

    Time spent waiting for a busy machine's processor does not count (on Linux). Stories that
    start real children belong under it; `watchdog.slowest()` says what took longest.
    """
    # What hundreds of earlier tests left behind is no part of Slicer: collecting that garbage in
    # the middle of a receiver took 0.1 to 0.2 s.
    gc.collect()
    gc.freeze()
    try:
        with receivers.watched() as watch:
            yield watch
    finally:
        gc.unfreeze()
    slow = [call for call in watch.slowest() if call.seconds > receivers.LIMIT_SECONDS]
    assert not slow, f"the GUI thread was blocked: {slow}"


def spin(qt_application: Any, condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Lets Qt work until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        qt_application.processEvents()
        time.sleep(0.01)


def picture(module_widget: Any, name: str, folder: Path) -> Path:
    """Saves how the module looks now; where `SELFSEG_PICTURES` is set, there too."""
    path = folder / f"{name}.png"
    shot = qt_adapter.unwrap(module_widget.parent).grab()
    assert shot.save(str(path))
    if kept := os.environ.get(PICTURES):
        Path(kept).mkdir(parents=True, exist_ok=True)
        scale = os.environ.get("QT_SCALE_FACTOR", "1")
        assert shot.save(str(Path(kept) / f"{name}@{scale}.png"))
    return path

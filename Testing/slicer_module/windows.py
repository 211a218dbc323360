"""The module's own window in tests: real widgets, turned by the test itself.

Test files import the fixtures they need by name.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest

try:
    from slicer_module import qt_adapter
except ImportError as error:
    warnings.warn(f"the panels were NOT tested: {error}", stacklevel=1)
    pytest.skip(f"the panels were NOT tested: {error}", allow_module_level=True)

PICTURES = "SELFSEG_PICTURES"
"""Environment variable: a folder that keeps the pictures that the tests make."""


@pytest.fixture(scope="module")
def qt_application() -> Any:
    """Qt, and Slicer's module `qt`."""
    from slicer_module.stand_ins import qt_module

    qt_module.install()
    return qt_adapter.application()


@pytest.fixture
def module_widget(
    qt_application: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The module's own widget class, set up as Slicer does it."""
    from PySide6 import QtWidgets
    from SelfConfiguringSegmentation import (
        SelfConfiguringSegmentationLogic,
        SelfConfiguringSegmentationWidget,
    )

    monkeypatch.setattr(SelfConfiguringSegmentationLogic, "installDependencies", lambda self: None)
    window = QtWidgets.QWidget()
    window.resize(480, 820)
    QtWidgets.QVBoxLayout(window)
    widget = SelfConfiguringSegmentationWidget(qt_adapter.adapt(window))
    widget.setup()
    window.show()
    yield widget
    widget.cleanup()
    window.close()


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

"""Stands in for Slicer's module `qt`: PySide6 behind the adapter."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from slicer_module.qt_adapter import PythonQtClass, adapt, unwrap

from . import batch_widgets, review_widgets, segment_widgets, slicer_widgets, train_widgets

WIDGETS = (
    *slicer_widgets.WIDGETS,
    *segment_widgets.WIDGETS,
    *train_widgets.WIDGETS,
    *review_widgets.WIDGETS,
    *batch_widgets.WIDGETS,
)

OWN_FLAGS = "set-type property filters could not be read."
"""PySide6 cannot declare a property of a flag type of our own, such as ctkPathLineEdit's."""


class QUiLoader:
    """Loads .ui files; a property that a widget does not have is an error, not a warning."""

    def load(self, file: Any) -> Any:
        warnings: list[str] = []
        previous = QtCore.qInstallMessageHandler(lambda kind, place, text: warnings.append(text))
        try:
            loader = QtUiTools.QUiLoader()
            for widget in WIDGETS:
                loader.registerCustomWidget(widget)
            loaded = loader.load(unwrap(file))
        finally:
            QtCore.qInstallMessageHandler(previous)
        if problems := [text for text in warnings if not text.endswith(OWN_FLAGS)]:
            raise RuntimeError("\n".join(problems))
        return adapt(loaded)


def install() -> None:
    """Makes `import qt` work: every class of Qt's is there under its name."""
    module = types.ModuleType("qt")
    module.Qt = PythonQtClass(QtCore.Qt)
    module.QUiLoader = QUiLoader
    module.__getattr__ = functools.partial(_class, module)
    sys.modules["qt"] = module


def _class(module: types.ModuleType, name: str) -> PythonQtClass:
    for part in (QtCore, QtGui, QtWidgets):
        if isinstance(found := getattr(part, name, None), type) and name.startswith("Q"):
            setattr(module, name, PythonQtClass(found))
            return getattr(module, name)
    raise AttributeError(f"module 'qt' has no attribute {name!r}")

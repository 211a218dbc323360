"""Stands in for Slicer's module `qt`: PySide6 behind the adapter, as far as it is used."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from slicer_module.qt_adapter import adapt, unwrap

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

    def load(self, file: QtCore.QFile) -> Any:
        warnings: list[str] = []
        previous = QtCore.qInstallMessageHandler(lambda kind, place, text: warnings.append(text))
        try:
            loader = QtUiTools.QUiLoader()
            for widget in WIDGETS:
                loader.registerCustomWidget(widget)
            loaded = loader.load(file)
        finally:
            QtCore.qInstallMessageHandler(previous)
        if problems := [text for text in warnings if not text.endswith(OWN_FLAGS)]:
            raise RuntimeError("\n".join(problems))
        return adapt(loaded)


def install() -> None:
    """Makes `import qt` work."""
    module = types.ModuleType("qt")
    module.QFile = QtCore.QFile
    module.QIcon = lambda path: QtGui.QIcon(str(unwrap(path)))
    module.QTimer = lambda: adapt(QtCore.QTimer())
    module.QTabWidget = lambda: adapt(QtWidgets.QTabWidget())
    module.QUiLoader = QUiLoader
    sys.modules["qt"] = module

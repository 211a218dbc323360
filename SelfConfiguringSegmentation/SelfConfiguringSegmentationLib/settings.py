"""Choices that outlive Slicer: settings in the application's file, nodes in the scene.

A panel lists its widgets in `KEPT` (name of the widget -> its property), and the module's widget
keeps them. Nodes belong to the scene: they are kept in the module's parameter node, which is
saved and closed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

PREFIX = "SelfConfiguringSegmentation/"
WHEEL_FOLDER = "Installation/wheelFolder"

CHANGES = {
    "checked": "toggled(bool)",
    "currentIndex": "currentIndexChanged(int)",
    "currentPath": "currentPathChanged(QString)",
    "currentText": "currentIndexChanged(int)",
    "text": "textChanged(QString)",
}
"""The signal that says that a property was changed."""

Value = TypeVar("Value", bool, int, float, str)


def read(key: str, default: Value) -> Value:
    """The stored value, as what the default is; the default where there is none or a broken one."""
    import slicer

    converter: Callable[[Any], Any] = (
        slicer.util.toBool if isinstance(default, bool) else type(default)
    )
    try:
        found: Value = slicer.util.settingsValue(PREFIX + key, default, converter)
    except (TypeError, ValueError):  # written by hand, or by another version
        return default
    return found


def write(key: str, value: bool | int | float | str) -> None:
    """Stores a value."""
    import qt

    qt.QSettings().setValue(PREFIX + key, value)


def keep(ui: Any, page: str, properties: Mapping[str, str]) -> None:
    """Restores properties of widgets, and stores them whenever they change.

    Args:
        ui: the widgets by name.
        page: part of the key.
        properties: widget name -> property; "value" and those in `CHANGES`.
    """
    for name, attribute in properties.items():
        _keep_one(getattr(ui, name), f"{page}/{name}", attribute)


def _keep_one(widget: Any, key: str, attribute: str) -> None:
    shown = getattr(widget, attribute)
    setattr(widget, attribute, read(key, shown))
    signal = CHANGES.get(attribute) or f"valueChanged({'int' if type(shown) is int else 'double'})"
    widget.connect(signal, lambda *_: write(key, getattr(widget, attribute)))


class NodeChoices:
    """Nodes chosen in selectors, stored in the scene with the module's parameter node.

    Args:
        parameter_node: gives the module's parameter node, and makes it where there is none.
        selectors: `qMRMLNodeComboBox` by key.
    """

    def __init__(self, parameter_node: Callable[[], Any], selectors: Mapping[str, Any]) -> None:
        self._parameter_node = parameter_node
        self._selectors = dict(selectors)
        self._restoring = False
        for key, selector in self._selectors.items():
            selector.connect(
                "currentNodeChanged(vtkMRMLNode*)", lambda node, key=key: self._store(key, node)
            )

    def restore(self) -> None:
        """Chooses what the scene's parameter node names, after a scene was loaded."""
        self._restoring = True
        try:
            node = self._parameter_node()
            for key, selector in self._selectors.items():
                chosen = node.GetNodeReference(key)
                if chosen is not None:
                    selector.setCurrentNode(chosen)
        finally:
            self._restoring = False

    def _store(self, key: str, node: Any) -> None:
        parameters = self._parameter_node()
        scene = parameters.GetScene()
        # While a scene is closed or read, selectors change by themselves: nobody chose that.
        if self._restoring or scene is None or scene.IsBatchProcessing():
            return
        parameters.SetNodeReferenceID(key, None if node is None else node.GetID())

"""Widgets of CTK and Slicer that the panels use, as far as they use them."""

# ruff: noqa: N801, N815 (these names are theirs)
from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtWidgets


def _flag(name: str) -> Any:
    return QtCore.Property(
        bool,
        lambda self: self._flags.get(name, False),
        lambda self, value: self._flags.__setitem__(name, value),
    )


class ctkCollapsibleButton(QtWidgets.QGroupBox):
    """A box with a title that folds."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, value: bool) -> None:
        self._collapsed = value
        self.setMaximumHeight(22 if value else 16777215)

    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)
    text = QtCore.Property(str, QtWidgets.QGroupBox.title, QtWidgets.QGroupBox.setTitle)


class ctkPathLineEdit(QtWidgets.QLineEdit):
    """A path that can be typed."""

    CPP_SIGNALS: ClassVar = {"currentPathChanged(QString)": "textChanged"}
    currentPath = QtCore.Property(str, QtWidgets.QLineEdit.text, QtWidgets.QLineEdit.setText)
    settingKey = QtCore.Property(str, lambda self: "", lambda self, value: None)


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    """Lists the nodes of some classes, follows the scene, and preselects the first."""

    CPP_SIGNALS: ClassVar = {"currentNodeChanged(vtkMRMLNode*)": "nodeChanged"}
    nodeChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._types: list[str] = []
        self._flags = {"noneEnabled": False}
        self._none_display = "None"
        self._scene: Any = None
        self._observers: list[int] = []
        self._nodes: list[Any] = []
        self.currentIndexChanged.connect(lambda index: self.nodeChanged.emit(self.currentNode()))

    def setMRMLScene(self, scene: Any) -> None:
        self.stop_following()
        self._scene = scene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
        self._observers = [scene.AddObserver(event, lambda *_: self._refresh()) for event in events]
        self._refresh()

    def stop_following(self) -> None:
        """What the real one does when it is destroyed: hundreds left over slow every test down."""
        while self._observers:
            self._scene.RemoveObserver(self._observers.pop())

    def currentNode(self) -> Any:
        index = self.currentIndex()
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentIndex(self._nodes.index(node) if node in self._nodes else -1)

    def _refresh(self) -> None:
        chosen = self.currentNode()
        self.blockSignals(True)
        self.clear()
        self._nodes = [None] if self._flags["noneEnabled"] else []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            if node.GetClassName() in self._types:
                self._nodes.append(node)
        self.addItems([node.GetName() if node else self._none_display for node in self._nodes])
        if chosen in self._nodes:
            self.setCurrentIndex(self._nodes.index(chosen))
        self.blockSignals(False)
        if self.currentNode() is not chosen:
            self.nodeChanged.emit(self.currentNode())

    def _set_none_enabled(self, value: bool) -> None:
        self._flags["noneEnabled"] = value
        if self._scene is not None:
            self._refresh()

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)

    def _set_none_display(self, text: str) -> None:
        self._none_display = text

    noneEnabled = QtCore.Property(bool, lambda self: self._flags["noneEnabled"], _set_none_enabled)
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    renameEnabled = _flag("renameEnabled")
    showChildNodeTypes = _flag("showChildNodeTypes")
    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)
    noneDisplay = QtCore.Property(str, lambda self: self._none_display, _set_none_display)


WIDGETS = (ctkCollapsibleButton, ctkPathLineEdit, qMRMLNodeComboBox)

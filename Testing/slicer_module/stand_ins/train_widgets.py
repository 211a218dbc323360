"""Widgets of CTK and Slicer that only the page "train" uses."""

# ruff: noqa: N801, N815 (these names are theirs)
from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtWidgets

from .slicer_widgets import _flag


class qMRMLSubjectHierarchyComboBox(QtWidgets.QComboBox):
    """Lists the items of the subject hierarchy, as far as they are folders."""

    CPP_SIGNALS: ClassVar = {"currentItemChanged(vtkIdType)": "itemChanged"}
    itemChanged = QtCore.Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._flags = {"noneEnabled": False}
        self._none_display = "None"
        self._scene: Any = None
        self._items: list[int] = [0]
        self.currentIndexChanged.connect(lambda index: self.itemChanged.emit(self.currentItem()))

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._refresh()

    def subjectHierarchyNode(self) -> Any:
        import slicer

        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def currentItem(self) -> int:
        index = self.currentIndex()
        return self._items[index] if 0 <= index < len(self._items) else 0

    def setCurrentItem(self, item: int) -> None:
        self._refresh()
        self.setCurrentIndex(self._items.index(item))

    def showPopup(self) -> None:
        self._refresh()
        super().showPopup()

    def _refresh(self) -> None:
        import vtk

        node, items = self.subjectHierarchyNode(), vtk.vtkIdList()
        chosen = self.currentItem()
        self.blockSignals(True)
        self.clear()
        self._items = [0] if self._flags["noneEnabled"] else []
        names = [self._none_display] if self._flags["noneEnabled"] else []
        if node is not None:
            node.GetItemChildren(node.GetSceneItemID(), items, True)
        for index in range(items.GetNumberOfIds()):
            item = items.GetId(index)
            if node.GetItemDataNode(item) is None:
                self._items.append(item)
                names.append(node.GetItemName(item))
        self.addItems(names)
        if chosen in self._items:
            self.setCurrentIndex(self._items.index(chosen))
        self.blockSignals(False)

    def _set_none_display(self, text: str) -> None:
        self._none_display = text

    noneEnabled = _flag("noneEnabled")
    noneDisplay = QtCore.Property(str, lambda self: self._none_display, _set_none_display)


class qSlicerWebWidget(QtWidgets.QWidget):
    """Shows a page of the web; here it only keeps its address."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._url = ""

    def _set_url(self, url: str) -> None:
        self._url = url

    url = QtCore.Property(str, lambda self: self._url, _set_url)


WIDGETS: tuple[Any, ...] = (qMRMLSubjectHierarchyComboBox,)

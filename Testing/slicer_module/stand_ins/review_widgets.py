"""Widgets of CTK and Slicer that only the page "review" uses.

qMRMLSegmentEditorWidget as in Slicer 5.12 (Modules/Loadable/Segmentations/Widgets), as far as the
page uses it; its undo is Slicer's own vtkSegmentationHistory.
"""

# ruff: noqa: N801, N815 (these names are theirs)
from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets


def _flag(name: str) -> Any:
    return QtCore.Property(
        bool,
        lambda self: self._flags.get(name, True),
        lambda self, value: self._flags.__setitem__(name, value),
    )


class qMRMLSegmentEditorWidget(QtWidgets.QFrame):
    """Lists the segments and keeps steps to undo; has no effects to draw with."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._flags: dict[str, bool] = {}
        self._scene: Any = None
        self._parameters: Any = None
        self._history: Any = None
        self._undo_states = 5
        self.observes_views = self.has_shortcuts = False
        self.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
        layout = QtWidgets.QVBoxLayout(self)
        self._title = QtWidgets.QLabel("")
        self._list = QtWidgets.QListWidget()
        self._list.setMaximumHeight(90)
        for part in (self._title, self._list):
            layout.addWidget(part)

    def setMRMLScene(self, scene: Any) -> None:
        if self._parameters is None:
            raise AssertionError("the parameter node has to be set before the scene")
        self._scene = scene

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._parameters = node
        self._refresh()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._parameters

    def setSegmentationNode(self, node: Any) -> None:
        if self._parameters is None or (node is not None and self._scene is None):
            raise AssertionError("invalid segment editor parameter set node")
        self._parameters.SetAndObserveSegmentationNode(node)
        self._history = None
        if node is not None:
            import slicer

            self._history = slicer.vtkSegmentationHistory()
            self._history.SetSegmentation(node.GetSegmentation())
            self._history.SetMaximumNumberOfStates(self._undo_states)
        self._refresh()

    def segmentationNode(self) -> Any:
        return None if self._parameters is None else self._parameters.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        if node is not None and self.segmentationNode() is None:
            raise AssertionError("the source volume cannot be set without a segmentation")
        self._parameters.SetAndObserveSourceVolumeNode(node)
        self._refresh()

    def sourceVolumeNode(self) -> Any:
        return None if self._parameters is None else self._parameters.GetSourceVolumeNode()

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._parameters.SetSelectedSegmentID(identifier)
        self._refresh()

    def currentSegmentID(self) -> str:
        return self._parameters.GetSelectedSegmentID()

    def saveStateForUndo(self) -> None:
        self._history.SaveState()

    def undo(self) -> None:
        self._history.RestorePreviousState()

    def setMaximumNumberOfUndoStates(self, number: int) -> None:
        self._undo_states = number

    def setActiveEffect(self, effect: Any) -> None:
        if effect is not None:
            raise AssertionError("this editor has no effects")

    def setupViewObservations(self) -> None:
        self.observes_views = True

    def removeViewObservations(self) -> None:
        self.observes_views = False

    def installKeyboardShortcuts(self) -> None:
        self.has_shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self.has_shortcuts = False

    def turnOffLightboxes(self) -> bool:
        return False

    def showSourceVolumeInSliceViewers(self, force: bool, fit: bool) -> None:
        if self.sourceVolumeNode() is None:
            raise AssertionError("there is nothing to show")

    def _refresh(self) -> None:
        node = self.segmentationNode()
        volume = self.sourceVolumeNode()
        self._title.setText("Segment Editor" + (f" on {volume.GetName()}" if volume else ""))
        self._list.clear()
        segmentation = node.GetSegmentation() if node else None
        for index in range(segmentation.GetNumberOfSegments() if segmentation else 0):
            identifier = segmentation.GetNthSegmentID(index)
            self._list.addItem(segmentation.GetSegment(identifier).GetName())
            if identifier == self._parameters.GetSelectedSegmentID():
                self._list.setCurrentRow(index)

    segmentationNodeSelectorVisible = _flag("segmentationNodeSelectorVisible")
    sourceVolumeNodeSelectorVisible = _flag("sourceVolumeNodeSelectorVisible")
    switchToSegmentationsButtonVisible = _flag("switchToSegmentationsButtonVisible")


WIDGETS: tuple[Any, ...] = (qMRMLSegmentEditorWidget,)

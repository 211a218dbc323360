"""One volume selector per channel of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.i18n import tr as _

from .channels import Candidate, match_channels
from .sequences import browser_of
from .view import ChannelRow, ChosenVolume

FIRST_ROW = 3
"""Of the form in the .ui file: below the model, its description and the first volume."""

VOLUME_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")


class VolumeSelectors:
    """The first selector is in the .ui file, those of further channels are made when needed.

    Args:
        ui: the widgets by name.
        scene: the MRML scene.
        on_change: is called when another volume is chosen.
    """

    def __init__(self, ui: Any, scene: Any, on_change: Callable[[], None]) -> None:
        self._ui = ui
        self._scene = scene
        self._on_change = on_change
        self._rows: list[tuple[Any, Any]] = []
        ui.volumeSelector.setMRMLScene(scene)
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)

    def chosen(self) -> tuple[ChosenVolume | None, ...]:
        """The chosen volumes; those of rows that are switched off are left out."""
        first = _described(self._ui.volumeSelector.currentNode())
        if first is not None and first.components == len(self._rows) + 1:
            return (first, *(None for _row in self._rows))
        return (first, *(_described(selector.currentNode()) for _label, selector in self._rows))

    def show_channels(self, names: Sequence[str]) -> None:
        """Makes a row per channel, and chooses the volumes whose names fit."""
        import qt
        import slicer

        form = self._ui.inputsBox.layout()
        for row in self._rows:
            for widget in row:
                form.removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        self._rows.clear()
        first = self._ui.volumeSelector
        first.noneEnabled = len(names) > 1
        for _name in names[1:]:
            label, selector = qt.QLabel(), slicer.qMRMLNodeComboBox()
            selector.nodeTypes = list(VOLUME_CLASSES)
            selector.showChildNodeTypes = False
            selector.addEnabled = selector.removeEnabled = False
            selector.noneEnabled = True
            selector.noneDisplay = _("Choose a volume")
            selector.toolTip = _("The volume with this channel, on the same grid as the first.")
            selector.setMRMLScene(self._scene)
            selector.setCurrentNode(None)
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
            form.insertRow(FIRST_ROW + len(self._rows), label, selector)
            self._rows.append((label, selector))
        self._choose_by_name(names)

    def show(self, rows: Sequence[ChannelRow]) -> None:
        """Names the rows, and switches off those that the first volume makes needless."""
        self._ui.volumeSelectorLabel.text = f"{rows[0].label}:"
        for (label, selector), row in zip(self._rows, rows[1:], strict=False):
            label.text = f"{row.label}:"
            selector.enabled = row.enabled

    def _choose_by_name(self, names: Sequence[str]) -> None:
        if not names:
            return
        import slicer

        nodes = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", self._scene)
            if node.GetClassName() in VOLUME_CLASSES
        ]
        first = self._ui.volumeSelector
        if len(names) == 1 and first.currentNode() is not None:
            return  # what the user looks at goes before what a name says
        fitting = [node for node in nodes if _components(node) == len(names)]
        if len(names) > 1 and first.currentNode() in fitting:
            return
        candidates = [Candidate(node.GetName(), _modality(node)) for node in nodes]
        selectors = [first, *(selector for _label, selector in self._rows)]
        for selector, index in zip(selectors, match_channels(names, candidates), strict=True):
            selector.setCurrentNode(None if index is None else nodes[index])

    def _changed(self, *_arguments: object) -> None:
        self._on_change()


def _described(node: Any) -> ChosenVolume | None:
    if node is None:
        return None
    browser = browser_of(node)
    frames = 1 if browser is None else browser.GetNumberOfItems()
    return ChosenVolume(node, node.GetName(), _components(node), frames)


def _components(node: Any) -> int:
    image = node.GetImageData()
    return 1 if image is None else int(image.GetNumberOfScalarComponents())


def _modality(node: Any) -> str:
    """The DICOM modality of a volume that was loaded from DICOM; "" otherwise."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if not item:
        return ""
    names = slicer.vtkMRMLSubjectHierarchyConstants
    return str(hierarchy.GetItemAttribute(item, names.GetDICOMSeriesModalityAttributeName()) or "")

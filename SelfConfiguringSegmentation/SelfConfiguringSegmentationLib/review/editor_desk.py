"""The desk of the page: the case's nodes in the scene, and Slicer's Segment Editor on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .case_files import LoadedCase
from .case_nodes import CaseNodes, Prepared, prepare, scene_case, scene_segmentations
from .desk import SceneCase
from .segments import Segments

UNDO_STATES = 20
"""Steps that can be taken back; each keeps a copy of the layer that was changed."""

EDITOR_NODE_TAG = "SelfConfiguringSegmentationReview"
"""The editor's settings are one node of the scene, and not those of Slicer's own editor module."""


class EditorDesk:
    """Shows one case at a time.

    Args:
        editor: a `qMRMLSegmentEditorWidget`.
        scene: the MRML scene.
    """

    def __init__(self, editor: Any, scene: Any) -> None:
        self._editor = editor
        self._scene = scene
        self._nodes: CaseNodes | None = None
        self._in_front = False
        editor.setMaximumNumberOfUndoStates(UNDO_STATES)
        editor.segmentationNodeSelectorVisible = False
        editor.sourceVolumeNodeSelectorVisible = False
        editor.switchToSegmentationsButtonVisible = False

    @property
    def nodes(self) -> CaseNodes | None:
        """What is in the scene for the case that is shown."""
        return self._nodes

    def prepare(self, loaded: LoadedCase) -> Prepared:
        """Copies voxels, in a thread."""
        return prepare(loaded)

    def show(self, loaded: LoadedCase, prepared: Prepared) -> None:
        """Puts a case into the scene and into the editor."""
        self.clear()
        self._nodes = nodes = CaseNodes(self._scene, loaded, prepared)
        editor, parameters = self._editor, self._parameters()
        kind = type(parameters)
        # Regions may overlap; of plain structures each takes its voxels from the others.
        parameters.SetOverwriteMode(
            kind.OverwriteAllSegments if loaded.prediction.exclusive else kind.OverwriteNone
        )
        # In this order: the editor stores what it selects by itself in the node that it has.
        editor.setMRMLSegmentEditorNode(parameters)
        editor.setMRMLScene(self._scene)
        editor.setSegmentationNode(nodes.segmentation)
        editor.setSourceVolumeNode(nodes.volumes[0])
        self._choose_segment(loaded)
        editor.showSourceVolumeInSliceViewers(True, True)
        self._watch_views()

    def clear(self) -> None:
        """Takes the case out of the editor and out of the scene."""
        if self._nodes is None:
            return
        self._let_go_of_views()
        self._editor.setSegmentationNode(None)
        self._editor.setSourceVolumeNode(None)
        self._nodes.remove()
        self._nodes = None

    def state(self) -> object:
        """Differs after every change of the segments; None where they are not there."""
        return self._nodes.state() if self._nodes is not None and self._nodes.present else None

    def segments(self) -> Segments | None:
        """The segments as they are now; None where somebody has removed the nodes."""
        return self._nodes.segments() if self._nodes is not None and self._nodes.present else None

    def scene_cases(self) -> Sequence[Callable[[], SceneCase]]:
        """The segmentations of the scene that have an image; the case that is shown is none."""
        shown = None if self._nodes is None else self._nodes.segmentation
        names: set[str] = set()
        found = []
        for node, volume in scene_segmentations(self._scene):
            if node is not shown:
                name = _free_name(node.GetName(), names)
                names.add(name)
                found.append(_reader(name, node, volume))
        return found

    def enter(self) -> None:
        """The page comes to the front: the editor takes mouse and keys of the views."""
        self._in_front = True
        self._watch_views()

    def leave(self) -> None:
        """The page goes to the back: the views belong to others."""
        self._in_front = False
        self._let_go_of_views()

    def _watch_views(self) -> None:
        if self._in_front and self._nodes is not None:
            self._editor.turnOffLightboxes()
            self._editor.installKeyboardShortcuts()
            self._editor.setupViewObservations()

    def _let_go_of_views(self) -> None:
        if self._nodes is not None:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def _choose_segment(self, loaded: LoadedCase) -> None:
        """Begins with the structure that is expected to be worst."""
        segments = loaded.shown.segments
        worst = loaded.case.worst_structure
        chosen = next((found for found in segments if found.name == worst), None)
        if chosen is None and segments:
            chosen = segments[0]
        if chosen is not None:
            self._editor.setCurrentSegmentID(chosen.identifier)

    def _parameters(self) -> Any:
        import slicer

        kind = "vtkMRMLSegmentEditorNode"
        found = self._scene.GetSingletonNode(EDITOR_NODE_TAG, kind)
        if found is None:
            made = slicer.vtkMRMLSegmentEditorNode()
            made.SetSingletonTag(EDITOR_NODE_TAG)
            found = self._scene.AddNode(made)
        return found


def _free_name(wished: str, taken: set[str]) -> str:
    """A name that files can have and no other case has."""
    plain = re.sub(r"[^\w. -]+", "_", wished).strip(" .") or "case"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain} {number}", number + 1
    return name


def _reader(name: str, node: Any, volume: Any) -> Callable[[], SceneCase]:
    return lambda: (name, *scene_case(node, volume))

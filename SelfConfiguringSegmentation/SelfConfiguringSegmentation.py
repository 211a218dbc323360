"""The Slicer module: wiring only. What it wires is in SelfConfiguringSegmentationLib and selfseg.

Slicer imports this file when it starts: nothing is executed at file scope, and nothing but
Slicer's own modules is imported there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HOMEPAGE = "https://github.com/SlicerSelfConfiguringSegmentation/SlicerSelfConfiguringSegmentation"


class SelfConfiguringSegmentation(ScriptedLoadableModule):
    """Tells Slicer what this module is."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Self-Configuring Segmentation"
        parent.categories = ["Segmentation"]
        parent.dependencies = []
        parent.contributors = ["SelfConfiguringSegmentation contributors"]
        parent.helpText = (
            "Segments a scan with a trained model, and trains models from segmented scans: "
            "it measures the data and decides every setting by itself. "
            f'<a href="{HOMEPAGE}">Documentation and source</a>.'
        )
        parent.acknowledgementText = (
            "The method follows F. Isensee et al., nnU-Net: a self-configuring method for deep "
            "learning-based biomedical image segmentation. Nature Methods 18, 203-211 (2021)."
        )
        self._set_icon(parent)

    @staticmethod
    def _set_icon(parent: Any) -> None:
        # Slicer looks beside the module; in the source tree the icon is one folder up.
        import qt
        from SelfConfiguringSegmentationLib.paths import resources_folder

        icon = resources_folder() / "Icons" / "SelfConfiguringSegmentation.png"
        parent.icon = qt.QIcon(str(icon))


class SelfConfiguringSegmentationWidget(ScriptedLoadableModuleWidget):
    """Shows the pages, and follows the life of module and scene."""

    def setup(self) -> None:
        """Builds one tab for each page."""
        import qt
        from SelfConfiguringSegmentationLib import paths

        ScriptedLoadableModuleWidget.setup(self)
        paths.make_selfseg_importable()
        from SelfConfiguringSegmentationLib.pages import PAGES
        from SelfConfiguringSegmentationLib.session import Session

        self.logic = SelfConfiguringSegmentationLogic()
        self.session = Session(slicer.mrmlScene, self.logic, qt.QTimer)
        self.tabs = qt.QTabWidget()
        self.layout.addWidget(self.tabs)
        self.panels: dict[str, Any] = {}
        for page in PAGES:
            widget = slicer.util.loadUI(str(paths.resources_folder() / "UI" / page.ui_file))
            self.tabs.addTab(widget, page.name)
            self.panels[page.name] = page.panel(
                slicer.util.childWidgetVariables(widget), self.session
            )
        self.session.show_page.connect(self._showPage)
        self._scene_observer = slicer.mrmlScene.AddObserver(
            slicer.vtkMRMLScene.StartCloseEvent, self._onSceneStartClose
        )

    def cleanup(self) -> None:
        """Ends what runs; Slicer calls it before the module is unloaded."""
        slicer.mrmlScene.RemoveObserver(self._scene_observer)
        self._closePanels()

    def _showPage(self, name: str) -> None:
        self.tabs.currentIndex = list(self.panels).index(name)

    def _onSceneStartClose(self, caller: Any, event: Any) -> None:
        self._closePanels()

    def _closePanels(self) -> None:
        for panel in self.panels.values():
            panel.close()


class SelfConfiguringSegmentationLogic(ScriptedLoadableModuleLogic):
    """What scripts and other modules call.

    Args:
        startProcess: starts `selfseg` in a child process; Slicer's own Python by default.
    """

    def __init__(self, startProcess: Any = None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        from SelfConfiguringSegmentationLib.paths import make_selfseg_importable

        make_selfseg_importable()
        self._startProcess = startProcess

    def segment(
        self,
        volumeNode: Any,
        model: str | Path,
        *,
        settings: Any = None,
        segmentationNode: Any = None,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """Segments a volume and waits for the result.

        Args:
            volumeNode: the volume; a list of volumes for a model with several channels.
            model: project folder of a trained model.
            settings: a `SegmentationSettings`; its defaults otherwise.
            segmentationNode: its segments are replaced; a new node is made otherwise.
            onEvent: takes progress events (dicts, see `selfseg.domain.events`).
            onLog: takes other lines of the child process.

        Returns:
            The segmentation node: one segment per structure of the model.

        Raises:
            SelfsegError: with cause and cure; the scene is then as it was before.
        """
        run = self.startSegmentation(
            volumeNode,
            model,
            settings=settings,
            segmentationNode=segmentationNode,
            onEvent=onEvent,
            onLog=onLog,
        )
        application = getattr(slicer, "app", None)
        run.wait(application.processEvents if application is not None else lambda: None)
        return run.finish()

    def startSegmentation(
        self,
        volumeNode: Any,
        model: str | Path,
        *,
        settings: Any = None,
        segmentationNode: Any = None,
        onEvent: Callable[[dict[str, Any]], None] = lambda event: None,
        onLog: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """Starts a segmentation and returns at once; arguments as for `segment`.

        Returns:
            A `SegmentationRun`: call `poll()` from a timer until it is True, then `finish()`.
        """
        from SelfConfiguringSegmentationLib.jobs import slicer_starter
        from SelfConfiguringSegmentationLib.segment.run import SegmentationRun

        nodes = list(volumeNode) if isinstance(volumeNode, Sequence) else [volumeNode]
        return SegmentationRun(
            nodes,
            Path(model),
            start=self._startProcess or slicer_starter(),
            settings=settings,
            segmentation_node=segmentationNode,
            on_event=onEvent,
            on_log=onLog,
        )

    def installDependencies(self) -> None:
        """Makes the child process able to run: asks the user first where packages are missing.

        Raises:
            RuntimeError: the user declined, or the PyTorch extension is not installed.
        """
        from SelfConfiguringSegmentationLib.dependencies import install_dependencies

        install_dependencies()


class SelfConfiguringSegmentationTest(ScriptedLoadableModuleTest):
    """What Slicer's own self-test runs; the rest is in Testing/."""

    def setUp(self) -> None:
        """Starts from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Runs every test here."""
        self.setUp()
        self.test_SegmentationFromLabelMap()

    def test_SegmentationFromLabelMap(self) -> None:
        """A label map becomes a segmentation on the grid of its volume."""
        import numpy as np
        from SelfConfiguringSegmentationLib.paths import make_selfseg_importable

        make_selfseg_importable()
        from SelfConfiguringSegmentationLib.scene import add_segmentation

        from selfseg.domain.labels import LabelScheme

        labels = np.zeros((6, 8, 10), dtype=np.uint8)
        labels[1:3, 2:4, 3:9] = 2
        volume = slicer.util.addVolumeFromArray(labels.astype(np.int16), np.diag([1, 2, 3, 1]))
        scheme = LabelScheme.from_mapping({"background": 0, "liver": 1, "spleen": 2})
        node = add_segmentation(labels, scheme, volume)
        identifier = node.GetSegmentation().GetSegmentIdBySegmentName("spleen")
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume)
        self.assertEqual(int(mask.sum()), int((labels == 2).sum()))  # noqa: PT009

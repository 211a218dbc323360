"""The Slicer module: wiring only. What it wires is in SelfConfiguringSegmentationLib and selfseg.

Slicer imports this file when it starts: nothing is executed at file scope, and nothing but
Slicer's own modules is imported there.
"""

from __future__ import annotations

import sys
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HOMEPAGE = "https://github.com/SlicerSelfConfiguringSegmentation/SlicerSelfConfiguringSegmentation"


class SelfConfiguringSegmentation(ScriptedLoadableModule):
    """Tells Slicer what this module is."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Self-Configuring Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["SelfConfiguringSegmentation contributors"]
        parent.helpText = _(
            "Segments a scan with a trained model, and trains models from segmented scans: "
            "it measures the data and decides every setting by itself. "
            "{link_start}Documentation and source{link_end}."
        ).format(link_start=f'<a href="{HOMEPAGE}">', link_end="</a>")
        parent.acknowledgementText = _(
            "The method follows F. Isensee et al., nnU-Net: a self-configuring method for deep "
            "learning-based biomedical image segmentation. Nature Methods 18, 203-211 (2021)."
        )
        self._set_icon(parent)
        application = getattr(slicer, "app", None)  # PythonSlicer has none
        if application is not None:
            application.connect("startupCompleted()", registerSampleData)

    @staticmethod
    def _set_icon(parent: Any) -> None:
        # Slicer looks beside the module; in the source tree the icon is one folder up.
        import qt
        from SelfConfiguringSegmentationLib.paths import resources_folder

        icon = resources_folder() / "Icons" / "SelfConfiguringSegmentation.png"
        parent.icon = qt.QIcon(str(icon))


def registerSampleData() -> None:
    """Adds the sample data to the module Sample Data, once Slicer has started."""
    from SelfConfiguringSegmentationLib.samples import register_sample_data

    register_sample_data()


class SelfConfiguringSegmentationWidget(ScriptedLoadableModuleWidget):
    """Shows the pages, and follows the life of module and scene."""

    def setup(self) -> None:
        """Builds one tab for each page, and the box for installation below them."""
        import qt
        from SelfConfiguringSegmentationLib import paths, settings

        ScriptedLoadableModuleWidget.setup(self)
        paths.make_selfseg_importable()
        from SelfConfiguringSegmentationLib.logic import SelfConfiguringSegmentationLogic
        from SelfConfiguringSegmentationLib.pages import PAGES
        from SelfConfiguringSegmentationLib.session import Session
        from SelfConfiguringSegmentationLib.setup.panel import SetupPanel

        self._observers: list[int] = []
        self.panels: dict[str, Any] = {}
        self.logic = SelfConfiguringSegmentationLogic()
        self.session = Session(slicer.mrmlScene, self.logic, qt.QTimer)
        self.tabs = qt.QTabWidget()
        self.layout.addWidget(self.tabs)
        selectors = {}
        for page in PAGES:
            widget = self._load(page.ui_file)
            self.tabs.addTab(widget, page.title)
            ui = slicer.util.childWidgetVariables(widget)
            self.panels[page.name] = page.panel(ui, self.session)
            settings.keep(ui, page.name, getattr(self.panels[page.name], "KEPT", {}))
            for selector in slicer.util.findChildren(widget, className="qMRMLNodeComboBox"):
                if selector.name:
                    selectors[f"{page.name}.{selector.name}"] = selector
        self._nodes = settings.NodeChoices(self.logic.getParameterNode, selectors)
        setup_widget = self._load("SetupPanel.ui")
        self.layout.addWidget(setup_widget)
        ui = slicer.util.childWidgetVariables(setup_widget)
        self.setup_panel = SetupPanel(ui, self.session)
        settings.keep(ui, "Installation", SetupPanel.KEPT)
        self.session.show_page.connect(self._showPage)
        scene = slicer.mrmlScene
        for event, receive in (
            (scene.StartCloseEvent, self._onSceneStartClose),
            (scene.EndImportEvent, self._onSceneEndImport),
        ):
            self._observers.append(scene.AddObserver(event, receive))
        self._nodes.restore()
        self.setup_panel.refresh()
        self._shown: Any = None
        self.tabs.connect("currentChanged(int)", self._onPageChanged)

    def enter(self) -> None:
        """The user comes back to the module: something may have been installed meanwhile."""
        self.setup_panel.refresh()
        self._turnTo(list(self.panels.values())[self.tabs.currentIndex])

    def exit(self) -> None:
        """The user goes to another module."""
        self._turnTo(None)

    def cleanup(self) -> None:
        """Ends what runs; Slicer calls it before the module is unloaded or loaded again."""
        for observer in self._observers:
            slicer.mrmlScene.RemoveObserver(observer)
        self._observers.clear()
        self._turnTo(None)
        self._closePanels()
        self.logic.close()

    def onReload(self) -> None:
        """Loads the library and selfseg again too; Slicer itself reloads only this file."""
        for name in list(sys.modules):
            if name.partition(".")[0] in ("SelfConfiguringSegmentationLib", "selfseg"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def _load(self, ui_file: str) -> Any:
        from SelfConfiguringSegmentationLib.paths import resources_folder

        return slicer.util.loadUI(str(resources_folder() / "UI" / ui_file))

    def _showPage(self, name: str) -> None:
        self.tabs.currentIndex = list(self.panels).index(name)

    def _onPageChanged(self, index: int) -> None:
        self._turnTo(list(self.panels.values())[index])

    def _turnTo(self, panel: Any) -> None:
        """Tells pages that care that they are left, or shown."""
        if panel is self._shown:
            return
        for shown, word in ((self._shown, "leave"), (panel, "enter")):
            getattr(shown, word, lambda: None)()
        self._shown = panel

    def _onSceneStartClose(self, caller: Any, event: Any) -> None:
        self._closePanels()

    def _onSceneEndImport(self, caller: Any, event: Any) -> None:
        self._nodes.restore()

    def _closePanels(self) -> None:
        for panel in self.panels.values():
            panel.close()


def __getattr__(name: str) -> Any:
    """The logic class, which scripts import from here; the library is loaded only then."""
    if name == "SelfConfiguringSegmentationLogic":
        from SelfConfiguringSegmentationLib.logic import SelfConfiguringSegmentationLogic

        return SelfConfiguringSegmentationLogic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class SelfConfiguringSegmentationTest(ScriptedLoadableModuleTest):
    """What Slicer's own self-test runs; the rest is in Testing/."""

    def setUp(self) -> None:
        """Starts from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self, **_options: Any) -> None:
        """Runs every test here."""
        for test in (
            self.test_SegmentationFromLabelMap,
            self.test_SampleDataIsWhole,
            self.test_TrainSegmentAndCloseTheScene,
        ):
            self.setUp()
            test()
        self.setUp()

    def test_SegmentationFromLabelMap(self) -> None:
        """A label map becomes a segmentation on the grid of its volume."""
        from SelfConfiguringSegmentationLib import self_test

        self_test.segmentation_from_label_map(self)

    def test_SampleDataIsWhole(self) -> None:
        """The scans that come with the extension are the published ones."""
        from SelfConfiguringSegmentationLib import self_test

        self_test.sample_data_is_whole(self)

    def test_TrainSegmentAndCloseTheScene(self) -> None:
        """A model trained for seconds segments a scan; left out where packages are missing."""
        from SelfConfiguringSegmentationLib import self_test
        from SelfConfiguringSegmentationLib.logic import SelfConfiguringSegmentationLogic

        self_test.train_segment_and_close_the_scene(self, SelfConfiguringSegmentationLogic())

"""The panel that segments: shows the presenter's view and passes on what the user does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..models import Model
from ..session import Session
from .presenter import Choices, SegmentPresenter
from .run import SegmentationSettings

POLL_MILLISECONDS = 100
DEVICES = ("auto", "cpu", "cuda", "mps")


class SegmentPanel:
    """Connects the widgets of SegmentPanel.ui with a presenter.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui = ui
        self._session = session
        self._timer = timer = session.new_timer()
        self.presenter = SegmentPresenter(
            self._start, on_change=self._show, on_log=self._log, on_done=self._select
        )
        scene = session.scene
        ui.deviceSelector.addItems(list(DEVICES))
        ui.volumeSelector.setMRMLScene(scene)
        ui.segmentationSelector.setMRMLScene(scene)
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose)
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose)
        ui.modelFolder.connect("currentPathChanged(QString)", self._choose)
        ui.deviceSelector.connect("currentTextChanged(QString)", self._choose)
        ui.mirrorCheckBox.connect("toggled(bool)", self._choose)
        ui.surfaceCheckBox.connect("toggled(bool)", self._choose)
        ui.applyButton.connect("clicked(bool)", self._press_apply)
        timer.interval = POLL_MILLISECONDS
        timer.connect("timeout()", self.presenter.tick)
        self._choose()

    def close(self) -> None:
        """Ends what runs; called when the module is unloaded or the scene is closed."""
        self._timer.stop()
        self.presenter.close()

    def _start(
        self,
        choices: Choices,
        on_event: Callable[[dict[str, Any]], None],
        on_log: Callable[[str], None],
    ) -> Any:
        self._session.logic.installDependencies()
        return self._session.logic.startSegmentation(
            choices.volume,
            choices.model,
            settings=choices.settings,
            segmentationNode=choices.output,
            onEvent=on_event,
            onLog=on_log,
        )

    def _choose(self, *_: object) -> None:
        ui = self._ui
        self.presenter.choose(
            Choices(
                volume=ui.volumeSelector.currentNode(),
                model=ui.modelFolder.currentPath,
                output=ui.segmentationSelector.currentNode(),
                settings=SegmentationSettings(
                    device=ui.deviceSelector.currentText,
                    mirror=ui.mirrorCheckBox.checked,
                    closed_surface=ui.surfaceCheckBox.checked,
                ),
            )
        )

    def _press_apply(self, *_: object) -> None:
        if not self.presenter.running:
            self._ui.logText.clear()
        self.presenter.press_apply()

    def _show(self) -> None:
        ui, view = self._ui, self.presenter.view()
        ui.applyButton.text = view.apply_text
        ui.applyButton.enabled = view.apply_enabled
        ui.applyButton.toolTip = view.apply_tooltip
        for box in (ui.inputsBox, ui.outputsBox, ui.advancedBox):
            box.enabled = view.choices_enabled
        ui.progressBar.visible = view.running
        # A bar from 0 to 0 moves without saying how far: the share of work is not known yet.
        ui.progressBar.maximum = 0 if view.percent is None else 100
        ui.progressBar.value = view.percent or 0
        ui.statusLabel.text = view.status
        model = self.presenter.model
        ui.modelLabel.text = "" if model is None else _summary(model)
        if view.failed:
            ui.logBox.collapsed = False
        if view.running and not self._timer.active:
            self._timer.start()
        elif not view.running and self._timer.active:
            self._timer.stop()

    def _log(self, line: str) -> None:
        self._ui.logText.appendPlainText(line)

    def _select(self, segmentation_node: Any) -> None:
        self._ui.segmentationSelector.setCurrentNode(segmentation_node)


def _summary(model: Model) -> str:
    count = len(model.labels.foreground)
    return f"{model.name}: {count} structure{'' if count == 1 else 's'}"

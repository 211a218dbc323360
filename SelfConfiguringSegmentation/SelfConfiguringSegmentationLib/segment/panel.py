"""The page Segment: shows the presenter's view and passes on what the user does."""

from __future__ import annotations

from typing import Any, ClassVar

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError

from ..run_panel import DEVICES, RunPanel, emphasis
from ..session import Session
from .model_menu import ModelMenu
from .presenter import EventTaker, LineTaker, SegmentPresenter
from .settings import SegmentationSettings
from .structure_list import StructureList
from .view import Choices
from .volume_selectors import VolumeSelectors

IDLE_MILLISECONDS = 100
"""Between two looks at another process."""

BUSY_MILLISECONDS = 5
"""Between two of our own steps: the interface gets its turn in between."""


class SegmentPanel(RunPanel):
    """Connects the widgets of SegmentPanel.ui with a presenter.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    KEPT: ClassVar = {
        "modelSelector": "currentText",
        "deviceSelector": "currentText",
        "mirrorCheckBox": "checked",
        "surfaceCheckBox": "checked",
    }

    def __init__(self, ui: Any, session: Session) -> None:
        super().__init__(ui, session)
        self._filling = True
        self._shown_model = self._ahead = ""
        self._result: Any = None
        self._result_volume: Any = None
        self.presenter = SegmentPresenter(
            self._start, on_change=self._show, on_log=self._log, on_done=self._take_result
        )
        self._volumes = VolumeSelectors(ui, session.scene, self._choose)
        self._structures = StructureList(ui, self._choose)
        self._menu = ModelMenu(ui, session, self.presenter, self._list_models)
        ui.deviceSelector.addItems(list(DEVICES))
        ui.segmentationSelector.setMRMLScene(session.scene)
        ui.roiSelector.setMRMLScene(session.scene)
        for selector in (ui.segmentationSelector, ui.roiSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose)
        for selector in (ui.modelSelector, ui.deviceSelector, ui.foldSelector):
            selector.connect("currentIndexChanged(int)", self._choose)
        for box in (ui.mirrorCheckBox, ui.surfaceCheckBox, ui.addCheckBox, ui.framesCheckBox):
            box.connect("toggled(bool)", self._choose)
        ui.stepSelector.connect("valueChanged(double)", self._choose)
        self._connect_run(self._tick, IDLE_MILLISECONDS)
        session.model_ready.connect(lambda path: self._list_models(str(path)))
        self._filling = False
        self._list_models()

    def close(self) -> None:
        """Ends what runs; called when the module is unloaded or the scene is closed."""
        self.presenter.close()
        self._result = self._result_volume = None
        if not self._session.logic.segmenting.worker.busy:
            self._timer.stop()  # otherwise it goes on until the worker has stopped, too

    def _start(self, choices: Choices, on_event: EventTaker, on_log: LineTaker) -> Any:
        self._session.logic.installDependencies()
        volumes = [volume.node for volume in choices.volumes if volume is not None]
        self._result_volume = volumes[0]
        all_frames = choices.all_frames and choices.volumes[0].frames > 1  # type: ignore[union-attr]
        return self._session.logic.startSegmentation(
            volumes,
            self.presenter.model,
            settings=choices.settings,
            segmentationNode=choices.output,
            addToSegmentation=choices.add,
            roiNode=choices.roi,
            allFrames=all_frames,
            onEvent=on_event,
            onLog=on_log,
        )

    def _list_models(self, chosen: str = "") -> None:
        """Reads the list of models again, and chooses one of them by its key or path."""
        ui = self._ui
        entries = self._session.logic.models()
        wanted = chosen or self._model_key()
        self.presenter.set_models(entries)
        self._filling = True
        ui.modelSelector.clear()
        for entry in entries:
            ui.modelSelector.addItem(entry.title, entry.key)
        found = [i for i, entry in enumerate(entries) if wanted in (entry.key, str(entry.path))]
        if found:
            ui.modelSelector.currentIndex = found[0]
        ui.modelSelector.enabled = bool(entries)
        self._filling = False
        self._choose()

    def _model_key(self) -> str:
        return str(self._ui.modelSelector.currentData or "")

    def _choose(self, *_arguments: object) -> None:
        if self._filling:
            return
        ui = self._ui
        key = self._model_key()
        if key != self._shown_model:
            self._shown_model = key
            self._show_model(key)
        volumes = self._volumes.chosen()
        first = volumes[0]
        output = ui.segmentationSelector.currentNode()
        if (
            output is not None
            and output is self._result
            and first is not None
            and first.node is not self._result_volume
        ):
            # The result of another volume must not be replaced by mistake.
            self._result = output = None
            self._filling = True
            ui.segmentationSelector.setCurrentNode(None)
            self._filling = False
        names = self._structures.checked()
        self.presenter.choose(
            Choices(
                volumes=volumes,
                model=key,
                output=output,
                add=ui.addCheckBox.checked,
                roi=ui.roiSelector.currentNode(),
                all_frames=ui.framesCheckBox.checked,
                no_structure=names is not None and not names,
                settings=SegmentationSettings(
                    device=ui.deviceSelector.currentText,
                    mirror=ui.mirrorCheckBox.checked,
                    step=ui.stepSelector.value,
                    folds=self._folds(),
                    structures=names or (),
                    closed_surface=ui.surfaceCheckBox.checked,
                ),
            )
        )
        self._load_ahead()

    def _show_model(self, key: str) -> None:
        """Makes the selectors that this model needs."""
        ui = self._ui
        self._filling = True
        self.presenter.choose(Choices(model=key))
        model = self.presenter.model
        self._volumes.show_channels(() if model is None else model.channel_names)
        self._structures.show(() if model is None else model.structure_names)
        ui.foldSelector.clear()
        folds = () if model is None else model.folds
        every = _("All ({count})").format(count=len(folds)) if folds else _("All")
        ui.foldSelector.addItem(every, "")
        for fold in folds if len(folds) > 1 else ():
            ui.foldSelector.addItem(_("Fold {fold} only").format(fold=fold), fold)
        ui.foldSelector.enabled = len(folds) > 1
        self._filling = False

    def _folds(self) -> tuple[str, ...]:
        fold = self._ui.foldSelector.currentData
        return (str(fold),) if fold else ()

    def _load_ahead(self) -> None:
        """Makes the worker read the model; never where something must be installed for it."""
        settings = self.presenter.choices.settings
        wanted = f"{self.presenter.choices.model} {settings.device} {settings.folds}"
        model = self.presenter.model
        if model is None or not self.presenter.load_ahead or wanted == self._ahead:
            return
        self._ahead = wanted
        logic = self._session.logic
        try:
            if logic.missingDependencies():
                return
            logic.segmenting.worker.load_ahead(model, settings)
        except (SelfsegError, RuntimeError):
            return  # Apply will say what is wrong
        self._timer.start()

    def _is_running(self) -> bool:
        return self.presenter.running

    def _tick(self) -> None:
        worker = self._session.logic.segmenting.worker
        if self.presenter.running:
            self.presenter.tick()
        elif worker.busy:
            worker.poll()
        busy = self.presenter.running or worker.busy
        working = busy and self.presenter.view().working
        interval = BUSY_MILLISECONDS if working else IDLE_MILLISECONDS
        if self._timer.interval != interval:
            self._timer.interval = interval
        if not busy:
            self._timer.stop()

    def _show(self) -> None:
        ui, view = self._ui, self.presenter.view()
        self._show_run(view, (ui.inputsBox, ui.outputsBox, ui.advancedBox))
        ui.statusLabel.styleSheet = emphasis(view.attention)
        ui.modelLabel.text = view.model_text
        ui.modelSelector.toolTip = view.model_tooltip
        ui.framesCheckBox.visible = bool(view.frames_text)
        ui.framesCheckBox.text = view.frames_text
        ui.segmentationSelector.enabled = view.output_enabled
        ui.surfaceCheckBox.enabled = view.output_enabled
        ui.addCheckBox.enabled = view.add_enabled
        self._volumes.show(view.channels)
        self._menu.show(self.presenter.entry)
        if view.running and not self._timer.active:
            self._timer.interval = BUSY_MILLISECONDS
            self._timer.start()

    def _take_result(self, segmentation_node: Any) -> None:
        self._result = segmentation_node
        if not self.presenter.choices.all_frames:
            self._ui.segmentationSelector.setCurrentNode(segmentation_node)

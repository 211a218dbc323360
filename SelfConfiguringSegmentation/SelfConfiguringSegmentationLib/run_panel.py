"""What pages with a run have in common: the button, the progress bar, the status and the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .running import RunView
from .session import Session

DEVICES = ("auto", "cpu", "cuda", "mps")


class RunPanel:
    """A page with one button that starts a run and stops it.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    presenter: Any
    """Made by the page: has `press_apply`, `tick` and `close`."""

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui, self._session = ui, session
        self._timer = session.new_timer()

    def close(self) -> None:
        """Ends what runs; called when the module is unloaded or the scene is closed."""
        self._timer.stop()
        self.presenter.close()

    def _connect_run(self, tick: Any, milliseconds: int) -> None:
        self._ui.applyButton.connect("clicked(bool)", self._press_apply)
        self._timer.interval = milliseconds
        self._timer.connect("timeout()", tick)

    def _press_apply(self, *_: object) -> None:
        if not self._is_running():
            self._ui.logText.clear()
        self.presenter.press_apply()

    def _is_running(self) -> bool:
        return bool(self.presenter.running.active)

    def _show_run(self, view: RunView, boxes: Iterable[Any]) -> None:
        """Shows how the run stands; `boxes` hold what can be chosen while nothing runs."""
        ui = self._ui
        ui.applyButton.text = view.apply_text
        ui.applyButton.enabled = view.apply_enabled
        ui.applyButton.toolTip = view.apply_tooltip
        for box in boxes:
            box.enabled = view.choices_enabled
        show_progress(ui, view.running, view.percent)
        ui.statusLabel.text = view.status
        ui.statusLabel.styleSheet = emphasis(view.failed)
        if view.failed:
            ui.logBox.collapsed = False

    def _keep_time(self, running: bool) -> None:
        """The timer ticks while something runs."""
        if running and not self._timer.active:
            self._timer.start()
        elif not running and self._timer.active:
            self._timer.stop()

    def _log(self, line: str) -> None:
        self._ui.logText.appendPlainText(line)


def show_progress(ui: Any, visible: bool, percent: int | None) -> None:
    """Shows the progress bar; one without a percentage moves without saying how far."""
    ui.progressBar.visible = visible
    # From 0 to 0 it moves: the share of work is not known yet.
    ui.progressBar.maximum = 0 if percent is None else 100
    ui.progressBar.value = percent or 0


def emphasis(important: bool) -> str:
    """The style of a status that is worth reading."""
    return "font-weight: bold" if important else ""

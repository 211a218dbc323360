"""The box below the pages: what is not installed yet, and what lies on the disk."""

from __future__ import annotations

from typing import Any, ClassVar

from slicer.i18n import tr as _

from ..samples import delete_downloads, downloads_folder, downloads_size
from ..session import Session


class SetupPanel:
    """Connects the widgets of SetupPanel.ui.

    It is folded unless something is missing, so that a new user sees it and nobody else.

    Args:
        ui: the widgets by name, as `slicer.util.childWidgetVariables` gives them.
        session: what the panels share.
    """

    KEPT: ClassVar = {"wheelFolder": "currentPath"}

    def __init__(self, ui: Any, session: Session) -> None:
        self._ui = ui
        self._session = session
        ui.installButton.connect("clicked(bool)", self._install)
        ui.deleteButton.connect("clicked(bool)", self._delete)
        session.logic.dependenciesChanged.connect(lambda _nothing: self.refresh())

    def refresh(self) -> None:
        """Looks again; called when the module is entered."""
        ui = self._ui
        try:
            missing = self._session.logic.missingDependencies()
            text, enabled = missing.text or _("Everything is installed."), bool(missing)
        except RuntimeError as error:
            text, enabled = str(error), False
        ui.statusLabel.text = text
        ui.installButton.enabled = enabled
        ui.setupBox.collapsed = not enabled
        self._show_downloads()

    def close(self) -> None:
        """Nothing runs here."""

    def _install(self, *_arguments: object) -> None:
        try:
            self._session.logic.installDependencies()
        except RuntimeError as error:
            self._ui.statusLabel.text = str(error)
        else:
            self.refresh()

    def _delete(self, *_arguments: object) -> None:
        import slicer

        question = _("Delete the downloaded sample data in {folder}?").format(
            folder=downloads_folder()
        )
        if slicer.util.confirmOkCancelDisplay(question):
            delete_downloads()
            self._show_downloads()

    def _show_downloads(self) -> None:
        size = downloads_size()
        self._ui.deleteButton.enabled = size > 0
        self._ui.downloadsLabel.text = (
            _("{size} MB in {folder}").format(
                size=max(1, round(size / 2**20)), folder=downloads_folder()
            )
            if size
            else _("none")
        )

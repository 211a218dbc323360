"""The menu "Get more": models come in, are looked at, and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import SelfsegError

from ..model_list import ModelEntry
from ..session import Session
from .presenter import SegmentPresenter


class ModelMenu:
    """Fills the menu of `getMoreButton`.

    Args:
        ui: the widgets by name.
        session: what the panels share.
        presenter: runs what takes time.
        list_models: reads the list again, and chooses the model of that key.
    """

    def __init__(
        self,
        ui: Any,
        session: Session,
        presenter: SegmentPresenter,
        list_models: Callable[[str], None],
    ) -> None:
        import qt

        self._session = session
        self._presenter = presenter
        self._list_models = list_models
        self._entry: ModelEntry | None = None
        self.menu = qt.QMenu(ui.getMoreButton)
        self._add(
            _("Import nnU-Net model folder..."),
            _("A model trained with nnU-Net v2: the folder with dataset.json and fold_0, ..."),
            self.import_folder,
        )
        self._add(
            _("Import file..."),
            _("A model bundle (.selfseg), or a zip file that nnU-Net has exported."),
            self.import_file,
        )
        self._add(
            _("Open trained project..."),
            _("A project that was trained here; it stays where it is."),
            self.open_folder,
        )
        self.menu.addSeparator()
        self._of_model = [
            self._add(
                _("Check this model"),
                _("Reads every byte of it: do this after a copy or a crash."),
                self.verify,
            ),
            self._add(_("Show its folder"), _("Opens it in the file browser."), self.show_folder),
            self._add(
                _("Remove this model..."),
                _("Deletes it from the library; a project is only taken off the list."),
                self.remove,
            ),
        ]
        ui.getMoreButton.setMenu(self.menu)

    def show(self, entry: ModelEntry | None) -> None:
        """Follows the chosen model."""
        self._entry = entry
        for action in self._of_model:
            action.enabled = entry is not None

    def import_folder(self, *_arguments: object) -> None:
        """Asks for a folder and imports it."""
        import qt

        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of a trained nnU-Net model"))
        if folder:
            self._import(Path(folder))

    def import_file(self, *_arguments: object) -> None:
        """Asks for a file and imports it."""
        import qt

        kinds = _("Models") + " (*.selfseg *.zip)"
        path = qt.QFileDialog.getOpenFileName(None, _("Model to import"), "", kinds)
        if path:
            self._import(Path(path))

    def open_folder(self, *_arguments: object) -> None:
        """Asks for a project's folder and lists it."""
        import qt

        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of a trained project"))
        if not folder:
            return
        try:
            entry = self._session.logic.segmenting.models.add(Path(folder))
        except SelfsegError as error:
            self._presenter.fail(error)
            return
        self._presenter.say("")
        self._list_models(entry.key)

    def verify(self, *_arguments: object) -> None:
        """Checks every byte of the chosen model."""
        entry = self._entry
        if entry is None:
            return
        key = entry.key if entry.in_library else str(entry.path)
        self._work(
            lambda **on: self._session.logic.segmenting.start_library_job("verify", key, **on),
            lambda _result: self._presenter.say(_("The model is in order.")),
            _("Checking the model ..."),
        )

    def show_folder(self, *_arguments: object) -> None:
        """Opens the chosen model's folder."""
        import qt

        if self._entry is not None:
            path = self._entry.path
            folder = path if path.is_dir() else path.parent
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def remove(self, *_arguments: object) -> None:
        """Takes the chosen model away, after a question."""
        import slicer

        entry = self._entry
        if entry is None:
            return
        models = self._session.logic.segmenting.models
        if not entry.in_library:
            models.forget(entry.path)
            self._list_models("")
            return
        question = _("Delete the model {name} from this computer?").format(name=entry.key)
        if slicer.util.confirmOkCancelDisplay(question):
            self._work(
                lambda **on: self._session.logic.segmenting.start_library_job(
                    "remove", entry.key, **on
                ),
                lambda _result: self._session.model_ready.tell(entry.path),
                _("Removing the model ..."),
            )

    def _import(self, source: Path) -> None:
        self._work(
            lambda on_event, on_log: self._session.logic.startImport(
                source, onEvent=on_event, onLog=on_log
            ),
            self._imported,
            _("Importing {name} ...").format(name=source.name),
        )

    def _imported(self, entry: ModelEntry) -> None:
        self._session.model_ready.tell(entry.path)
        self._presenter.say(_("Imported {name}.").format(name=entry.title))

    def _work(self, start: Any, on_done: Callable[[Any], None], text: str) -> None:
        def begin(on_event: Any, on_log: Any) -> Any:
            self._session.logic.installDependencies()
            return start(on_event=on_event, on_log=on_log)

        self._presenter.work(begin, on_done=on_done, text=text)

    def _add(self, text: str, hint: str, do: Callable[..., None]) -> Any:
        action = self.menu.addAction(text)
        action.toolTip = hint
        action.connect("triggered(bool)", do)
        return action

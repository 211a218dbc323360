"""State and decisions of the page that exports; knows neither Qt nor the scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..child_run import EventTaker, LineTaker
from ..running import Run, Running, RunPresenter, RunView
from .formats import format_of

REVIEWED_FOLDER = "reviewed"


@dataclass(frozen=True)
class Choices:
    """What the user chose.

    Args:
        reviewed: many reviewed cases, instead of one segmentation of the scene.
        segmentation: an opaque node.
        volume: an opaque node, or None for the segmentation's own scan.
        folder: of predictions that were reviewed, as text.
        format: a key of `formats.file_formats`.
        dicom_folder: as text.
        loaded_as_dicom: whether the scan came out of Slicer's DICOM database.
        output: folder, as text.
    """

    reviewed: bool = False
    segmentation: Any = None
    volume: Any = None
    folder: str = ""
    format: str = "seg-nrrd"
    dicom_folder: str = ""
    loaded_as_dicom: bool = False
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class View(RunView):
    """What the page shows."""

    hint: str
    asks_for_dicom: bool
    written: tuple[str, ...]


StartRun = Callable[[Choices, EventTaker, LineTaker], Run]


class ExportPresenter(RunPresenter[Choices]):
    """Decides what the page shows and what its button does.

    Args:
        start: starts an export.
        on_change: is called after each change of the view.
        on_log: takes lines for the log.
    """

    def __init__(
        self,
        start: StartRun,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_log: LineTaker = lambda line: None,
    ) -> None:
        self.running = Running(on_change=on_change, on_log=on_log, on_done=self._done)
        super().__init__(Choices(), self.running, on_change)
        self._start = start
        self._written: tuple[str, ...] = ()

    def view(self) -> View:
        """What to show now."""
        chosen = self._choices
        return View(
            **self.running.shown(
                start=_("Export"),
                problem=self._problem(),
                stop=_("Stops the export; what is written stays."),
            ),
            hint=format_of(chosen.format).hint,
            asks_for_dicom=chosen.format == "dicom-seg"
            and (chosen.reviewed or not chosen.loaded_as_dicom),
            written=self._written,
        )

    def _begin(self) -> None:
        self._written = ()
        self.running.start(lambda: self._start(self._choices, self._take, self.running.log))

    def _problem(self) -> str:
        chosen = self._choices
        if chosen.reviewed:
            if not chosen.folder:
                return _("Choose the folder that was reviewed.")
            if not _is_reviewed(Path(chosen.folder)):
                return _("Nothing in this folder was reviewed yet.")
        elif chosen.segmentation is None:
            return _("Choose a segmentation to export.")
        if not chosen.output:
            return _("Choose a folder to write to.")
        if (
            chosen.format == "dicom-seg"
            and not chosen.dicom_folder
            and (chosen.reviewed or not chosen.loaded_as_dicom)
        ):
            return _("Choose the folder of the DICOM series that was segmented.")
        return ""

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "case_failed":
            name, what = event.get("identifier", ""), event.get("what", "")
            self.running.log(_("{case} failed: {reason}").format(case=name, reason=what))
        elif event.get("event") == "case_finished":
            self._written = (*self._written, str(event.get("path", "")))
        self.running.take(event)

    def _done(self, written: tuple[Path, ...]) -> None:
        self._written = tuple(map(str, written))
        count = len(self._written)
        self.running.status = (
            _("Written: {path}").format(path=self._written[0])
            if count == 1
            else _("{count} cases written.").format(count=count)
        )
        for path in self._written:
            self.running.log(path)


def _is_reviewed(folder: Path) -> bool:
    return folder.name == REVIEWED_FOLDER or (folder / REVIEWED_FOLDER).is_dir()

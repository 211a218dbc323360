"""State and decisions of the page that segments a folder; knows neither Qt nor the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from slicer.i18n import tr as _

from ..child_run import EventTaker, LineTaker
from ..model_list import ModelEntry
from ..running import Run, Running, RunPresenter, RunView, duration
from .run import BatchResult, BatchSettings, reason_of

State = Literal["waiting", "done before", "done", "failed"]

PREDICTIONS_FILE = "predictions.json"


@dataclass(frozen=True)
class Choices:
    """What the user chose.

    Args:
        scans: folder, as text.
        model: the chosen entry, None without models.
        output: folder, as text.
        settings: how.
    """

    scans: str = ""
    model: ModelEntry | None = None
    output: str = ""
    settings: BatchSettings = field(default_factory=BatchSettings)


@dataclass(frozen=True)
class CaseRow:
    """One case of the folder.

    Args:
        case: its name.
        state: where it stands.
        seconds: it took.
        look_at: why somebody should look at it; "" where nothing is known or all is well.
        reason: why it failed.
    """

    case: str
    state: State = "waiting"
    seconds: float | None = None
    look_at: str = ""
    reason: str = ""

    @property
    def state_text(self) -> str:
        """For people."""
        return {
            "waiting": _("waiting"),
            "done before": _("done before"),
            "done": _("done"),
            "failed": _("failed"),
        }[self.state]

    @property
    def note(self) -> str:
        """Beside the state."""
        if self.reason:
            return self.reason
        if self.look_at:
            return _("Look at it: {reason}").format(reason=self.look_at)
        return "" if self.seconds is None else duration(self.seconds)


@dataclass(frozen=True, kw_only=True)
class View(RunView):
    """What the page shows."""

    rows: tuple[CaseRow, ...]
    model_text: str
    review_enabled: bool
    table_enabled: bool


StartRun = Callable[[Choices, EventTaker, LineTaker], Run]


class BatchPresenter(RunPresenter[Choices]):
    """Decides what the page shows and what its buttons do.

    Args:
        start: starts a batch.
        on_change: is called after each change of the view.
        on_log: takes lines for the log.
        on_done: takes the result of a batch that went through.
        quality: says of a folder, by case, why somebody should look at it.
    """

    def __init__(
        self,
        start: StartRun,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_log: LineTaker = lambda line: None,
        on_done: Callable[[BatchResult], None] = lambda result: None,
        quality: Callable[[Path], Mapping[str, str]] = lambda folder: {},
    ) -> None:
        self.running = Running(on_change=on_change, on_log=on_log, on_done=self._done)
        super().__init__(Choices(), self.running, on_change)
        self._start, self._tell_done, self._quality = start, on_done, quality
        self._rows: dict[str, CaseRow] = {}
        self._result: BatchResult | None = None

    @property
    def result(self) -> BatchResult | None:
        """Of the last batch that went through."""
        return self._result

    def view(self) -> View:
        """What to show now."""
        running = self.running
        shown = running.shown(
            start=_("Segment all"),
            problem=self._problem(),
            stop=_("Stops after the present step; finished cases stay."),
        )
        shown["failed"] |= any(row.state == "failed" for row in self._rows.values())
        return View(
            **shown,
            rows=tuple(self._rows.values()),
            model_text=_described(self._choices.model),
            review_enabled=not running.active and self.reviewable is not None,
            table_enabled=not running.active
            and self._result is not None
            and self._result.volumes.is_file(),
        )

    @property
    def reviewable(self) -> Path | None:
        """The folder that can be reviewed now."""
        folder = Path(self._choices.output) if self._choices.output else None
        return folder if folder is not None and (folder / PREDICTIONS_FILE).is_file() else None

    def _begin(self) -> None:
        self._rows, self._result = {}, None
        self.running.start(lambda: self._start(self._choices, self._take, self.running.log))

    def _problem(self) -> str:
        chosen = self._choices
        if not chosen.scans:
            return _("Choose the folder of scans.")
        if not Path(chosen.scans).exists():
            return _("There is no such folder of scans.")
        if chosen.model is None:
            return _("There is no model yet: train one, or import one on the page Segment.")
        if chosen.model.model is None:
            return chosen.model.fault
        if not chosen.output:
            return _("Choose a folder for the segmentations.")
        if Path(chosen.output).resolve() == Path(chosen.scans).resolve():
            return _("Choose another folder for the segmentations than that of the scans.")
        return ""

    def _take(self, event: dict[str, Any]) -> None:
        kind, name = event.get("event"), str(event.get("identifier", ""))
        if kind == "cases_found":
            done: Sequence[str] = event.get("done", ())
            waiting: Sequence[str] = event.get("identifiers", ())
            found = {case: CaseRow(case, "done before") for case in done}
            found |= {case: CaseRow(case) for case in waiting}
            self._rows = {case: self._rows.get(case, found[case]) for case in sorted(found)} | {
                case: row for case, row in self._rows.items() if row.state == "failed"
            }
        elif kind == "case_finished":
            self._rows[name] = CaseRow(name, "done", event.get("seconds"))
        elif kind == "case_failed":
            self._rows[name] = CaseRow(name, "failed", reason=reason_of(event))
            self.running.log(
                _("{case} failed: {reason}").format(case=name, reason=reason_of(event))
            )
        self.running.take(event)

    def _done(self, result: BatchResult) -> None:
        self._result = result
        for case, why in self._quality(result.folder).items():
            if case in self._rows and why:
                row = self._rows[case]
                self._rows[case] = CaseRow(case, row.state, row.seconds, why, row.reason)
        total, failed = len(self._rows), len(result.failed)
        flagged = sum(bool(row.look_at) for row in self._rows.values())
        self.running.status = (
            _("{done} of {total} cases are segmented, {failed} failed.").format(
                done=total - failed, total=total, failed=failed
            )
            if failed
            else _("All {total} cases are segmented.").format(total=total)
        )
        if flagged:
            self.running.status += " " + _("{count} should be looked at.").format(count=flagged)
        self._tell_done(result)


def _described(entry: ModelEntry | None) -> str:
    if entry is None or entry.model is None:
        return "" if entry is None else entry.fault
    names = entry.model.structure_names
    shown = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
    channels = entry.model.channel_names
    if len(channels) == 1:
        return _("Finds {structures}.").format(structures=shown)
    return _(
        "Finds {structures}. Takes {count} images per case, named case_0000, case_0001 and so on."
    ).format(structures=shown, count=len(channels))

"""State and decisions of the case table; knows neither Qt nor the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled

from ..running import EXPECTED, Run
from .budget import size
from .collecting import Found, Source
from .survey import Choices, Row, Structure, Survey

FEWEST_CASES = 2
"""One to learn from, one to judge on."""

SYMBOLS = {"ready": "✓", "problem": "⚠", "excluded": "–"}
"""Says the state beside the colour, which not everybody sees."""


@dataclass(frozen=True)
class RowView:
    """One line of the table."""

    case: str
    used: bool
    state: str
    state_text: str
    images: str
    segmentation: str
    structures: str
    remarks: str
    tooltip: str


StartSurvey = Callable[[Sequence[Source], Choices, Callable[[str], None]], Run]


class CaseTable:
    """Where cases come from, what was found, and what the user decided about it.

    Args:
        start: starts a survey.
        on_change: is called after each change.
        on_log: takes lines for the log.
    """

    def __init__(
        self,
        start: StartSurvey,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._start = start
        self._on_change = on_change
        self._on_log = on_log
        self._run: Run | None = None
        self._wanted = False
        self.sources: tuple[Source, ...] = ()
        self.choices = Choices()
        self.found = Found(Survey())
        self.problem = ""
        self.version = 0
        """Grows whenever the rows or the structures change, so that tables are not refilled
        for nothing."""

    @property
    def survey(self) -> Survey:
        """What was found."""
        return self.found.survey

    @property
    def looking(self) -> bool:
        """Whether a survey is running or about to."""
        return self._run is not None or self._wanted

    def add(self, source: Source) -> None:
        """Takes a source; one that is there already is looked at again."""
        known = [
            s for s in self.sources if (s.path, s.folder_item) != (source.path, source.folder_item)
        ]
        if source.is_scene and not source.folder_item:
            known = [s for s in known if not s.is_scene]
        self.sources = (*known, source)
        self._look()

    def add_path(self, path: Path) -> None:
        """Takes a file or folder."""
        self.add(Source(str(path), path))

    def clear(self) -> None:
        """Forgets every source and decision."""
        self.close()
        self.sources, self.choices, self.found = (), Choices(), Found(Survey())
        self.problem = ""
        self._changed()

    def drop_scene(self) -> None:
        """The scene was closed: its cases are gone."""
        if any(source.is_scene for source in self.sources):
            self.sources = tuple(source for source in self.sources if not source.is_scene)
            self.found = Found(Survey())
            self.close()
            if self.sources:
                self._look()
            self._changed()

    def use(self, case: str, used: bool) -> None:
        """Takes a case, or leaves it out."""
        others = self.choices.excluded - {case}
        self.choose(excluded=others if used else others | {case})

    def use_structure(self, name: str, used: bool) -> None:
        """Takes a structure, or leaves it out of the model."""
        chosen = self.choices.structures or tuple(s.name for s in self.survey.structures)
        names = tuple(n for n in chosen if n != name)
        self.choose(structures=(*names, name) if used else names)

    def rename(self, old: str, new: str) -> None:
        """Says that segments of one name are the structure of another."""
        if new.strip() and new != old:
            others = tuple(pair for pair in self.choices.renames if pair[0] != old)
            self.choose(renames=(*others, (old, new.strip())))

    def choose(self, **changes: Any) -> None:
        """Changes some of `choices` and looks again where that matters."""
        changed = replace(self.choices, **changes)
        if changed == self.choices:
            return
        self.choices = changed
        if self.sources:
            self._look()

    def tick(self) -> None:
        """Called by a timer while looking."""
        if self._run is None:
            if self._wanted:
                self._begin()
            return
        if not self._run.poll():
            return
        run, self._run = self._run, None
        try:
            found = run.finish()
        except Cancelled:
            pass
        except EXPECTED as error:
            self._fail(error)
        else:
            if not self._wanted:
                self.found, self.problem = found, ""
        self._changed()

    def close(self) -> None:
        """Ends a running survey."""
        self._wanted = False
        if self._run is not None:
            self._run.end_now()
            self._run = None

    def rows(self) -> tuple[RowView, ...]:
        """The lines of the table."""
        return tuple(self._view(row) for row in self.survey.rows)

    def structures(self) -> tuple[tuple[Structure, bool], ...]:
        """Those found, each with whether it is taken."""
        chosen = self.choices.structures
        return tuple((s, not chosen or s.name in chosen) for s in self.survey.structures)

    def summary(self) -> str:
        """One line about all cases."""
        if not self.sources:
            return _("No cases yet: add those of the scene, or a folder or file.")
        if self.looking:
            return _("Looking at the cases ...")
        if self.problem:
            return self.problem
        survey = self.survey
        if not survey.rows:
            return _("No segmented scan was found.")
        text = _(
            "{ready} of {count} cases are ready, {structures} structures, about {size}."
        ).format(
            ready=survey.ready,
            count=len(survey.rows),
            structures=len(survey.structures),
            size=size(survey.size_bytes),
        )
        if survey.problems:
            text += " " + _("Cases with a problem (⚠) are left out until it is solved.")
        return text

    def obstacle(self) -> str:
        """Why no training can be prepared of these cases; "" where it can."""
        if not self.sources:
            return _("Add cases first.")
        if self.looking:
            return _("Wait until the cases have been looked at.")
        if self.problem:
            return self.problem
        if self.survey.ready < FEWEST_CASES:
            return _("At least {count} cases must be ready; more are better.").format(
                count=FEWEST_CASES
            )
        if not self.survey.structures:
            return _("No structure is chosen.")
        return ""

    def missing_text(self) -> str:
        """Which structures have no segment in some cases; "" where there is none."""
        parts = [
            _("{name} in {count}").format(name=s.name, count=len(s.missing))
            for s in self.survey.structures
            if s.missing
        ]
        return _("Not segmented: {list}").format(list=", ".join(parts)) if parts else ""

    def _view(self, row: Row) -> RowView:
        state = "excluded" if row.case in self.choices.excluded else row.state
        texts = {
            "ready": _("ready"),
            "problem": _("problem"),
            "excluded": _("left out"),
        }
        shown = [problem.what for problem in row.problems] or list(row.notes)
        tooltip = [f"{problem.what}\n→ {problem.cure}" for problem in row.problems]
        if row.source:
            tooltip.append(row.source)
        return RowView(
            case=row.case,
            used=row.case not in self.choices.excluded,
            state=state,
            state_text=f"{SYMBOLS[state]} {texts[state]}",
            images=", ".join(Path(name).name for name in row.images),
            segmentation=Path(row.segmentation).name,
            structures=", ".join(row.structures),
            remarks="; ".join(shown),
            tooltip="\n".join([*tooltip, *row.notes]),
        )

    def _look(self) -> None:
        self._wanted = True
        if self._run is not None:
            self._run.cancel()
        self._changed()

    def _begin(self) -> None:
        self._wanted = False
        self.problem = ""
        try:
            self._run = self._start(self.sources, self.choices, self._on_log)
        except EXPECTED as error:
            self._fail(error)
            self._changed()

    def _fail(self, error: BaseException) -> None:
        self._run = None
        self.problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        self._on_log(str(error))

    def _changed(self) -> None:
        self.version += 1
        self._on_change()

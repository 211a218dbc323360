"""What the page shows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from slicer.i18n import tr as _

from selfseg.review.cases import ReviewCase
from selfseg.review.decisions import Decision, Tally
from selfseg.review.tables import trainable

from .case_files import LoadedCase
from .folder import OpenFolder

Filter = Literal["all", "open", "flagged", "decided"]
FILTERS: tuple[Filter, ...] = ("all", "open", "flagged", "decided")

NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One line of the list, as text; `number` is that of the last decision, 0 without one."""

    case: str
    state: str
    dice: str
    hd95: str
    number: int = 0


@dataclass(frozen=True)
class View:
    """Everything that changes on the page."""

    rows: tuple[Row, ...] = ()
    current: str = ""
    title: str = ""
    details: str = ""
    status: str = ""
    failed: bool = False
    busy: bool = False
    tally: str = ""
    approve_text: str = ""
    approve_tooltip: str = ""
    approve_enabled: bool = False
    reject_enabled: bool = False
    discard_enabled: bool = False
    next_enabled: bool = False
    previous_enabled: bool = False
    editor_enabled: bool = False
    train_enabled: bool = False
    train_tooltip: str = ""
    folder_open: bool = False
    decision: int = 0
    """Number of the last decision about the current case."""


@dataclass(frozen=True)
class State:
    """What the presenter knows, from which the view follows.

    Args:
        opened: the folder.
        rows: its lines that the filter lets through.
        current: the case that was chosen.
        loaded: the same, where it could be read.
        drawn: somebody has changed it since it was opened.
        edited: it is not what was predicted or decided about last.
        reviewer: who decides.
        doing: what is done beside the interface; "" for nothing.
        autosaving: that it is a draft, which nobody has to wait for.
        notice: what there is to say otherwise.
        failed: it is bad news.
        previous: the case before; "" where there is none.
        following: the case after it.
    """

    opened: OpenFolder | None
    rows: tuple[Row, ...]
    current: str
    loaded: LoadedCase | None
    drawn: bool
    edited: bool
    reviewer: str
    doing: str
    autosaving: bool
    notice: str
    failed: bool
    previous: str
    following: str


def view_of(state: State) -> View:
    """What to show."""
    opened, free = state.opened, not state.doing
    view = View(
        status=state.doing or state.notice,
        failed=state.failed and free,
        busy=not free,
        current=state.current,
    )
    if opened is None:
        return view
    case = opened.case(state.current)
    may = free and opened.writable and bool(state.reviewer)
    count = len(trainable(opened.latest))
    last = opened.latest.get(state.current)
    why_not = _why_not(opened.writable, state.reviewer, state.loaded is not None)
    return replace(
        view,
        folder_open=True,
        rows=state.rows,
        title=_title(case, state.loaded, state.drawn),
        details="" if case is None else details_text(case, last),
        decision=0 if last is None or last.number is None else last.number,
        tally=tally_text(opened.tally),
        approve_text=_("Approve with edits") if state.edited else _("Approve"),
        approve_tooltip=why_not
        or _("Writes the segmentation as it is now into the folder reviewed/ (Alt+Return)."),
        approve_enabled=may and state.loaded is not None,
        reject_enabled=may and case is not None,
        discard_enabled=free and state.edited,
        next_enabled=free and bool(state.following),
        previous_enabled=free and bool(state.previous),
        editor_enabled=state.loaded is not None and (free or state.autosaving),
        train_enabled=free and opened.writable and count > 0,
        train_tooltip=_(
            "Lists {count} approved and edited cases in a table and opens the page Train."
        ).format(count=count)
        if count
        else _("Approve some cases first: only those are trained on."),
    )


def filter_title(name: Filter) -> str:
    """What a filter is called."""
    return {
        "all": _("All"),
        "open": _("Open"),
        "flagged": _("Flagged"),
        "decided": _("Decided"),
    }[name]


class Listing:
    """The cases that the filter lets through, with their lines.

    Thousands of lines are made anew only where something in them may have changed.
    """

    def __init__(self) -> None:
        self.filter: Filter = "all"
        self._made_for: tuple[OpenFolder | None, Filter] = (None, "all")
        self._rows: tuple[Row, ...] = ()

    def rows(self, opened: OpenFolder | None) -> tuple[Row, ...]:
        """The lines, the worst case first."""
        if opened is None:
            return ()
        if self._made_for[0] is not opened or self._made_for[1] != self.filter:
            self._made_for = (opened, self.filter)
            words = state_words()
            self._rows = tuple(
                _row(case, opened.latest.get(case.identifier), opened.drafts, words)
                for case in opened.review.cases
                if _passes(case, opened.latest.get(case.identifier), self.filter)
            )
        return self._rows

    def neighbour(self, opened: OpenFolder | None, current: str, step: int) -> str:
        """The case before (-1) or after (1) the current one; "" where there is none."""
        if opened is None:
            return ""
        return opened.neighbour(current, frozenset(row.case for row in self.rows(opened)), step)


def _title(case: ReviewCase | None, loaded: LoadedCase | None, edited: bool) -> str:
    """Which case is shown, and in which state."""
    if case is None:
        return _("Choose a case from the list.")
    if loaded is None:
        return case.identifier
    if edited:
        return _("{case}: edited").format(case=case.identifier)
    return {
        "prediction": _("{case}: as predicted"),
        "reviewed": _("{case}: as reviewed"),
        "draft": _("{case}: your draft"),
    }[loaded.origin].format(case=case.identifier)


def _why_not(writable: bool, reviewer: str, shown: bool) -> str:
    """Why nothing can be approved now; "" where it can."""
    if not writable:
        return _("This folder cannot be written to: copy it to a place of your own.")
    if not reviewer:
        return _("Enter your name first: it stands in the log.")
    return "" if shown else _("Choose a case that can be shown.")


def tally_text(tally: Tally) -> str:
    """How the review stands, in one line."""
    if not tally.cases:
        return ""
    text = _("{decided} of {cases} reviewed: {approved} approved, {edited} edited, {rejected} "
             "rejected.").format(
        decided=tally.decided,
        cases=tally.cases,
        approved=tally.approved,
        edited=tally.edited,
        rejected=tally.rejected,
    )  # fmt: skip
    if tally.corrected_share is None:
        return text
    share = _("Corrected: {share:.0%} of those reviewed.").format(share=tally.corrected_share)
    if tally.many_corrected:
        share += " " + _("Training again on the corrections is worth it.")
    return f"{text} {share}"


def details_text(case: ReviewCase, decision: Decision | None) -> str:
    """What is known about a case, in a few lines."""
    lines = list(case.reasons) or [
        _("Nothing unusual was found.")
        if case.dice is not None
        else _("No quality was predicted for this case.")
    ]
    if case.note:
        lines.append(_("Predicted quality: {note}").format(note=case.note))
    if decision is not None:
        line = _("{verdict} by {reviewer}, {time}").format(
            verdict=state_words()[decision.verdict],
            reviewer=decision.reviewer,
            time=_moment(decision.time),
        )
        lines.append(f"{line}: {decision.comment}" if decision.comment else line)
        if decision.changes:
            changed = ", ".join(
                f"{name} ({dice:.2f})" for name, dice in sorted(decision.changes.items())
            )
            lines.append(_("changed (Dice with the prediction): {names}").format(names=changed))
    return "\n".join(lines)


def state_words() -> dict[str, str]:
    """Every state as symbol and words. Translating takes a while: not to be done for each line."""
    return {
        "approved": _("✓ approved"),
        "edited": _("✓ edited"),
        "rejected": _("✗ rejected"),
        "flagged": _("⚠ look at it"),
        "open": _("○ open"),
        "draft": _("✎ draft"),
    }


def _passes(case: ReviewCase, decision: Decision | None, chosen: Filter) -> bool:
    match chosen:
        case "open":
            return decision is None
        case "flagged":
            return case.is_flagged
        case "decided":
            return decision is not None
    return True


def _row(
    case: ReviewCase,
    decision: Decision | None,
    drafts: frozenset[str],
    words: Mapping[str, str],
) -> Row:
    draft = words["draft"] if case.identifier in drafts else ""
    if decision is not None:
        state = words[decision.verdict] + (f", {draft}" if draft else "")
    elif case.is_flagged:
        state = f"⚠ {draft}" if draft else words["flagged"]
    else:
        state = draft or words["open"]
    return Row(
        case.identifier,
        state,
        NOTHING if case.dice is None else f"{case.dice:.2f}",
        NOTHING if case.hd95_mm is None else f"{case.hd95_mm:.1f}",
        0 if decision is None or decision.number is None else decision.number,
    )


def _moment(time: str) -> str:
    """A moment of the log, for people: to the minute, in UTC as in the log."""
    try:
        return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # written by hand
        return time

"""State and decisions of the page Segment; knows neither Qt nor the scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from slicer.i18n import tr as _

from selfseg.domain.errors import Cancelled, SelfsegError

from ..model_list import ModelEntry
from ..models import Model
from .view import (
    ChannelRow,
    Choices,
    View,
    describe,
    describe_in_full,
    outcome,
    promise,
)

RECENT_LINES = 100
"""Log lines remembered, so that an error which the child printed is not shown twice."""

EventTaker = Callable[[Mapping[str, Any]], None]
LineTaker = Callable[[str], None]


class Run(Protocol):
    """Work in the background, as `SegmentationRun` and `ImportRun` do it."""

    working: bool

    def poll(self) -> bool:
        """Hands on what arrived; True at the end."""

    def cancel(self) -> None:
        """Asks for a stop."""

    def end_now(self) -> None:
        """Stops by force."""

    def finish(self) -> Any:
        """The result, or the error."""


StartRun = Callable[[Choices, EventTaker, LineTaker], Run]
StartWork = Callable[[EventTaker, LineTaker], Run]


class SegmentPresenter:
    """Decides what the panel shows and what its button does.

    Args:
        start: starts a segmentation.
        on_change: is called after each change of the view.
        on_log: takes lines for the log.
        on_done: takes the result of a segmentation that went well.
    """

    def __init__(
        self,
        start: StartRun,
        *,
        on_change: Callable[[], None] = lambda: None,
        on_log: LineTaker = lambda line: None,
        on_done: Callable[[Any], None] = lambda result: None,
    ) -> None:
        self._start = start
        self._on_change = on_change
        self._show_line = on_log
        self._recent: deque[str] = deque(maxlen=RECENT_LINES)
        self._on_done = on_done
        self._finished: Callable[[Any], None] = on_done
        self._choices = Choices()
        self._entries: dict[str, ModelEntry] = {}
        self._run: Run | None = None
        self._stopping = False
        self._failed = self._doubtful = False
        self._percent: int | None = None
        self._status = ""

    @property
    def running(self) -> bool:
        """True from Apply until the result is there, or the error."""
        return self._run is not None

    @property
    def choices(self) -> Choices:
        """What is chosen now."""
        return self._choices

    @property
    def entry(self) -> ModelEntry | None:
        """The chosen model's entry, damaged or not."""
        return self._entries.get(self._choices.model)

    @property
    def model(self) -> Model | None:
        """The chosen model, where it can be read."""
        return None if self.entry is None else self.entry.model

    @property
    def load_ahead(self) -> bool:
        """Whether a segmentation is near enough to read the model for it."""
        return self.model is not None and self._choices.volumes[0] is not None

    def set_models(self, entries: Sequence[ModelEntry]) -> None:
        """Takes the list of models; `choose` follows."""
        self._entries = {entry.key: entry for entry in entries}

    def view(self) -> View:
        """What to show now."""
        problem = "" if self.running else self._problem()
        settings = self._choices.settings
        hint = problem or ("" if self.model is None else promise(self.model, settings))
        first = self._choices.volumes[0]
        frames = 1 if first is None else first.frames
        single = not (frames > 1 and self._choices.all_frames)
        return View(
            apply_text=_("Cancel") if self.running else _("Apply"),
            apply_enabled=not self._stopping if self.running else not problem,
            apply_tooltip=_("Stops it; what was there before stays as it is.")
            if self.running
            else hint,
            choices_enabled=not self.running,
            running=self.running,
            percent=self._percent if self.running else None,
            status=self._status,
            failed=self._failed and not self.running,
            attention=(self._failed or self._doubtful) and not self.running,
            working=self._run is not None and self._run.working,
            model_text=describe(self.entry),
            model_tooltip=describe_in_full(self.entry),
            channels=self._channels(),
            frames_text=_("All {count} frames").format(count=frames) if frames > 1 else "",
            output_enabled=single,
            add_enabled=single and self._choices.output is not None,
        )

    def choose(self, choices: Choices) -> None:
        """Takes what the user chose; a run that goes on keeps what it was started with."""
        self._choices = choices
        self._on_change()

    def press_apply(self) -> None:
        """Starts, or asks what runs to stop."""
        if self._run is not None:
            self._stopping = True
            self._status = _("Stopping ...")
            self._run.cancel()
            self._on_change()
        elif not self._problem():
            choices = self._choices
            self.work(lambda on_event, on_log: self._start(choices, on_event, on_log))

    def work(
        self,
        start: StartWork,
        *,
        on_done: Callable[[Any], None] | None = None,
        text: str = "",
    ) -> None:
        """Starts a run of any kind; nothing happens while another is under way.

        Args:
            start: gives the run.
            on_done: takes its result where it went well; that of a segmentation otherwise.
            text: the first status.
        """
        if self._run is not None:
            return
        self._status, self._percent = text or _("Preparing ..."), None
        self._stopping = self._failed = self._doubtful = False
        self._finished = on_done or self._on_done
        try:
            self._run = start(self._take_event, self._on_log)
        except (SelfsegError, RuntimeError, OSError) as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            self._on_change()
            raise
        self._on_change()

    def tick(self) -> None:
        """Called by a timer while running."""
        run = self._run
        if run is None or not run.poll() or self._run is None:
            # Nothing new, or the scene was closed by what the run told us.
            return
        try:
            result = run.finish()
        except (SelfsegError, RuntimeError, OSError) as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            self._on_change()
            raise
        else:
            self._run = None
            case = getattr(run, "case", None)
            self._status = outcome(case)
            self._doubtful = bool(case is not None and case.reasons)
            for reason in case.reasons if case is not None else ():
                self._on_log(_("check: {reason}").format(reason=reason))
            self._finished(result)
        self._on_change()

    def close(self) -> None:
        """Ends what runs, by force."""
        run, self._run = self._run, None
        if run is not None:
            run.end_now()
            self._status = _("Stopped.")
            self._on_change()

    def say(self, text: str) -> None:
        """Shows a status."""
        self._status, self._failed, self._doubtful = text, False, False
        self._on_change()

    def fail(self, error: BaseException) -> None:
        """Shows an error of something that is no run."""
        self._fail(error)
        self._on_change()

    def _problem(self) -> str:
        """Why Apply is disabled; "" where it is not."""
        choices = self._choices
        if not self._entries:
            return _("Get a model first: press Get more.")
        if self.entry is None:
            return _("Choose a model.")
        if self.model is None:
            return self.entry.fault
        rows = self._channels()
        for row, volume in zip(rows, choices.volumes, strict=False):
            if row.enabled and volume is None:
                return (
                    _("Choose a volume to segment.")
                    if len(rows) == 1
                    else _("Choose a volume for {channel}").format(channel=row.label)
                )
        if (wanted := self._duplicates()) and len(rows) > 1:
            return _("{name} is chosen for two channels.").format(name=wanted)
        found = sum(volume.components for volume in choices.volumes if volume is not None)
        if found != len(self.model.channel_names):
            return _("The model takes {expected} image(s), the chosen volume has {found}.").format(
                expected=len(self.model.channel_names), found=found
            )
        if choices.no_structure:
            return _("Choose at least one structure (Advanced).")
        return ""

    def _duplicates(self) -> str:
        names = [volume for volume in self._choices.volumes if volume is not None]
        for index, volume in enumerate(names):
            if any(other.node is volume.node for other in names[:index]):
                return volume.name
        return ""

    def _channels(self) -> tuple[ChannelRow, ...]:
        """One row per channel; a volume of vectors gives all channels at once."""
        model = self.model
        if model is None or len(model.channel_names) == 1:
            return (ChannelRow(_("Volume")),)
        first = self._choices.volumes[0]
        joined = first is not None and first.components == len(model.channel_names)
        return tuple(
            ChannelRow(name, enabled=number == 0 or not joined)
            for number, name in enumerate(model.channel_names)
        )

    def _fail(self, error: BaseException) -> None:
        self._run = None
        self._failed = not isinstance(error, Cancelled)
        what = error.what if isinstance(error, SelfsegError) else str(error)
        first_line = what.splitlines()[0] if what else type(error).__name__
        self._status = (
            _("Failed: {reason}").format(reason=first_line) if self._failed else _("Stopped.")
        )
        if str(error) not in "\n".join(self._recent):
            self._on_log(str(error))

    def _on_log(self, line: str) -> None:
        self._recent.append(line)
        self._show_line(line)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        if self._stopping:
            return
        kind = event.get("event")
        if kind == "progress" and event["total"]:
            self._percent = round(100 * min(1.0, event["done"] / event["total"]))
            left = event.get("eta_seconds")
            self._status = f"{_stage(event['stage'])}: {self._percent}%" + (
                _(", {time} left").format(time=_duration(left)) if left else ""
            )
        elif kind == "stage_started":
            self._percent = None
            self._status = f"{_stage(event['stage'])} ..."
            self._on_log(self._status)
        elif kind == "stage_finished":
            self._on_log(f"{event['stage']}: {_duration(event.get('seconds', 0.0))}")
        elif kind == "notice":
            self._on_log(f"{event.get('level', 'info')}: {event['text']}")
        self._on_change()


def _stage(name: str) -> str:
    """What a stage does, for people; other stages go by their own name."""
    known = {
        "copy": _("Handing over the volume"),
        "predict": _("Segmenting"),
        "tiles": _("Segmenting"),
        "segments": _("Reading the result"),
        "surfaces": _("Making surfaces"),
    }
    return known.get(name, name)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"

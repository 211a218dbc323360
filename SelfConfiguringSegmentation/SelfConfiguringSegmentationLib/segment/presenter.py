"""State and decisions of the page Segment; knows neither Qt nor the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from slicer.i18n import tr as _

from ..model_list import ModelEntry
from ..models import Model
from ..running import Run, Running, RunPresenter, duration
from .view import (
    ChannelRow,
    Choices,
    View,
    describe,
    describe_in_full,
    outcome,
    promise,
)

EventTaker = Callable[[Mapping[str, Any]], None]
LineTaker = Callable[[str], None]


class SteppingRun(Run, Protocol):
    """Work in the background, as `SegmentationRun` and `ImportRun` do it."""

    working: bool


StartRun = Callable[[Choices, EventTaker, LineTaker], SteppingRun]
StartWork = Callable[[EventTaker, LineTaker], SteppingRun]


class SegmentPresenter(RunPresenter[Choices]):
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
        stages = _Stages(on_change=on_change, on_log=on_log, on_done=on_done)
        super().__init__(Choices(), stages, on_change)
        self._stages, self._start = stages, start
        self._entries: dict[str, ModelEntry] = {}

    @property
    def running(self) -> bool:
        """True from Apply until the result is there, or the error."""
        return self._running.active

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
        now = self._stages
        problem = "" if now.active else self._problem()
        hint = "" if self.model is None else promise(self.model, self._choices.settings)
        first = self._choices.volumes[0]
        frames = 1 if first is None else first.frames
        single = not (frames > 1 and self._choices.all_frames)
        return View(
            **now.shown(
                start=_("Apply"),
                problem=problem,
                hint=hint,
                stop=_("Stops it; what was there before stays as it is."),
            ),
            attention=(now.failed or now.doubtful) and not now.active,
            working=now.active and now.run.working,
            model_text=describe(self.entry),
            model_tooltip=describe_in_full(self.entry),
            channels=self._channels(),
            frames_text=_("All {count} frames").format(count=frames) if frames > 1 else "",
            output_enabled=single,
            add_enabled=single and self._choices.output is not None,
        )

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
        if not self._running.active:
            running = self._running
            running.start(lambda: start(running.take, running.log), on_done=on_done, text=text)

    def say(self, text: str) -> None:
        """Shows a status."""
        self._running.say(text)

    def fail(self, error: BaseException) -> None:
        """Shows an error of something that is no run."""
        self._running.fail(error)

    def _begin(self) -> None:
        choices = self._choices
        self.work(lambda on_event, on_log: self._start(choices, on_event, on_log))

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


class _Stages(Running):
    """Says which stage a run has reached, and whether somebody should look at its result."""

    doubtful = False

    def start(
        self,
        make: Callable[[], Run],
        *,
        on_done: Callable[[Any], None] | None = None,
        text: str = "",
    ) -> None:
        """See `Running.start`."""
        self.doubtful = False
        super().start(make, on_done=on_done, text=text)

    def say(self, text: str) -> None:
        """Shows a status."""
        self.doubtful = False
        super().say(text)

    def _ended(self, run: Run, result: Any) -> None:
        case = getattr(run, "case", None)
        self.status = outcome(case)
        self.doubtful = bool(case is not None and case.reasons)
        for reason in case.reasons if case is not None else ():
            self.log(_("check: {reason}").format(reason=reason))
        super()._ended(run, result)

    def _is_news(self, error: BaseException) -> bool:
        return True

    def _progress(self, event: Mapping[str, Any], percent: int) -> str:
        left = event.get("eta_seconds")
        return f"{_stage(event['stage'])}: {percent}%" + (
            _(", {time} left").format(time=duration(left)) if left else ""
        )

    def _take_other(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if kind == "stage_started":
            self.percent = None
            self.status = f"{_stage(event['stage'])} ..."
            self.log(self.status)
        elif kind == "stage_finished":
            self.log(f"{event['stage']}: {duration(event.get('seconds', 0.0))}")
        elif kind == "notice":
            self.log(f"{event.get('level', 'info')}: {event['text']}")


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

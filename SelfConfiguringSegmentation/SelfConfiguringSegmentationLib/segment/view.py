"""What the page Segment shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from ..model_list import ModelEntry
from ..models import Model
from ..running import RunView
from .case import CaseResult
from .settings import SegmentationSettings

MOST_NAMES = 4
"""Names listed in one line; the rest is counted."""


@dataclass(frozen=True)
class ChosenVolume:
    """A volume in a selector: the opaque node, and what decisions need to know of it.

    Args:
        node: of the scene.
        name: of the node.
        components: 3 for colours, 1 for most.
        frames: of the sequence that it shows; 1 where it shows none.
    """

    node: Any
    name: str
    components: int = 1
    frames: int = 1


@dataclass(frozen=True)
class Choices:
    """What the user chose: opaque nodes, the key of a model, settings.

    `volumes` has one entry per channel, None where nothing is chosen. No `structures` in the
    settings means all; `no_structure` says that every box is empty.
    """

    volumes: tuple[ChosenVolume | None, ...] = (None,)
    model: str = ""
    output: Any = None
    add: bool = False
    roi: Any = None
    all_frames: bool = False
    no_structure: bool = False
    settings: SegmentationSettings = field(default_factory=SegmentationSettings)


@dataclass(frozen=True)
class ChannelRow:
    """One volume selector."""

    label: str
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class View(RunView):
    """What the panel shows."""

    attention: bool = False
    """The status is worth reading: an error, or a result that should be looked at."""
    working: bool = False
    """Steps wait to be done in this process: poll again soon."""
    model_text: str = ""
    model_tooltip: str = ""
    channels: tuple[ChannelRow, ...] = (ChannelRow(""),)
    frames_text: str = ""
    """Empty where the volume shows no sequence."""
    output_enabled: bool = True
    add_enabled: bool = False


def describe(entry: ModelEntry | None) -> str:
    """A model in a few words, below its selector."""
    if entry is None:
        return ""
    if entry.model is None:
        return entry.fault.splitlines()[0] if entry.fault else ""
    model = entry.model
    count = len(model.labels.foreground)
    parts = [
        _("1 structure") if count == 1 else _("{count} structures").format(count=count),
        ", ".join(model.channel_names),
    ]
    if model.dice is not None:
        parts.append(_("Dice {dice:.2f} on unseen cases").format(dice=model.dice))
    parts.append(model.licence or _("licence not stated"))
    return " · ".join(parts)


def describe_in_full(entry: ModelEntry | None) -> str:
    """A model in all words, as the tooltip of its selector."""
    if entry is None:
        return _("Press Get more to import a model, or to open one that was trained here.")
    model = entry.model
    if model is None:
        return entry.fault
    lines = [model.title]
    if model.summary:
        lines.append(model.summary)
    for label in model.labels.foreground:
        dice = model.dice_by_structure.get(label.name)
        lines.append(label.name if dice is None else f"{label.name}: Dice {dice:.2f}")
    if len(lines) > 30:
        lines[30:] = [_("and {count} more").format(count=len(lines) - 30)]
    return "\n".join((*lines, str(entry.path)))


def promise(model: Model, settings: SegmentationSettings) -> str:
    """What Apply will do."""
    names = settings.structures or model.structure_names
    return _("Finds {names}.").format(names=short_list(names))


def outcome(case: CaseResult | None) -> str:
    """How it went, and whether somebody should look at it."""
    if case is None:
        return _("Done.")
    parts = []
    if case.reasons:
        parts.append(_("Check this one. {reason}.").format(reason=case.reasons[0]))
        if len(case.reasons) > 1:
            parts.append(_("The log says more."))
    if not case.found:
        parts.append(_("Nothing was found."))
    elif case.missing:
        parts.append(_("Not found: {names}.").format(names=short_list(case.missing)))
    return " ".join(parts) or _("Done.")


def short_list(names: tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return _("{names} and {count} more").format(names=shown, count=more) if more > 0 else shown

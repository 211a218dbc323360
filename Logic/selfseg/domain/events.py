"""What long work tells about itself: typed, so that every front end can draw it its own way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the kind under "event", ready for one JSON line.

        JSON knows no NaN and no infinity: what is no number is None.
        """
        return {"event": _kind(type(self)), **_plain(asdict(self))}


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage began ("fingerprint", "preprocess", "train 3d_fullres fold 0", ...)."""

    stage: str
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class Progress(Event):
    """`done` of `total` units of the present stage; `eta_seconds` where it can be said."""

    stage: str
    done: float
    total: float
    eta_seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class StageFinished(Event):
    """A stage ended; `skipped` where an earlier run had done it already."""

    stage: str
    seconds: float = 0.0
    skipped: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Notice(Event):
    """Something the user should know: what was adapted, chosen or left out ("info"/"warning")."""

    text: str
    level: str = "info"


@dataclass(frozen=True)
class IterationFinished(Event):
    """One optimiser step.

    `iteration` counts from 1, through all epochs of `epoch_iterations` each (0: not said).
    `eta_seconds` is the time to the end of the training, `memory_bytes` what the device (or,
    on the processor, this process) has needed.
    """

    iteration: int
    loss: float
    learning_rate: float
    seconds: float
    samples_per_second: float = 0.0
    eta_seconds: float | None = None
    memory_bytes: int = 0
    epoch_iterations: int = 0


@dataclass(frozen=True)
class EpochFinished(Event):
    """One epoch of training, counted from 0; `epochs` is how many there will be.

    Losses are means over the epoch; the pseudo Dice of a structure is None where undefined.
    """

    configuration: str
    fold: str
    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float
    pseudo_dice: dict[str, float | None] = field(default_factory=dict)
    mean_pseudo_dice: float | None = None
    ema_pseudo_dice: float | None = None
    learning_rate: float = 0.0
    samples_per_second: float = 0.0
    seconds: float = 0.0
    eta_seconds: float | None = None
    memory_bytes: int = 0


@dataclass(frozen=True)
class ValidationFinished(Event):
    """Whole cases were segmented on their native grid by the network in training.

    Per structure the mean over the cases in which the metric is defined, then the mean over
    structures; None where there is none. A structure in neither map is left out. One in only
    one of the maps has Dice and surface Dice 0 and no HD95; `composite`, the mean of
    0.7 (1 - Dice) + 0.3 HD95 / 10 mm, then takes the diagonal of the image as its HD95.
    """

    configuration: str
    fold: str
    epoch: int
    dice: dict[str, float | None] = field(default_factory=dict)
    hd95_mm: dict[str, float | None] = field(default_factory=dict)
    surface_dice_2mm: dict[str, float | None] = field(default_factory=dict)
    mean_dice: float | None = None
    mean_hd95_mm: float | None = None
    mean_surface_dice_2mm: float | None = None
    composite: float | None = None
    cases: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class CaseFinished(Event):
    """One case was predicted, scored or preprocessed."""

    identifier: str
    seconds: float
    path: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class CasesFound(Event):
    """The cases that there are to work on, in order, and those that an earlier run has done."""

    identifiers: tuple[str, ...]
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseFailed(Event):
    """One case of several could not be worked on: the fields of its error. The others go on."""

    identifier: str
    what: str
    expected: str = ""
    found: str = ""
    cure: str = ""
    path: str = ""


@dataclass(frozen=True)
class PlanExplained(Event):
    """A plan in plain words, with what training by it takes on this machine.

    Args:
        plan: its name.
        topics: {"title", "text", "configuration" ("" for all)}, the most telling first.
        configurations: that it recommends, each {"name", "seconds_per_step", "memory_bytes"}.
        steps: of one training.
        folds: of a full cross-validation.
        disk_bytes: of the preprocessed cases of all configurations.
    """

    plan: str
    topics: tuple[dict[str, str], ...]
    configurations: tuple[dict[str, Any], ...]
    steps: int
    folds: int
    disk_bytes: int


@dataclass(frozen=True)
class ModelReady(Event):
    """A trained model is in the library.

    `dice` is the mean over structures of `cases` held-out cases, None where none was scored.
    """

    name: str
    version: str
    folder: str
    dice: float | None = None
    cases: int = 0


Reporter = Callable[[Event], None]
"""Takes events as they happen. Called in the working thread; must return quickly."""


def as_event(line: str) -> dict[str, Any] | None:
    """The event that a line of `--progress json` holds, as plain values; None for other text."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None


def silent(event: Event) -> None:
    """A reporter for callers that want none."""


def _kind(kind: type[Event]) -> str:
    name = kind.__name__
    return "".join(("_" if c.isupper() and i else "") + c.lower() for i, c in enumerate(name))


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's, tuples as lists, what is no number as None."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return value


KINDS: Mapping[str, type[Event]] = {
    _kind(kind): kind
    for kind in (
        StageStarted,
        Progress,
        StageFinished,
        Notice,
        IterationFinished,
        EpochFinished,
        ValidationFinished,
        CaseFinished,
        CasesFound,
        CaseFailed,
        PlanExplained,
        ModelReady,
    )
}
"""Every kind of event by its name in JSON."""

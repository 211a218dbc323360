"""What long work tells about itself: typed, so that every front end can draw it its own way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the kind under "event", ready for one JSON line."""
        return {"event": _kind(self), **asdict(self)}


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
    """One optimiser step."""

    iteration: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class EpochFinished(Event):
    """One epoch of training: losses, pseudo Dice per structure (None where undefined)."""

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
class CaseFinished(Event):
    """One case was predicted, scored or preprocessed."""

    identifier: str
    seconds: float
    path: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)


Reporter = Callable[[Event], None]
"""Takes events as they happen. Called in the working thread; must return quickly."""


def silent(event: Event) -> None:
    """A reporter for callers that want none."""


def _kind(event: Event) -> str:
    name = type(event).__name__
    return "".join(("_" if c.isupper() and i else "") + c.lower() for i, c in enumerate(name))

"""What launched jobs tell: their own events with their name, and how they begin and end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..domain.events import Event


@dataclass(frozen=True)
class JobStarted(Event):
    """A job began; `where` names a graphics card, a node or a number of the cluster's."""

    job: str
    where: str = ""
    log: str = ""


@dataclass(frozen=True)
class JobEvent(Event):
    """An event of a job, as the job has printed it: a mapping with the key "event"."""

    job: str
    content: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobFinished(Event):
    """A job ended, or will never begin; see `launch.jobs.JobResult`."""

    job: str
    state: str
    seconds: float = 0.0
    log: str = ""
    message: str = ""
    command: str = ""

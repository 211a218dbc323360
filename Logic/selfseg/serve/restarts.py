"""When a worker that has died may be started again, and how long to wait for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    Args:
        start: for a new worker's first words.
        grace: for a worker that was asked to stop a request, before it is ended by force.
        close: for a worker to end by itself.
        restart: before the first restart; doubled for each further one without a success
            between them, up to `longest_restart`.
    """

    start: float = 120.0
    grace: float = 5.0
    close: float = 1.0
    restart: float = 0.5
    longest_restart: float = 30.0


class Restarts:
    """Counts crashes, and makes each restart wait twice as long as the one before.

    Args:
        patience: see there.
        clock: seconds.
    """

    def __init__(self, patience: Patience, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._not_before = clock()
        self._crashes = 0

    @property
    def allowed(self) -> bool:
        """Whether a worker may be started now."""
        return self._clock() >= self._not_before

    def crash(self) -> None:
        """A worker has died."""
        pause = self._patience.restart * 2 ** min(self._crashes, 30)
        self._not_before = self._clock() + min(pause, self._patience.longest_restart)
        self._crashes += 1

    def success(self) -> None:
        """A request was answered well."""
        self._crashes = 0


def status_in_words(status: int | None) -> str:
    """An exit status; None where there is none."""
    if status is None:
        return "no exit status"
    return f"exit status {status}" if status >= 0 else f"killed by signal {-status}"

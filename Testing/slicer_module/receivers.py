"""What the module's receivers do when Qt calls them: how long they take, and what they raise.

Qt calls them within its own event loop: an error is only printed there, and a slow one freezes
the application. Both are noticed here.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 0.1
"""A receiver that takes longer is felt as a freeze (issue: the GUI thread is never blocked)."""

SCHEDULE = Path("/proc/thread-self/schedstat")

errors: list[BaseException] = []
"""Raised by receivers since the fixture `module_widget` emptied it."""


@dataclass(frozen=True)
class Call:
    """One call of a receiver by Qt."""

    name: str
    seconds: float


@dataclass
class Watch:
    """Calls while watched; calls within calls count for the outer one."""

    calls: list[Call] = field(default_factory=list)
    depth: int = 0

    def slowest(self, count: int = 3) -> list[Call]:
        """The slowest calls first."""
        return sorted(self.calls, key=lambda call: -call.seconds)[:count]


_watches: list[Watch] = []


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Measures every call within the block."""
    watch = Watch()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


def guarded(receiver: Callable[..., object], name: str) -> Callable[..., object]:
    """The receiver, measured while somebody watches; its errors are kept."""

    @functools.wraps(receiver, assigned=(), updated=())
    def call(*arguments: Any) -> object:
        started = _own_seconds()
        for watch in _watches:
            watch.depth += 1
        try:
            return receiver(*arguments)
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            taken = _own_seconds() - started
            for watch in _watches:
                watch.depth -= 1
                if watch.depth == 0:
                    watch.calls.append(Call(name, taken))

    return call


def _own_seconds() -> float:
    """Time that passes for this thread: without waiting for a busy machine's processor."""
    waited = 0.0
    if threading.current_thread() is threading.main_thread():
        with contextlib.suppress(OSError, ValueError, IndexError):
            waited = int(SCHEDULE.read_text(encoding="ascii").split()[1]) * 1e-9
    return time.perf_counter() - waited

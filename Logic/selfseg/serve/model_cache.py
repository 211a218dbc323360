"""Models kept in memory, the ones used last, up to a number of bytes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from .messages import KeptModel, ModelKey

T = TypeVar("T")

Stamp = tuple[tuple[str, int, int], ...]
"""Path, bytes and time of change of every file a model is made of."""


def stamp_of(files: tuple[Path, ...]) -> Stamp:
    """Changes when one of the files does.

    Raises:
        OSError: one cannot be found.
    """
    states = ((path, path.stat()) for path in files)
    return tuple((str(path), state.st_size, state.st_mtime_ns) for path, state in states)


@dataclass
class _Entry(Generic[T]):
    value: T
    stamp: Stamp
    bytes: int
    used: float


class ModelCache(Generic[T]):
    """The models that were used last.

    `snapshot` may be called from any thread, everything else from the one that computes.

    Args:
        limit_bytes: of all models together. One that is larger is used and forgotten.
        clock: seconds.
    """

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_bytes
        self._clock = clock
        self._entries: OrderedDict[ModelKey, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: ModelKey, stamp: Stamp) -> T | None:
        """The model where it is kept and its files are what they were."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.stamp == stamp:
                entry.used = self._clock()
                self._entries.move_to_end(key)
                return entry.value
        self._forget([key])
        return None

    def make_room(self, size: int) -> None:
        """Forgets the models used longest ago, until another of `size` bytes fits."""
        going = []
        with self._lock:
            left = sum(entry.bytes for entry in self._entries.values())
            for key, entry in self._entries.items():
                if left + size <= self._limit:
                    break
                going.append(key)
                left -= entry.bytes
        self._forget(going)

    def put(self, key: ModelKey, stamp: Stamp, size: int, value: T) -> None:
        """Keeps a model of `size` bytes, unless it is larger than the limit."""
        if size > self._limit:
            return
        self.make_room(size)
        with self._lock:
            self._entries[key] = _Entry(value, stamp, size, self._clock())

    def unload(self, source: str | None = None) -> int:
        """Forgets the variants of one model, or everything; says how many."""
        with self._lock:
            going = [key for key in self._entries if source is None or key.source == source]
        return self._forget(going)

    def snapshot(self) -> tuple[KeptModel, ...]:
        """What is kept, the model used longest ago first."""
        with self._lock:
            now = self._clock()
            return tuple(
                KeptModel(key, entry.bytes, now - entry.used)
                for key, entry in self._entries.items()
            )

    def _forget(self, keys: list[ModelKey]) -> int:
        with self._lock:
            for key in keys:
                del self._entries[key]
        return len(keys)

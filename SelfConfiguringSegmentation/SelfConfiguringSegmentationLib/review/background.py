"""Reading and writing beside the interface: one function at a time, in a thread.

Whatever runs here knows neither Qt nor the scene. The readers and writers it calls work without
Python's global lock, so that the interface goes on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from selfseg.domain.errors import SelfsegError

YIELD_SECONDS = 0.01
"""How long each poll lets the thread work: an idle application may hold Python's global lock."""


class Background:
    """Does one thing after the other in a thread, and says in the caller's thread how it ended."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._outcome: list[Any] = []
        self._done: Callable[[Any], None] = lambda result: None
        self._failed: Callable[[SelfsegError], None] = lambda error: None
        self._writes = False
        self.doing = ""

    @property
    def busy(self) -> bool:
        """Whether something is being done; `doing` says what, in words."""
        return self._thread is not None

    def start(
        self,
        doing: str,
        function: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[SelfsegError], None],
        *,
        writes: bool = False,
    ) -> None:
        """Starts a function; `poll` calls `done` or `failed` at its end, and they may start more.

        Args:
            doing: in words, for the user.
            function: runs in a thread. It is no daemon: what it writes is finished even where
                the application ends first.
            done: takes the result.
            failed: takes an error that the user can understand.
            writes: `settle` waits for it.
        """
        if self.busy:
            raise RuntimeError(f"still busy: {self.doing}")
        self.doing, self._done, self._failed, self._writes = doing, done, failed, writes
        outcome: list[Any] = []
        self._outcome = outcome

        def run() -> None:
            try:
                outcome.append(function())
            except BaseException as error:  # handed on by `_finish`
                outcome.append(_Raised(error))

        self._thread = threading.Thread(target=run, name="selfseg-review")
        self._thread.start()

    def poll(self) -> bool:
        """Lets the thread work for a moment; True where something has ended."""
        thread = self._thread
        if thread is None:
            return False
        thread.join(YIELD_SECONDS)
        if thread.is_alive():
            return False
        self._finish()
        return True

    def settle(self, seconds: float) -> None:
        """Waits for what is written, if anything, and forgets what is only read."""
        thread = self._thread
        if thread is None:
            return
        if self._writes:
            thread.join(seconds)
            if not thread.is_alive():
                self._finish()
        self._thread = None

    def _finish(self) -> None:
        (outcome,), done, failed = self._outcome, self._done, self._failed
        self._thread, self.doing = None, ""
        if not isinstance(outcome, _Raised):
            done(outcome)
        elif isinstance(outcome.error, SelfsegError):
            failed(outcome.error)
        elif isinstance(outcome.error, OSError | MemoryError):
            reason = getattr(outcome.error, "strerror", None) or type(outcome.error).__name__
            failed(
                SelfsegError(
                    f"{reason}: {getattr(outcome.error, 'filename', None) or ''}".rstrip(": "),
                    cure="check the file's rights and the free space and memory",
                )
            )
        else:
            failed(SelfsegError(f"{type(outcome.error).__name__}: {outcome.error}"))
            raise outcome.error


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error

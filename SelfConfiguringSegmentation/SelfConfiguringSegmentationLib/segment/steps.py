"""Long work in the thread of the interface, cut into steps that take milliseconds each.

The work is a generator: it yields `WORKING` after every step and `WAITING` where it waits for
another process. A timer calls `poll`, which does steps until its time is used up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, Literal, TypeVar

State = Literal["working", "waiting"]
WORKING: State = "working"
WAITING: State = "waiting"

T = TypeVar("T")
Steps = Generator[State, None, T]

BUDGET_SECONDS = 0.03
"""Steps are done for so long in one call; the last may take as long again."""

PAUSE_SECONDS = 0.002
"""Slept while another process works: threads that read its pipes need Python's global lock."""


def to_the_end(steps: Steps[T]) -> T:
    """Does all steps at once and gives the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class SteppedRun:
    """Work in steps, from the first to its result.

    Args:
        steps: the work.
        clean_up: called once when the work has ended, however it did.
        budget: seconds for one `poll`.
        clock: seconds.
    """

    def __init__(
        self,
        steps: Steps[Any],
        *,
        clean_up: Callable[[], None] = lambda: None,
        budget: float = BUDGET_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._steps = steps
        self._clean_up = clean_up
        self._budget = budget
        self._clock = clock
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self.working = True
        """False while it waits for another process, and after its end."""

    def poll(self) -> bool:
        """Does some steps; True once `finish` may be called."""
        deadline = self._clock() + self._budget
        while not self._done:
            try:
                self.working = next(self._steps) == WORKING
            except StopIteration as end:
                self._end(end.value, None)
            except BaseException as error:  # handed on by `finish`
                self._end(None, error)
            else:
                if not self.working:
                    time.sleep(PAUSE_SECONDS)
                    break
                if self._clock() >= deadline:
                    break
        return self._done

    def wait(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Polls until the end; on an exception (Ctrl-C too) ends the work."""
        try:
            while not self.poll():
                while_waiting()
                if not self.working:
                    time.sleep(0.01)
        except BaseException:
            self.end_now()
            raise

    def end_now(self) -> None:
        """Drops the work where it is; its own `finally` blocks are run."""
        if not self._done:
            self._steps.close()
            self._end(None, None)

    def finish(self) -> Any:
        """The result.

        Raises:
            SelfsegError: what went wrong.
            RuntimeError: it has not ended.
        """
        if not self._done:
            raise RuntimeError("the work has not ended: poll until it has")
        if self._error is not None:
            raise self._error
        return self._result

    def _end(self, result: Any, error: BaseException | None) -> None:
        self._done, self.working = True, False
        self._result, self._error = result, error
        self._clean_up()

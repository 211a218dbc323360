"""A job that runs `selfseg` in the test's own process: the same command, without its start.

For tests of what is written. That a child process does it, and how it is cancelled, is tested
with real ones.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from selfseg.cli import main


class InProcessJob:
    """Takes the place of `jobs.Job`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        start: Any,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._arguments, self._on_event, self._on_log = list(arguments), on_event, on_log
        self._status, self._errors = -1, ""

    def poll(self) -> bool:
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            self._status = main([*self._arguments, "--progress", "json"])
        self._errors = errors.getvalue().strip()
        for line in out.getvalue().splitlines():
            self._on_event(json.loads(line))
        return True

    def wait(self, *, while_waiting: Callable[[], None] = lambda: None) -> None:
        self.poll()

    def cancel(self) -> None:
        pass

    def end_now(self) -> None:
        pass

    def raise_on_failure(self) -> None:
        from SelfConfiguringSegmentationLib.jobs import JobFailed

        if self._status:
            raise JobFailed(self._errors)

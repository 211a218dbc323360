"""What runs on a node of a cluster: one selfseg process and whoever watches it."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..domain.errors import FileFormatError, TrainingError
from ..io.json_files import read_json, write_json
from .child import Child, describe_status, was_stopped
from .logs import end_of_log

SAVING_SECONDS = 120.0
"""Between the cluster's announcement that a job must end and its end."""

_SCHEMA = "selfseg.job-status/1"


@dataclass(frozen=True)
class _Status:
    """How the job's process ended."""

    status: int
    host: str


class NodeTask:
    """Runs one job where the cluster puts it; submitit calls it and keeps it in a file.

    Args:
        arguments: of selfseg.
        log: in a folder that every node sees.
    """

    def __init__(self, arguments: tuple[str, ...], log: Path) -> None:
        self.arguments = arguments
        self.log = log
        self._child: Child | None = None

    @property
    def status_file(self) -> Path:
        """Says how the process ended."""
        return _status_file(self.log)

    def __call__(self) -> None:
        """Runs the job to its end.

        Raises:
            TrainingError: it failed, so that the jobs that need it do not begin.
        """
        self._child = Child(self.arguments, self.log, ignore_warnings=True)
        try:
            status = self._child.wait()
        finally:
            self._child.end(SAVING_SECONDS / 2)
        if was_stopped(status):
            # Nobody but the cluster can have stopped it: it ends us too in a moment, and an
            # error said before that would be taken for the job's own.
            time.sleep(SAVING_SECONDS)
        write_json(self.status_file, _Status(status, platform.node()), schema=_SCHEMA)
        if status != 0:
            raise TrainingError(
                "the job failed: " + describe_status(status),
                found=end_of_log(self.log),
                cure="read the log, mend what it names, and launch again: what is done is kept",
                path=self.log,
            )

    def checkpoint(self) -> Any:
        """Called by submitit when the job's time is over or its node is wanted.

        Saves, and says what the cluster should run later: the same again, which goes on where
        it was.
        """
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            self._child.end(SAVING_SECONDS / 2)
        return DelayedSubmission(NodeTask(self.arguments, self.log))


def read_status(log: Path) -> int | None:
    """The exit status of the job with that log; None if it has left none."""
    try:
        return read_json(_status_file(log), _Status, schema=_SCHEMA).status
    except FileFormatError:
        return None


def _status_file(log: Path) -> Path:
    return log.with_suffix(".status.json")

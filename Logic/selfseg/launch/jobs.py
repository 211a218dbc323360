"""What is launched: command lines of selfseg that may need each other."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..domain.errors import UsageError
from ..domain.events import Reporter

JobState = Literal["done", "failed", "skipped", "stopped", "submitted"]
"""How a job ended: "skipped" where one that it needs has not been done, "stopped" where the
user ended it or it has not begun; "submitted" where nobody waited for it."""


@dataclass(frozen=True)
class Job:
    """One command of selfseg.

    Args:
        name: for people; no two jobs have the same.
        arguments: of selfseg, the verb first.
        needs: names of the jobs that must be done before.
        gpus: graphics cards it takes, where there are any.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()
    gpus: int = 1

    @property
    def command(self) -> str:
        """As one would type it."""
        return shlex.join(("selfseg", *self.arguments))


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Args:
        job: which.
        state: how.
        seconds: it took, waiting not counted.
        log: everything it printed.
        message: why it failed or did not begin; the end of its log where it failed.
    """

    job: Job
    state: JobState
    seconds: float
    log: Path
    message: str = ""


class Launcher(Protocol):
    """Runs jobs somewhere."""

    def submit_all(
        self, jobs: Sequence[Job], reporter: Reporter, should_stop: Callable[[], bool]
    ) -> tuple[JobResult, ...]:
        """Runs every job after those it needs, and waits for all of them.

        A job that fails stops none but those that need it. The events of every job are
        reported with its name (see `launch.events`).

        Args:
            jobs: checked by `check_jobs`.
            reporter: is told what happens, in the calling thread.
            should_stop: polled; once it is true the jobs are told to stop, and waited for.

        Returns:
            One result for each job, in their order.

        Raises:
            UsageError: the jobs need each other in a circle, or more than there is.
            SelfsegError: the place where they should run cannot be reached.
        """
        ...


def check_jobs(jobs: Sequence[Job]) -> None:
    """Refuses jobs that can never all be done.

    Raises:
        UsageError: two have the same name, one needs a job that is not there, or they need
            each other in a circle.
    """
    names = [job.name for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            "two jobs have the same name",
            expected="one job per name",
            found=", ".join(twice),
            cure="give every job a name of its own",
        )
    unknown = sorted({name for job in jobs for name in job.needs} - set(names))
    if unknown:
        raise UsageError(
            "a job needs another that is not in the list",
            expected="one of " + ", ".join(names),
            found=", ".join(unknown),
            cure="add it to the list, or take it out of what is needed",
        )
    left, reached = list(jobs), set[str]()
    while left:
        possible = [job for job in left if reached.issuperset(job.needs)]
        if not possible:
            raise UsageError(
                "jobs need each other in a circle",
                expected="an order in which each comes after those it needs",
                found=", ".join(f"{job.name} needs {', '.join(job.needs)}" for job in left),
                cure="take one of these needs away",
            )
        reached.update(job.name for job in possible)
        left = [job for job in left if job.name not in reached]
